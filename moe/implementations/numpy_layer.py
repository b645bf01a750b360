"""The layer in NumPy, batched by expert: the baseline."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from moe.implementations.contract import DTYPES, EVERY_KNOB, SWITCH, WIDENED, NotAvailableError, check_option
from moe.implementations.numpy_common import hidden, route, shared
from moe.problem import Float32Array, Weights
from moe.weights import ROUTER


def most_threads() -> int | None:
    """Threads that NumPy's BLAS was built for; None where it does not say."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    found = re.search(r"MAX_THREADS=(\d+)", blas.get("openblas configuration", ""))
    return int(found[1]) if found else None


class NumpyLayer:
    """NumPy: tokens sorted by expert, two BLAS products an expert, three of a gated one.

    `dtype=float64` computes in double precision, `batch=off` one token after the other. Weights of bfloat16, which
    NumPy has no products of, are float32 here as they are given, and so is what is computed. BLAS threads belong to
    the process: the layer made last sets them.
    """

    name = "numpy"
    description = "NumPy, batched by expert"
    knobs = EVERY_KNOB

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
        self.form = weights.form
        self.note = WIDENED if self.form.precision == "bfloat16" else ""
        self.arrays = {name: array.astype(self.dtype, copy=False) for name, array in weights.arrays().items()}
        self.gate, self.w1, self.w2 = (self.arrays[name] for name in ("gate", "w1", "w2"))
        self._router_is_finite = all(np.isfinite(self.arrays[name]).all() for name in ROUTER if name in self.arrays)
        self._routes_as_published = weights.routes_as_published
        self._expert = self._published_expert if weights.has_published_experts else self._formed_expert
        self._on_input = self.form.weight_on == "input"

    def to_native(self, x: Float32Array) -> NDArray[Any]:
        """A (T, d) array in this layer's precision."""
        return x.astype(self.dtype, copy=False)

    def to_numpy(self, y: NDArray[Any]) -> Float32Array:
        """A (T, d) array in float32."""
        return y.astype(np.float32, copy=False)

    def forward(self, x: NDArray[Any]) -> NDArray[Any]:
        """x (T, d) → y (T, d)."""
        # A token with NaN or Inf gives NaN, as the layer defines, and exp(100) in a sigmoid's divisor 0: nothing to
        # warn about.
        with np.errstate(invalid="ignore", over="ignore"):
            y = self._layer(x)
            if self.form.shared_d_ff:
                y += shared(self.form, self.arrays, x)
            return y

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
                y[rows] += self._expert(x[rows], weights[start:end], expert)
            start = end
        return y

    def _by_token(self, x: NDArray[Any]) -> NDArray[Any]:
        y = np.zeros_like(x)
        for t in range(len(x)):
            experts, weights = self._route(x[t : t + 1])
            for expert, weight in zip(experts[0].tolist(), weights[0], strict=True):
                y[t] += self._expert(x[t], weight, expert)
        return y

    def _published_expert(self, rows: NDArray[Any], weights: NDArray[Any], expert: int) -> NDArray[Any]:
        """An expert's part of y for some rows (n, d) with their weights (n, 1), or for one row (d,)."""
        inner = rows @ self.w1[expert]  # (n, f)
        np.maximum(inner, 0, out=inner)
        out: NDArray[Any] = inner @ self.w2[expert]  # (n, d)
        out *= weights
        return out

    def _formed_expert(self, rows: NDArray[Any], weights: NDArray[Any], expert: int) -> NDArray[Any]:
        """The same of any form."""
        if self._on_input:
            rows = rows * weights
        gate = self._product(rows, "w1", "b1", expert)  # (n, f)
        up = self._product(rows, "w3", "b3", expert) if self.form.gated else None
        out = self._product(hidden(self.form.expert, gate, up), "w2", "b2", expert)  # (n, d)
        if not self._on_input:
            out *= weights
        return out

    def _product(self, rows: NDArray[Any], name: str, bias: str, expert: int) -> NDArray[Any]:
        product: NDArray[Any] = rows @ self.arrays[name][expert]
        if bias in self.arrays:
            product += self.arrays[bias][expert]
        return product

    def _route(self, x: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[Any]]:
        """Experts (T, k) in order of what decides their choice, a tie to the lower number, and weights (T, k)."""
        if not self._routes_as_published:
            return route(self.form, self.arrays, x, self.top_k, finite=self._router_is_finite)
        logits = x @ self.gate  # (T, E)
        experts = np.argsort(-logits, axis=1, kind="stable")[:, : self.top_k]
        # A softmax over the chosen logits alone: dividing by their sum cancels the others.
        weights = np.take_along_axis(logits, experts, axis=1)
        weights -= weights[:, :1].copy()
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=1, keepdims=True)
        if not self._router_is_finite:
            # A token's own NaN is in all of its logits, the gate's in one, which may not be among the chosen.
            weights[np.isnan(logits).any(axis=1)] = np.nan
        return experts, weights
