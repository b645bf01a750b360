"""The layer in PyTorch as it is first written down: one token at a time."""

from __future__ import annotations

from typing import Any

from moe.implementations.torch_common import OnTheCpu, TorchWeights
from moe.problem import Weights


class TorchNaiveLayer(OnTheCpu):
    """PyTorch, a Python loop over tokens and over their experts, under inference_mode.

    `dtype=float64` computes in double precision.
    """

    name = "torch-naive"
    description = "PyTorch, token by token"

    def __init__(self, weights: Weights, *, top_k: int, threads: int, dtype: str = "float32") -> None:
        self.native = TorchWeights(weights, threads=threads, dtype=dtype)
        self.top_k = top_k

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        w = self.native
        with torch.inference_mode():
            y = torch.zeros_like(x)
            for t in range(len(x)):
                probabilities = torch.softmax(x[t] @ w.gate, dim=0)  # (E,)
                # Not topk, which promises no order among equals.
                values, experts = torch.sort(probabilities, descending=True, stable=True)
                weights = values[: self.top_k] / values[: self.top_k].sum()
                for weight, expert in zip(weights, experts[: self.top_k], strict=True):
                    hidden = torch.relu(x[t] @ w.w1[expert])  # (f,)
                    y[t] += weight * (hidden @ w.w2[expert])
            return y
