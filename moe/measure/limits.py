"""What the machine can do at most, on one number of threads: the probes of the Mojo kernel.

Runs in a worker process, like every other measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from time import perf_counter
from typing import Any

from moe import mojo_build
from moe.measure.caches import last_cache_bytes
from moe.mojo_kernel import load_kernel

MULTIPLY_ADD, READ, TRIAD = 0, 1, 2
OWN_BYTES = 2**19  # a thread's share of this lies in its second-level cache
NEAR_BYTES = 4 * 2**20  # about the weights of one token's experts at the preset `seed`
SAMPLE_S = 0.02
SAMPLES = 3


class Probes:
    """The kernel's probes over a buffer of `size` bytes; raises MojoBuildError where there is no Mojo."""

    def __init__(self, threads: int, size: int) -> None:
        self._kernel = load_kernel(mojo_build.build().path)
        self._handle = self._kernel.moe_probe_prepare(threads, size)
        if not self._handle:
            raise RuntimeError(f"the Mojo kernel could not start {threads} threads")

    def rate(self, kind: int) -> float:
        """Floating-point operations, or bytes, a second: the best of a few samples, since it is a limit."""
        repeats = 1
        while self._timed(kind, repeats)[0] < SAMPLE_S:
            repeats *= 2
        return max(amount / s for s, amount in (self._timed(kind, repeats) for _ in range(SAMPLES)))

    def _timed(self, kind: int, repeats: int) -> tuple[float, int]:
        run: Callable[..., int] = self._kernel.moe_probe_run
        started = perf_counter()
        amount = run(self._handle, kind, repeats)
        return perf_counter() - started, amount

    def close(self) -> None:
        """End the probes' threads and free the buffer."""
        self._kernel.moe_release(self._handle)


def far_bytes() -> int:
    """Four times the last cache."""
    return 4 * last_cache_bytes()


def measure_limits(threads: int) -> dict[str, Any]:
    """Multiply-add peak in FLOP/s, and read and triad bandwidth in bytes/s near and past the last cache."""
    found: dict[str, Any] = {"threads": threads, "bandwidth": []}
    for size in (OWN_BYTES, NEAR_BYTES, far_bytes()):
        with closing(Probes(threads, size)) as probes:
            if size == OWN_BYTES:
                found["flops_per_s"] = probes.rate(MULTIPLY_ADD)
            read, triad = probes.rate(READ), probes.rate(TRIAD)
            found["bandwidth"].append({"bytes": size, "read_bytes_per_s": read, "triad_bytes_per_s": triad})
    return found
