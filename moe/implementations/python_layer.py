"""The layer in lists and loops, without an array library."""

from __future__ import annotations

from math import exp
from operator import mul

import numpy as np

from moe.problem import Float32Array, Weights

Vector = list[float]
Matrix = list[Vector]


class PythonLayer:
    """Pure Python, token by token, on one thread; Python's floats have 64 bits.

    `sum(map(mul, …))` keeps the inner loop in C; a comprehension over zip is about a third slower.
    """

    name = "python"
    description = "Python lists and loops, token by token"

    @staticmethod
    def available() -> tuple[bool, str]:
        """It runs wherever Python does."""
        return True, ""

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        self.top_k = top_k
        # Columns as lists, so that every product is one pass over two flat lists.
        self.gate: Matrix = weights.gate.T.tolist()  # E × d
        self.w1: list[Matrix] = weights.w1.transpose(0, 2, 1).tolist()  # E × f × d
        self.w2: list[Matrix] = weights.w2.transpose(0, 2, 1).tolist()  # E × d × f

    def to_native(self, x: Float32Array) -> Matrix:
        """A (T, d) array as lists."""
        rows: Matrix = x.tolist()
        return rows

    def to_numpy(self, y: Matrix) -> Float32Array:
        """Lists as a (T, d) float32 array."""
        return np.array(y, dtype=np.float32).reshape(len(y), len(self.gate[0]))

    def forward(self, x: Matrix) -> Matrix:
        """x (T, d) → y (T, d)."""
        return [self._token(token) for token in x]

    def _token(self, token: Vector) -> Vector:
        y = [0.0] * len(token)
        for expert, weight in self._route(token):
            # Not max(0.0, …), which is 0 for NaN.
            hidden = [max(sum(map(mul, token, column)), 0.0) for column in self.w1[expert]]  # (f,)
            for i, column in enumerate(self.w2[expert]):
                y[i] += weight * sum(map(mul, hidden, column))
        return y

    def _route(self, token: Vector) -> list[tuple[int, float]]:
        """The token's k experts with their weights; sorted() is stable, so a tie goes to the lower number."""
        logits = [sum(map(mul, token, column)) for column in self.gate]
        largest = max(logits)
        powers = [exp(logit - largest) for logit in logits]
        total = sum(powers)  # over all experts: one logit that is NaN makes every probability NaN
        probabilities = [power / total for power in powers]
        chosen = sorted(range(len(logits)), key=lambda e: -logits[e])[: self.top_k]
        kept = sum(probabilities[e] for e in chosen)
        return [(e, probabilities[e] / kept) for e in chosen]
