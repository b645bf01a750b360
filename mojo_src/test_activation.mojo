"""Tests of what stands between the products, and of rounding to bfloat16."""

from std.math import erf, exp
from std.memory import bitcast
from std.testing import TestSuite, assert_equal, assert_true
from std.utils.numerics import inf, nan

from activation import activate, exponential
from knobs import GEGLU, GELU, RELU, RELU2, SWIGLU, SWIGLU_OAI
from vectors import LANES, Vector
from words import even_half, join_halves, odd_half, round_to_half

comptime POINTS = 200_000
"""At which functions are looked at."""


def last_place(value: Float64) -> Float64:
    """Gives the distance of float32's neighbours around a value."""
    var single = Float32(abs(value))
    return Float64(bitcast[DType.float32, 1](bitcast[DType.int32, 1](single) + 1)) - Float64(single)


def test_exponential() raises:
    """Within 1.5 in the last place wherever float32 has normal numbers."""
    var worst = Float64(0)
    for i in range(POINTS):
        var x = Float32(-87.3 + 175.9 * Float64(i) / POINTS)
        var right = exp(Float64(x))
        var found = exponential(Vector[LANES](x))[0]
        worst = max(worst, abs(Float64(found) - right) / last_place(right))
    assert_true(worst < 1.5, String(worst))


def test_ends_of_the_exponential() raises:
    """Zero, infinity, NaN, and numbers that are not normal."""
    var ends = Vector[4](-1e30, -inf[DType.float32](), 1e30, inf[DType.float32]())
    var powers = exponential[4](ends)
    assert_equal(powers[0], 0)
    assert_equal(powers[1], 0)
    assert_equal(powers[2], inf[DType.float32]())
    assert_equal(powers[3], inf[DType.float32]())
    assert_true(exponential(Vector[LANES](nan[DType.float32]()))[0] != 0.0)
    assert_equal(exponential(Vector[LANES](0))[0], 1)
    var small = Float64(exponential(Vector[LANES](-95))[0])
    assert_true(abs(small / exp(Float64(-95)) - 1) < 1e-3)


def right[expert: Int](first: Float64, second: Float64) -> Float64:
    """Computes an activation in float64."""
    var gelu = 0.5 * first * (1 + erf(first * 0.7071067811865476))
    comptime if expert == RELU:
        return max(first, 0)
    elif expert == RELU2:
        return max(first, 0) * max(first, 0)
    elif expert == GELU:
        return gelu
    elif expert == SWIGLU:
        return first / (1 + exp(-first)) * second
    elif expert == GEGLU:
        return gelu * second
    else:
        var gate = min(first, 7)
        return gate / (1 + exp(-1.702 * gate)) * (min(max(second, -7), 7) + 1)


def test_activations() raises:
    """Every one against float64, over numbers of both signs and past every clamp; NaN stays NaN."""
    comptime for expert in range(SWIGLU_OAI + 1):
        for i in range(POINTS):
            var first = Float32(-20 + 40 * Float64(i) / POINTS)
            var second = Float32((i * 37) % 401 - 200) / 16
            var found = Float64(activate[LANES, expert](Vector[LANES](first), Vector[LANES](second))[0])
            var expected = right[expert](Float64(first), Float64(second))
            var scale = abs(Float64(first)) * (abs(Float64(second)) + 1) + abs(expected)
            if abs(found - expected) > 4e-7 * scale:
                raise Error(t"{expert}: {first} {second} {found} {expected}")
        var none = Vector[LANES](nan[DType.float32]())
        var lost = activate[LANES, expert](none, Vector[LANES](1))[0]
        assert_true(lost != lost)
        comptime if expert >= SWIGLU:
            lost = activate[LANES, expert](Vector[LANES](1), none)[0]
            assert_true(lost != lost)


def test_rounding() raises:
    """To the nearest, a tie to the even one; NaN stays NaN whatever its bits; pairs give back their halves."""
    assert_equal(round_to_half[1](1.00390625), 1)
    assert_equal(round_to_half[1](1.01171875), 1.015625)
    assert_equal(round_to_half[1](-1.005), -1.0078125)
    assert_equal(round_to_half[1](3.4e38), inf[DType.float32]())
    for bits in [UInt32(0x7FFFFFFF), 0xFFFFFFFF, 0x7F800001]:
        var none = round_to_half[1](bitcast[DType.float32, 1](bits))
        assert_true(none != none)
    var pairs = join_halves(Vector[LANES](1.5), Vector[LANES](-0.0078125))
    assert_equal(even_half(pairs)[0], 1.5)
    assert_equal(odd_half(pairs)[0], -0.0078125)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
