"""bfloat16 in NumPy, which has no such type: float32 numbers whose lower 16 bits are 0."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

AT_ONCE = 2**20  # numbers, so that no second copy of a large array is made on the way
LOWER = np.uint32(0xFFFF)
QUIET = np.uint32(0x400000)  # the bit that keeps a NaN a NaN when its lower half goes


def round_in_place(array: Float32Array) -> None:
    """Round the numbers of a contiguous array to bfloat16: to the nearest, a tie to the even one; NaN stays NaN."""
    for bits in _parts(array):
        nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
        # Half of the last place that is kept, less a little where that place is even; infinities stay what they are.
        rounded = bits + (np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)))
        bits[...] = np.where(nan, bits | QUIET, rounded) & ~LOWER


def rounded(array: Float32Array) -> Float32Array:
    """A copy with its numbers rounded to bfloat16, as `round_in_place` does."""
    copy = np.array(array, np.float32, order="C")
    round_in_place(copy)
    return copy


def is_held(array: Float32Array) -> bool:
    """Whether bfloat16 can hold every number of a contiguous array."""
    return not any((bits & LOWER).any() for bits in _parts(array))


def words(array: Float32Array) -> NDArray[np.uint16]:
    """The 16 bits of each number of a contiguous array that bfloat16 can hold, in its shape."""
    return (array.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def _parts(array: Float32Array) -> Iterator[NDArray[np.uint32]]:
    bits = array.reshape(-1).view(np.uint32)
    return (bits[start : start + AT_ONCE] for start in range(0, len(bits), AT_ONCE))
