"""What a 32-bit word of the depth holds: one float32, or two bfloat16 whose products are summed in float32.

A bfloat16 is the upper half of a float32. In memory all words are typed as floats; nothing calculates with a pair but
the functions here.
"""

from std.memory import bitcast
from std.sys.info import CompilationTarget
from std.sys.intrinsics import llvm_intrinsic

from vectors import Vector, multiply_add

comptime FLOATS = 0
"""A word is a float32, in weights and in tokens."""

comptime WIDENED = 1
"""A word of the weights is a pair, made into two floats in registers; tokens are floats. What any machine can do."""

comptime PAIRS = 2
"""A word is a pair, in weights and in tokens, and one instruction multiplies and adds both."""

comptime MULTIPLIES_PAIRS = CompilationTarget._has_feature["avx512bf16"]()
"""Whether the machine has that instruction; elsewhere PAIRS are right and slow, for tests."""

comptime BFLOAT16 = PAIRS if MULTIPLIES_PAIRS else WIDENED
"""How this machine multiplies bfloat16."""

comptime Bits[W: Int] = SIMD[DType.uint32, W]
"""The bits of W words.

Parameters:
    W: How many.
"""

comptime PAIR_LANES = 16
"""Words that the instruction takes."""

comptime UPPER_HALF = UInt32(0xFFFF0000)
"""The later number of a pair, or a float's own bits that bfloat16 keeps."""


@always_inline
def even_half[W: Int](pairs: Vector[W]) -> Vector[W]:
    """Gives the first numbers of pairs.

    Parameters:
        W: Lanes.

    Args:
        pairs: Two bfloat16 a lane, the first in the lower half.

    Returns:
        Floats, exactly.
    """
    return bitcast[DType.float32, W](bitcast[DType.uint32, W](pairs) << 16)


@always_inline
def odd_half[W: Int](pairs: Vector[W]) -> Vector[W]:
    """Gives the second numbers of pairs.

    Parameters:
        W: Lanes.

    Args:
        pairs: Two bfloat16 a lane.

    Returns:
        Floats, exactly.
    """
    return bitcast[DType.float32, W](bitcast[DType.uint32, W](pairs) & Bits[W](UPPER_HALF))


@always_inline
def add_pairs[W: Int](a: Vector[W], b: Vector[W], sum: Vector[W]) -> Vector[W]:
    """Adds to each lane the products of two pairs.

    Parameters:
        W: Lanes.

    Args:
        a: Two bfloat16 a lane.
        b: Two bfloat16 a lane.
        sum: Floats.

    Returns:
        The sum plus a[0] · b[0] + a[1] · b[1] in each lane.
    """
    comptime if MULTIPLIES_PAIRS and W == PAIR_LANES:
        return llvm_intrinsic["llvm.x86.avx512bf16.dpbf16ps.512", Vector[W], has_side_effect=False](
            sum, bitcast[DType.bfloat16, 2 * W](a), bitcast[DType.bfloat16, 2 * W](b)
        )
    else:
        return multiply_add(odd_half(a), odd_half(b), multiply_add(even_half(a), even_half(b), sum))


@always_inline
def join_halves[W: Int](first: Vector[W], second: Vector[W]) -> Vector[W]:
    """Makes pairs of floats that bfloat16 can hold.

    Parameters:
        W: Lanes.

    Args:
        first: Floats of which only the upper half is kept.
        second: The same.

    Returns:
        Two bfloat16 a lane.
    """
    var lower = bitcast[DType.uint32, W](first) >> 16
    return bitcast[DType.float32, W](lower | (bitcast[DType.uint32, W](second) & Bits[W](UPPER_HALF)))


@always_inline
def round_to_half[W: Int](value: Vector[W]) -> Vector[W]:
    """Rounds floats to numbers that bfloat16 can hold, to the nearest, a tie to the even one.

    Parameters:
        W: Lanes.

    Args:
        value: Any floats.

    Returns:
        The rounded floats; NaN stays NaN.
    """
    var bits = bitcast[DType.uint32, W](value)
    var rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    # A NaN whose lower bits are all 1 would overflow into a zero.
    return value.eq(value).select(bitcast[DType.float32, W](rounded & Bits[W](UPPER_HALF)), value)


@always_inline
def upper_halves[W: Int](value: Vector[W]) -> SIMD[DType.uint16, W]:
    """Gives floats as bfloat16 words.

    Parameters:
        W: Lanes.

    Args:
        value: Floats that bfloat16 can hold.

    Returns:
        Their upper halves.
    """
    return (bitcast[DType.uint32, W](value) >> 16).cast[DType.uint16]()
