"""Emptying the processor's caches of what the next forward will read."""

from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np

from moe.processor import cache_sizes

UNKNOWN_LAST_CACHE = 32 * 2**20  # where the system does not say
TIMES = 4  # after twice the last cache, weights were seen to be read as fast as from a warm one


def last_cache_bytes() -> int:
    """Size of the largest cache."""
    return max(cache_sizes().values(), default=UNKNOWN_LAST_CACHE)


class CacheFlush:
    """Four times the last cache, written by as many threads as a forward uses: each core has caches of its own."""

    def __init__(self, threads: int) -> None:
        self._parts = np.array_split(np.zeros(TIMES * last_cache_bytes() // 8), threads)
        self._pool = ThreadPoolExecutor(threads)

    def write(self) -> float:
        """Write over everything; returns the seconds that it took."""
        started = perf_counter()
        list(self._pool.map(lambda part: part.__iadd__(1), self._parts))
        return perf_counter() - started
