"""The layer in lists and loops, without an array library."""

from operator import mul
from typing import Any

import numpy as np

from moe.implementations.contract import EVERY_KNOB
from moe.implementations.python_common import Vector, choose, hidden, sigmoid, softmax
from moe.problem import Float32Array, Weights
from moe.weights import EXPERT

Matrix = list[Vector]
MATRICES = ("gate", "w1", "w2", "w3", "shared_w1", "shared_w2", "shared_w3", "shared_gate")
SHARED = "shared_"  # before the names of the same parts of the expert that every token takes


class PythonLayer:
    """Pure Python, token by token, on one thread; Python's floats have 64 bits, whatever the weights had.

    `sum(map(mul, …))` keeps the inner loop in C; a comprehension over zip is about a third slower.
    """

    name = "python"
    description = "Python lists and loops, token by token"
    knobs = EVERY_KNOB

    @staticmethod
    def available() -> tuple[bool, str]:
        """It runs wherever Python does."""
        return True, ""

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        self.top_k = top_k
        # Columns as lists, so that every product is one pass over two flat lists.
        self.own: dict[str, Any] = {
            name: (array.swapaxes(-1, -2) if name in MATRICES else array).tolist()
            for name, array in weights.arrays().items()
        }
        self.gate: Matrix = self.own["gate"]  # E × d
        self.shared = {name.removeprefix(SHARED): own for name, own in self.own.items() if name.startswith(SHARED)}
        self.form = weights.form
        self.note = "bfloat16 widened to float64" if self.form.precision == "bfloat16" else ""
        self._routes_as_published = weights.routes_as_published

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
        own, y = self.own, [0.0] * len(token)
        for e, weight in self._route(token):
            before, after = (weight, 1.0) if self.form.weight_on == "input" else (1.0, weight)
            parts = {name: own[name][e] for name in EXPERT if name in own}
            out = self._expert([before * value for value in token], parts)
            y = [total + after * value for total, value in zip(y, out, strict=True)]
        if self.shared:
            out = self._expert(token, self.shared)
            gate = sigmoid(sum(map(mul, token, self.shared["gate"][0]))) if "gate" in self.shared else 1.0
            y = [total + gate * value for total, value in zip(y, out, strict=True)]
        return y

    def _expert(self, token: Vector, parts: dict[str, Any]) -> Vector:
        """The output (d,) of an expert with these weights."""
        gate = _product(token, parts["w1"], parts.get("b1"))
        up = _product(token, parts["w3"], parts.get("b3")) if "w3" in parts else gate
        return _product(hidden(self.form.expert, gate, up), parts["w2"], parts.get("b2"))

    def _route(self, token: Vector) -> list[tuple[int, float]]:
        """The token's k experts with their weights; sorted() is stable, so a tie goes to the lower number."""
        logits = [sum(map(mul, token, column)) for column in self.gate]
        if not self._routes_as_published:
            if "gate_bias" in self.own:
                logits = [logit + bias for logit, bias in zip(logits, self.own["gate_bias"], strict=True)]
            return choose(self.form, token, logits, self.own.get("select_bias"), self.top_k)
        probabilities = softmax(logits)
        chosen = sorted(range(len(logits)), key=lambda e: -logits[e])[: self.top_k]
        kept = sum(probabilities[e] for e in chosen)
        return [(e, probabilities[e] / kept) for e in chosen]


def _product(token: Vector, columns: Matrix, bias: Vector | None) -> Vector:
    """x·w + bias, w as its columns."""
    product = [sum(map(mul, token, column)) for column in columns]
    return product if bias is None else [value + b for value, b in zip(product, bias, strict=True)]
