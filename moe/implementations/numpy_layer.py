"""The layer in NumPy, batched by expert: the baseline."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from moe.implementations.contract import DTYPES, SWITCH, NotAvailableError, check_option
from moe.problem import Float32Array, Weights


def most_threads() -> int | None:
    """Threads that NumPy's BLAS was built for; None where it does not say."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    found = re.search(r"MAX_THREADS=(\d+)", blas.get("openblas configuration", ""))
    return int(found[1]) if found else None


class NumpyLayer:
    """NumPy: tokens sorted by expert, two BLAS products an expert.

    `dtype=float64` computes in double precision, `batch=off` one token after the other. BLAS threads belong to the
    process: the layer made last sets them.
    """

    name = "numpy"
    description = "NumPy, batched by expert"

    @staticmethod
    def available() -> tuple[bool, str]:
        """NumPy is always installed."""
        return True, ""

    def __init__(
        self, weights: Weights, *, top_k: int, threads: int, dtype: str = "float32", batch: str = "on"
    ) -> None:
        pools = ThreadpoolController().select(user_api="blas")
        pools.limit(limits=threads)
        if (taken := max((pool["num_threads"] for pool in pools.info()), default=threads)) < threads:
            raise NotAvailableError(f"NumPy's BLAS takes at most {taken} threads, got {threads}")
        self.top_k = top_k
        self.dtype = np.dtype(check_option("dtype", dtype, DTYPES))
        self._layer = self._by_expert if check_option("batch", batch, SWITCH) == "on" else self._by_token
        self.gate = weights.gate.astype(self.dtype, copy=False)
        self._gate_is_finite = bool(np.isfinite(self.gate).all())
        self.w1 = weights.w1.astype(self.dtype, copy=False)
        self.w2 = weights.w2.astype(self.dtype, copy=False)

    def to_native(self, x: Float32Array) -> NDArray[Any]:
        """A (T, d) array in this layer's precision."""
        return x.astype(self.dtype, copy=False)

    def to_numpy(self, y: NDArray[Any]) -> Float32Array:
        """A (T, d) array in float32."""
        return y.astype(np.float32, copy=False)

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """x (T, d) → y (T, d)."""
        # A token with NaN or Inf gives NaN, as the layer defines; that is nothing to warn about.
        with np.errstate(invalid="ignore"):
            return self._layer(x)

    def _by_expert(self, x: NDArray[Any]) -> NDArray[Any]:
        experts, weights = self._route(x)
        flat = experts.ravel()  # (T·k,)
        order = np.argsort(flat, kind="stable")
        tokens = order // self.top_k
        weights = weights.ravel()[order, None]  # (T·k, 1)
        ends = np.cumsum(np.bincount(flat, minlength=len(self.w1)))
        y = np.zeros_like(x)
        start = 0
        for expert, end in enumerate(ends.tolist()):
            if start < end:
                rows = tokens[start:end]  # (n,), each token at most once
                hidden = x[rows] @ self.w1[expert]  # (n, f)
                np.maximum(hidden, 0, out=hidden)
                out = hidden @ self.w2[expert]  # (n, d)
                out *= weights[start:end]
                y[rows] += out
            start = end
        return y

    def _by_token(self, x: NDArray[Any]) -> NDArray[Any]:
        y = np.zeros_like(x)
        for t in range(len(x)):
            experts, weights = self._route(x[t : t + 1])
            for expert, weight in zip(experts[0].tolist(), weights[0], strict=True):
                hidden = np.maximum(x[t] @ self.w1[expert], 0)  # (f,)
                y[t] += weight * (hidden @ self.w2[expert])
        return y

    def _route(self, x: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
        """Experts (T, k) in order of falling probability, a tie to the lower number, and weights (T, k)."""
        logits = x @ self.gate  # (T, E)
        experts = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        # A softmax over the chosen logits alone: dividing by their sum cancels the others.
        weights = np.take_along_axis(logits, experts, axis=1)
        weights -= weights[:, :1].copy()
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=1, keepdims=True)
        if not self._gate_is_finite:
            # A token's own NaN is in all of its logits, the gate's in one, which may not be among the chosen.
            weights[np.isnan(logits).any(axis=1)] = np.nan
        return experts, weights
