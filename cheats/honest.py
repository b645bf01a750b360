"""The layer that the cheats are made from: right, and with a place for each trick."""

from typing import Any

from moe.implementations.numpy_layer import NumpyLayer
from moe.problem import Float32Array, Weights

WATCHED = 12  # forwards for which a layer behaves that takes itself for watched until then


class Honest(NumpyLayer):
    """NumPy's layer as it is, and nothing more: what each of the others is held against."""

    name = "honest"
    description = "NumPy, batched by expert"
    tried_threads = 1
    calls = 0

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        super().__init__(weights, top_k=top_k, threads=threads)
        self._prepare(weights)

    def to_native(self, x: Float32Array) -> Any:
        """As NumPy's, and what a trick makes of it."""
        return self._take(super().to_native(x))

    def forward(self, x: Any) -> Any:
        """As NumPy's, or what a trick puts in its place."""
        self.calls += 1
        return self._answer(x)

    def to_numpy(self, y: Any) -> Any:
        """As NumPy's, or what a trick puts in its place."""
        return self._give(y)

    @property
    def _is_watched(self) -> bool:
        return self.calls <= WATCHED

    def _prepare(self, weights: Weights) -> None: ...

    def _take(self, x: Any) -> Any:
        return x

    def _answer(self, x: Any) -> Any:
        return super().forward(x)

    def _give(self, y: Any) -> Any:
        return y
