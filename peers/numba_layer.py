"""The layer in Numba: loops in Python, compiled."""

import numpy as np

from moe.implementations.contract import NotAvailableError, installed
from moe.problem import Float32Array, Weights


class NumbaLayer:
    """Numba: tokens sorted by expert, blocks of an expert's tokens in parallel, sums of 4 × 4 products in registers.

    Weights are transposed in prepare, so that each sum runs along two rows of memory, which LLVM vectorises once it
    may reorder sums. Loops that update four rows of the output at once came out scalar.
    Numba compiles in a process's first call. Threads belong to the process: the layer made last sets them.
    """

    name = "numba"
    description = "Numba, batched by expert"

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether Numba is installed."""
        return installed("numba")

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        import numba

        from peers.numba_kernel import TILE, forward

        if threads > numba.config.NUMBA_NUM_THREADS:
            raise NotAvailableError(f"Numba has {numba.config.NUMBA_NUM_THREADS} threads here")
        numba.set_num_threads(threads)
        self.threads: int = numba.get_num_threads()
        self.top_k = top_k
        self.gate = _transposed(weights.gate, TILE)  # (E, d)
        self.w1 = _transposed(weights.w1, TILE)  # (E, f, d)
        self.w2 = _transposed(weights.w2, TILE)  # (E, d, f)
        self._forward = forward

    def forward(self, x: Float32Array) -> Float32Array:
        """x (T, d) → y (T, d)."""
        y: Float32Array = self._forward(x, self.gate, self.w1, self.w2, self.top_k)
        return y


def _transposed(w: Float32Array, tile: int) -> Float32Array:
    """(…, in, out) → (…, out, in), `out` filled up with zeros to a multiple of `tile`."""
    w = w.swapaxes(-1, -2)
    before = [(0, 0)] * (w.ndim - 2)
    return np.ascontiguousarray(np.pad(w, [*before, (0, -w.shape[-2] % tile), (0, 0)]))
