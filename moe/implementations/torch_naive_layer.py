"""The layer in PyTorch as it is first written down: one token at a time."""

from typing import Any

from moe.implementations.contract import EVERY_KNOB
from moe.implementations.torch_common import OnTheCpu, TorchWeights
from moe.implementations.torch_router import route
from moe.problem import Weights


class TorchNaiveLayer(OnTheCpu):
    """PyTorch, a Python loop over tokens and over their experts, under inference_mode.

    `dtype=float64` computes in double precision, without one in the weights', router and weighted sum in float32.
    """

    name = "torch-naive"
    description = "PyTorch, token by token"
    knobs = EVERY_KNOB

    def __init__(self, weights: Weights, *, top_k: int, threads: int, dtype: str | None = None) -> None:
        self.native = TorchWeights(weights, threads=threads, dtype=dtype)
        self.parts = self.native.parts()
        self.top_k = top_k

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        w = self.native
        if not (w.routes_as_published and w.has_published_experts) or w.is_half or w.form.shared_d_ff:
            return self._formed(x)
        w1, w2 = w.tensors["w1"], w.tensors["w2"]
        with torch.inference_mode():
            y = torch.zeros_like(x)
            for t in range(len(x)):
                probabilities = torch.softmax(x[t] @ w.gate, dim=0)  # (E,)
                # Not topk, which promises no order among equals.
                values, experts = torch.sort(probabilities, descending=True, stable=True)
                weights = values[: self.top_k] / values[: self.top_k].sum()
                for weight, expert in zip(weights, experts[: self.top_k], strict=True):
                    hidden = torch.relu(x[t] @ w1[expert])  # (f,)
                    y[t] += weight * (hidden @ w2[expert])
            return y

    def _formed(self, x: Any) -> Any:
        """The same of any form."""
        import torch

        native = self.native
        with torch.inference_mode():
            y = torch.zeros_like(x, dtype=native.gate.dtype)
            for t in range(len(x)):
                row = x[t : t + 1]  # (1, d)
                experts, weights = route(row, native, self.top_k)
                for weight, e in zip(weights.T, experts[0].tolist(), strict=True):
                    y[t] += native.weighted(row, weight, self.parts[e])[0]
                if native.form.shared_d_ff:
                    y[t] += native.shared(row)[0]
            return y
