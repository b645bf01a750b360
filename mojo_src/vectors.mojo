"""Names for the machine's vectors and for plain memory, shared by every step of the layer."""

from std.ffi import external_call
from std.memory.alloc import unsafe_alloc
from std.utils.numerics import nan
from std.sys import simd_width_of
from std.sys._assembly import inlined_assembly
from std.sys.defines import get_defined_bool
from std.sys.info import CompilationTarget
from std.sys.intrinsics import masked_load, masked_store

comptime LANES = simd_width_of[DType.float32]()
"""Lanes of the machine's vector register: 16 with AVX-512, 8 with AVX2, 4 with NEON."""

comptime Vector[W: Int] = SIMD[DType.float32, W]
"""W floats in one register.

Parameters:
    W: LANES, or 1 where the switch `simd` is off.
"""

comptime Floats = Pointer[Float32, MutUntrackedOrigin]
"""Plain float32 memory whose size the caller knows."""

comptime Ints = Pointer[Int32, MutUntrackedOrigin]
"""Plain int32 memory whose size the caller knows."""

comptime FUSED = CompilationTarget.has_fma() or not CompilationTarget.is_x86()
"""Whether a product and a sum are one instruction. Before AVX2 they are not, and one rounding would be a call of the C
library's `fmaf` for every lane."""

comptime CACHE_LINE = 64
"""Bytes; buffers start on one, so that no full vector load touches two."""


comptime HUGE_PAGE = 2 * 1024 * 1024
"""Bytes; buffers of that size and more begin on such a page, and ask for them. On an Intel machine whose memory is slow
to reach, one token with cold caches gained 10 %, 32 rows an expert 4 %, and the preset `seed` 1 %."""

comptime MADV_HUGEPAGE = Int32(14)
"""What Linux calls asking for huge pages."""


def round_up(value: Int, multiple: Int) -> Int:
    """Rounds up to a multiple.

    Args:
        value: At least 0.
        multiple: At least 1.

    Returns:
        The smallest multiple that is not less than `value`.
    """
    return (value + multiple - 1) // multiple * multiple


@no_inline
def share(count: Int, part: Int, parts: Int) -> Int:
    """Says where one of some almost equal parts begins.

    Args:
        count: What is cut.
        part: Number of the part; that of the part after the last gives the end.
        parts: How many.

    Returns:
        The part's first.
    """
    return count * part // parts


comptime POISON = get_defined_bool["POISON", False]()
"""Whether new memory is filled with NaN, so that a test finds whatever is read before it is written."""


def _allocate(count: Int) -> Floats:
    """Allocates floats on a cache line, or many on huge pages where the system has them."""
    if 4 * count < HUGE_PAGE:
        return unsafe_alloc[Float32](max(count, 1), alignment=CACHE_LINE)
    var bytes = round_up(4 * count, HUGE_PAGE)
    var floats = unsafe_alloc[Float32](bytes // 4, alignment=HUGE_PAGE)
    comptime if CompilationTarget.is_linux():
        # Advice: where it is refused, pages stay small.
        _ = external_call["madvise", Int32](floats, bytes, MADV_HUGEPAGE)
    return floats


def new_floats(count: Int) -> Floats:
    """Allocates uninitialised floats on a cache line; freed with `unsafe_free`.

    Args:
        count: How many.

    Returns:
        Their address.
    """
    var floats = _allocate(count)
    comptime if POISON:
        for i in range(count):
            floats[unsafe_offset=i] = nan[DType.float32]()
    return floats


def zero_floats(count: Int) -> Floats:
    """Allocates zeros on a cache line; freed with `unsafe_free`.

    Args:
        count: How many.

    Returns:
        Their address.
    """
    var floats = _allocate(count)
    for i in range(count):
        floats[unsafe_offset=i] = 0
    return floats


def new_ints(count: Int) -> Ints:
    """Allocates uninitialised integers on a cache line; freed with `unsafe_free`.

    Args:
        count: How many.

    Returns:
        Their address.
    """
    return unsafe_alloc[Int32](max(count, 1), alignment=CACHE_LINE)


@always_inline
def alone[W: Int](value: Vector[W]) -> Vector[W]:
    """Keeps a single lane single: the compiler would join neighbours into vectors, and `simd` off would measure nothing.

    Parameters:
        W: Lanes; more than one pass as they are.

    Args:
        value: Any value.

    Returns:
        The same, by way of an assembly statement without instructions.
    """
    comptime if W > 1:
        return value
    elif CompilationTarget.is_x86():
        return inlined_assembly["", Float32, constraints="=x,0", has_side_effect=False](value[0])
    else:
        return inlined_assembly["", Float32, constraints="=w,0", has_side_effect=False](value[0])


@always_inline
def loaded_anew(floats: Floats) -> Floats:
    """Hides from the compiler that memory is what it has just read, so that it is read again, not kept in registers.

    Args:
        floats: Any address.

    Returns:
        The same, by way of an assembly statement without instructions.
    """
    return Floats(
        unsafe_from_address=inlined_assembly["", Int, constraints="=r,0", has_side_effect=False](Int(floats))
    )


@always_inline
def multiply_add[W: Int](a: Vector[W], b: Vector[W], c: Vector[W]) -> Vector[W]:
    """Computes a · b + c, with one rounding where the machine has an instruction for it.

    Parameters:
        W: Lanes.

    Args:
        a: Factor.
        b: Factor.
        c: What is added.

    Returns:
        The result in every lane.
    """
    comptime if FUSED:
        return alone(a.fma(b, c))
    else:
        return alone(a * b + c)


@always_inline
def relu[W: Int](value: Vector[W]) -> Vector[W]:
    """Takes the positive part; not max(value, 0), which is 0 for NaN.

    Parameters:
        W: Lanes of a vector.

    Args:
        value: Any vector.

    Returns:
        The value in lanes where it is positive or NaN, else 0.
    """
    return alone(value.lt(Vector[W](0)).select(Vector[W](0), value))


@always_inline
def first_lanes[W: Int](count: Int) -> SIMD[DType.bool, W]:
    """Builds the mask of a vector's first lanes.

    Parameters:
        W: Lanes.

    Args:
        count: How many lanes; W or more gives all of them.

    Returns:
        True in lanes 0 to count - 1.
    """
    var lanes = SIMD[DType.int32, W]()
    comptime for lane in range(W):
        lanes[lane] = Int32(lane)
    return lanes.lt(Int32(min(count, W)))


@always_inline
def load_part[W: Int](source: Floats, count: Int) -> Vector[W]:
    """Loads up to W floats and reads no memory past them.

    Parameters:
        W: Lanes.

    Args:
        source: The first float.
        count: How many floats there are, at least 1.

    Returns:
        The floats, and 0 in the lanes past them.
    """
    comptime if W == 1:
        return source.unsafe_load[width=W]()
    else:
        if count >= W:
            return source.unsafe_load[width=W]()
        return masked_load[W](source, first_lanes[W](count), Vector[W](0))


@always_inline
def store_part[W: Int](target: Floats, value: Vector[W], count: Int):
    """Stores up to W floats and writes no memory past them.

    Parameters:
        W: Lanes.

    Args:
        target: Where the first lane goes.
        value: The vector.
        count: How many floats there is room for, at least 1.
    """
    comptime if W == 1:
        target.unsafe_store(value)
    else:
        if count >= W:
            target.unsafe_store(value)
        else:
            masked_store[W](value, target, first_lanes[W](count))
