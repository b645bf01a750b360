"""Names for the machine's vectors and for plain memory, shared by every step of the layer."""

from std.memory.alloc import unsafe_alloc
from std.sys import simd_width_of
from std.sys.intrinsics import masked_load, masked_store

comptime W = simd_width_of[DType.float32]()
"""Lanes of a vector register: 16 with AVX-512, 8 with AVX2, 4 with NEON."""

comptime Vector = SIMD[DType.float32, W]
"""One register of float32."""

comptime Floats = Pointer[Float32, MutUntrackedOrigin]
"""Plain float32 memory whose size the caller knows."""

comptime Ints = Pointer[Int32, MutUntrackedOrigin]
"""Plain int32 memory whose size the caller knows."""

comptime CACHE_LINE = 64
"""Bytes; buffers start on one, so that no full vector load touches two."""


def round_up(value: Int, multiple: Int) -> Int:
    """Rounds up to a multiple.

    Args:
        value: At least 0.
        multiple: At least 1.

    Returns:
        The smallest multiple that is not less than `value`.
    """
    return (value + multiple - 1) // multiple * multiple


def new_floats(count: Int) -> Floats:
    """Allocates uninitialised floats on a cache line; freed with `unsafe_free`.

    Args:
        count: How many.

    Returns:
        Their address.
    """
    return unsafe_alloc[Float32](max(count, 1), alignment=CACHE_LINE)


def new_ints(count: Int) -> Ints:
    """Allocates uninitialised integers on a cache line; freed with `unsafe_free`.

    Args:
        count: How many.

    Returns:
        Their address.
    """
    return unsafe_alloc[Int32](max(count, 1), alignment=CACHE_LINE)


@always_inline
def first_lanes(count: Int) -> SIMD[DType.bool, W]:
    """Builds the mask of a vector's first lanes.

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
def load_part(source: Floats, count: Int) -> Vector:
    """Loads up to W floats and reads no memory past them.

    Args:
        source: The first float.
        count: How many floats there are.

    Returns:
        The floats, and 0 in the lanes past them.
    """
    if count >= W:
        return source.unsafe_load[width=W]()
    return masked_load[W](source, first_lanes(count), Vector(0))


@always_inline
def store_part(target: Floats, value: Vector, count: Int):
    """Stores up to W floats and writes no memory past them.

    Args:
        target: Where the first lane goes.
        value: The vector.
        count: How many floats there is room for.
    """
    if count >= W:
        target.unsafe_store(value)
    else:
        masked_store[W](value, target, first_lanes(count))
