"""What the machine can do at most, on one number of threads: the probes of the Mojo kernel.

Without Mojo, NumPy's products stand in for them. Runs in a worker process, like every other measurement.
"""

import os
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from timeit import repeat
from typing import Any

import numpy as np

from moe import mojo_build
from moe.implementations.mojo_kernel import load_kernel
from moe.measure.caches import last_cache_bytes
from moe.measure.waiting import threads_of
from moe.processor import allowed_cores

MULTIPLY_ADD, READ, TRIAD, MULTIPLY_ADD_HALF = range(4)  # as the kernel numbers them
OWN_BYTES = 2**19  # a thread's share of this lies in its second-level cache
NEAR_BYTES = 4 * 2**20, 8 * 2**20  # the weights of one token's experts at the preset `seed`, and of all its experts
FAR_CACHES = 4  # times the last cache
SAMPLE_S = 0.01
SAMPLES = 3
LONG_S = 0.05
CAPACITY_S = 0.002  # of a look at what the machine reaches now
BRIEF_PRODUCT = 512  # takes NumPy about as long
PRODUCT_SIZES = (256, 512, 1024, 2048)
PRODUCTS = 10


class Probes:
    """The kernel's probes over a buffer of `size` bytes; raises MojoBuildError where there is no Mojo."""

    by = "probes in Mojo"

    def __init__(self, threads: int, size: int) -> None:
        self._kernel = load_kernel(mojo_build.build().path)
        before = threads_of(os.getpid())
        self._handle = self._kernel.moe_probe_prepare(threads, size)
        self.started = [int(number) for number in threads_of(os.getpid()) if number not in before]
        if not self._handle:
            raise RuntimeError(f"the Mojo kernel could not start {threads} threads")
        weakref.finalize(self, self._kernel.moe_release, self._handle)
        self._repeats: dict[int, int] = {}
        self._brief = 0

    def capacity(self) -> float:
        """Floating-point operations a second over about CAPACITY_S: what the machine reaches now, not at most."""
        if not self._brief:
            enough = self._enough(MULTIPLY_ADD)
            fastest_s = min(self._timed(MULTIPLY_ADD, enough)[0] for _ in range(SAMPLES))
            self._brief = max(1, round(enough * CAPACITY_S / fastest_s))
        seconds, operations = self._timed(MULTIPLY_ADD, self._brief)
        return operations / seconds

    def rate(self, kind: int) -> float:
        """Floating-point operations, or bytes, a second: the best of a few samples, since it is a limit."""
        if kind not in self._repeats:
            self._repeats[kind] = self._enough(kind)
        best = 0.0
        for sample in range(SAMPLES):
            seconds, amount = self._timed(kind, self._repeats[kind])
            best = max(best, amount / seconds)
            # The first long one after other processes gave back gigabytes was seen to take half as long again.
            if sample and seconds > LONG_S:
                break
        return best

    def _enough(self, kind: int) -> int:
        """Repeats that take SAMPLE_S or longer, also when nothing holds them up."""
        repeats = 1
        while True:
            seconds, _ = self._timed(kind, repeats)
            if seconds > LONG_S or (seconds >= SAMPLE_S and self._timed(kind, repeats)[0] >= SAMPLE_S):
                return repeats
            repeats *= 2

    def _timed(self, kind: int, repeats: int) -> tuple[float, int]:
        started = perf_counter()
        amount: int = self._kernel.moe_probe_run(self._handle, kind, repeats)
        return perf_counter() - started, amount


class Products:
    """Stand-ins for the probes where there is no Mojo: NumPy's products, and its sum of two vectors."""

    by = "the best of several matrix products in NumPy"

    def __init__(self, size: int) -> None:
        self._vectors = [np.ones(size // 8, np.float32) for _ in range(2)]
        self._square = np.ones((BRIEF_PRODUCT, BRIEF_PRODUCT), np.float32)

    def capacity(self) -> float:
        """Floating-point operations a second of one brief product."""
        started = perf_counter()
        np.matmul(self._square, self._square)
        return 2 * BRIEF_PRODUCT**3 / (perf_counter() - started)

    def rate(self, kind: int) -> float:
        """Floating-point operations of the best product, or bytes, a second."""
        a, b = self._vectors
        if kind == READ:
            return (a.nbytes + b.nbytes) / fastest(partial(np.dot, a, b))
        if kind == TRIAD:
            return 3 * a.nbytes / fastest(partial(np.add, a, b, out=np.empty_like(a)))
        matrices = (np.ones((n, n), np.float32) for n in PRODUCT_SIZES)
        return max(2 * len(m) ** 3 / fastest(partial(np.matmul, m, m)) for m in matrices)


def keep_apart(pools: Sequence[Sequence[int]]) -> None:
    """Give this thread and those of each pool a core each, where they are as many as the cores.

    Linux was seen to wake threads on one core and to take them apart only after tens of milliseconds: a brief probe
    then saw half of what the machine reached.
    """
    cores = allowed_cores()
    for pool in pools:
        if hasattr(os, "sched_setaffinity") and len(cores) == len(pool) + 1:
            for thread, core in zip((0, *pool), cores, strict=True):
                os.sched_setaffinity(thread, {core})


def fastest(call: Callable[[], Any]) -> float:
    """Seconds of the fastest of several calls."""
    return min(repeat(call, number=1, repeat=PRODUCTS))


class MachineLimits:
    """The machine's limits on `threads`, to be measured again and again over the same buffers."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._probes: Sequence[Probes | Products]
        if mojo_build.is_installed()[0]:
            self._probes = probes = [Probes(threads, size) for size in _sizes()]
            keep_apart([own.started for own in probes])
        else:
            self._probes = [Products(size) for size in _sizes()]

    def capacity(self) -> float:
        """Floating-point operations a second that these threads reach right now."""
        return self._probes[0].capacity()

    def measure(self, *, bfloat16: bool = False) -> dict[str, Any]:
        """Multiply-add peak in FLOP/s, and read and triad bandwidth in bytes/s near and past the last cache.

        Also the peak of `bfloat16`, of vectors, where it is asked for; without Mojo nothing measures it.
        """
        own = self._probes[0]
        is_probed = bfloat16 and isinstance(own, Probes)
        half = {"bfloat16_flops_per_s": own.rate(MULTIPLY_ADD_HALF)} if is_probed else {}
        return {
            "threads": self._threads,
            "by": own.by,
            "flops_per_s": own.rate(MULTIPLY_ADD),
            **half,
            "bandwidth": [
                {"bytes": size, "read_bytes_per_s": probes.rate(READ), "triad_bytes_per_s": probes.rate(TRIAD)}
                for size, probes in zip(_sizes(), self._probes, strict=True)
            ],
        }


def _sizes() -> tuple[int, ...]:
    return tuple(sorted({OWN_BYTES, *NEAR_BYTES, FAR_CACHES * last_cache_bytes()}))
