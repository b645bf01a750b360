"""What stands between an expert's two products, on whole vectors. NaN stays NaN in each."""

from std.math import erf, floor
from std.memory import bitcast

from knobs import GEGLU, GELU, RELU, RELU2, SWIGLU
from vectors import Vector, multiply_add, relu

comptime LOWEST = Float32(-104)
"""A power of e with less is zero in float32."""

comptime HIGHEST = Float32(89)
"""A power of e with more is infinite in float32."""

comptime LOG2_E = Float32(1.44269504)
"""How many powers of two a power of e is."""

comptime LN_2_UPPER = Float32(0.693359375)
"""The logarithm of 2 to 9 bits, so that its multiples are exact."""

comptime LN_2_REST = Float32(-2.12194440e-4)
"""What is missing to it."""

comptime LN_2 = Float32(0.693147181)
"""The logarithm of 2 in one float32."""

comptime EXPONENT_BITS = 23
"""Where a float32's exponent begins."""

comptime BIAS = 127
"""The exponent's bits for 1."""

comptime OAI_LIMIT = Float32(7)
"""At which GPT-OSS clamps both products."""

comptime OAI_ALPHA = Float32(1.702)
"""Factor in GPT-OSS's sigmoid."""


@always_inline
def _power_of_two[W: Int](exponent: SIMD[DType.int32, W]) -> Vector[W]:
    return bitcast[DType.float32, W]((exponent + BIAS) << EXPONENT_BITS)


@always_inline
def _power_of_rest[W: Int](rest: Vector[W]) -> Vector[W]:
    """Computes e to the power of what is at most half of ln 2; fitted, within 3e-9 but for rounding."""
    var sum = Vector[W](1.381446685e-3)
    sum = multiply_add(sum, rest, Vector[W](8.368780418e-3))
    sum = multiply_add(sum, rest, Vector[W](4.166839422e-2))
    sum = multiply_add(sum, rest, Vector[W](1.666652011e-1))
    sum = multiply_add(sum, rest, Vector[W](4.999999341e-1))
    return multiply_add(sum, rest * rest, rest) + 1


@always_inline
def exponential[W: Int](x: Vector[W]) -> Vector[W]:
    """Computes e to the power of x, within 1.5 in the last place.

    Parameters:
        W: Lanes of a vector.

    Args:
        x: Any vector.

    Returns:
        The powers; zero, infinite or NaN where that is right.
    """
    var clamped = min(max(x, Vector[W](LOWEST)), Vector[W](HIGHEST))
    var whole = floor(multiply_add(clamped, Vector[W](LOG2_E), Vector[W](0.5)))
    var rest = multiply_add(whole, Vector[W](-LN_2_REST), multiply_add(whole, Vector[W](-LN_2_UPPER), clamped))
    # In two factors, since the whole one may be no normal float32.
    var exponent = whole.cast[DType.int32]()
    var half = exponent >> 1
    var power = _power_of_rest(rest) * _power_of_two[W](half) * _power_of_two[W](exponent - half)
    return x.eq(x).select(power, x)


@always_inline
def _power_beside_one[W: Int](x: Vector[W]) -> Vector[W]:
    """Computes e to the power of x for a sum with 1: from 2e-38 to 6e37 alone, and of NaN anything.

    Adding a number so large that its last place is 1 rounds to a whole one; with the exponent's bias in it, the lower
    bits are those of the power of two.
    """
    comptime LARGE = Float32(3 << (EXPONENT_BITS - 1)) + BIAS
    var clamped = min(max(x, Vector[W](-87)), Vector[W](87))
    var shifted = multiply_add(clamped, Vector[W](LOG2_E), Vector[W](LARGE))
    var rest = multiply_add(shifted - LARGE, Vector[W](-LN_2), clamped)
    return _power_of_rest(rest) * bitcast[DType.float32, W](bitcast[DType.int32, W](shifted) << EXPONENT_BITS)


@always_inline
def sigmoid[W: Int](x: Vector[W]) -> Vector[W]:
    """Computes 1 / (1 + e to the power of -x).

    Parameters:
        W: Lanes of a vector.

    Args:
        x: Any vector.

    Returns:
        The sigmoids.
    """
    return 1 / (1 + exponential(-x))


@always_inline
def gelu[W: Int](x: Vector[W]) -> Vector[W]:
    """Computes x times the normal distribution's share below x.

    Parameters:
        W: Lanes of a vector.

    Args:
        x: Any vector.

    Returns:
        The products.
    """
    comptime SQRT_HALF = Float32(0.70710678)
    return 0.5 * x * (1 + erf(x * SQRT_HALF))


@always_inline
def _at_most[W: Int](value: Vector[W], limit: Float32) -> Vector[W]:
    """Clamps from above; not min, which may lose a NaN."""
    return value.gt(Vector[W](limit)).select(Vector[W](limit), value)


@always_inline
def activate[W: Int, expert: Int](first: Vector[W], second: Vector[W]) -> Vector[W]:
    """Computes hidden activations.

    Parameters:
        W: Lanes of a vector.
        expert: RELU … SWIGLU_OAI.

    Args:
        first: Of x · w1.
        second: Of x · w3; not used where experts are not gated.

    Returns:
        The activations.
    """
    comptime if expert == RELU:
        return relu(first)
    elif expert == RELU2:
        return relu(first) * relu(first)
    elif expert == GELU:
        return gelu(first)
    elif expert == SWIGLU:
        # Not times the sigmoid, which is one rounding more.
        return first / (1 + _power_beside_one(-first)) * second
    elif expert == GEGLU:
        return gelu(first) * second
    else:
        var gate = _at_most(first, OAI_LIMIT)
        var up = -_at_most(-_at_most(second, OAI_LIMIT), OAI_LIMIT)
        return gate / (1 + _power_beside_one(-OAI_ALPHA * gate)) * (up + 1)
