"""The layer in PyTorch with its grouped product."""

from __future__ import annotations

from typing import Any

from moe.implementations.contract import NotAvailableError
from moe.implementations.torch_common import OnTheCpu, TorchWeights, sorted_by_expert
from moe.problem import Weights

ALIGNED = 4  # floats


class TorchGroupedLayer(OnTheCpu):
    """PyTorch: tokens sorted by expert, and `torch.nn.functional.grouped_mm` for all experts at once.

    One call takes the place of a loop over experts, which counts where experts are many and small.
    """

    name = "torch-grouped"
    description = "PyTorch, sorted by expert, grouped products"

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        if weights.d_model % ALIGNED or weights.d_ff % ALIGNED:
            raise NotAvailableError(
                f"grouped_mm takes rows of whole 16 bytes: d_model and d_ff must be multiples of {ALIGNED}, "
                f"got {weights.d_model} and {weights.d_ff}"
            )
        self.native = TorchWeights(weights, threads=threads)
        self.top_k = top_k

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        with torch.inference_mode():
            return sorted_by_expert(x, self.native, self.top_k, self._products)

    def _products(self, rows: Any, counts: list[int]) -> Any:
        import torch
        from torch.nn.functional import grouped_mm

        ends = torch.tensor(counts).cumsum(0).to(torch.int32)  # where each expert's rows end
        return grouped_mm(grouped_mm(rows, self.native.w1, offs=ends).relu_(), self.native.w2, offs=ends)
