"""The layer in PyTorch with oneDNN's packed weights."""

from __future__ import annotations

from typing import Any

from moe.implementations.contract import NotAvailableError, require_finite
from moe.implementations.torch_common import OnTheCpu, TorchWeights, sorted_by_expert
from moe.problem import Weights


class TorchOnednnLayer(OnTheCpu):
    """PyTorch: tokens sorted by expert, weights packed once by oneDNN, ReLU fused into the first product.

    The operators that PyTorch's compiler puts in place of a linear layer whose weights it may freeze, called
    directly: the fastest form of plain PyTorch where each expert has many tokens, and some 17 µs more a call than
    `mm`, which shows where experts are many and small.
    """

    name = "torch-onednn"
    description = "PyTorch, sorted by expert, oneDNN with packed weights"

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        import torch

        if not torch.backends.mkldnn.is_available():
            raise NotAvailableError("this PyTorch is built without oneDNN")
        require_finite(weights, "oneDNN's fused ReLU")
        native = TorchWeights(weights, threads=threads)
        pack = torch.ops.mkldnn._reorder_linear_weight  # from (out, in)
        self.w1 = [pack(w.T.contiguous()) for w in native.w1]
        self.w2 = [pack(w.T.contiguous()) for w in native.w2]
        del native.w1, native.w2  # the packed ones serve: no second gigabyte where experts are many
        self.native = native
        self.top_k = top_k

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        with torch.inference_mode():
            return sorted_by_expert(x, self.native, self.top_k, self._products)

    def _products(self, rows: Any, counts: list[int]) -> Any:
        import torch

        linear = torch.ops.mkldnn._linear_pointwise
        out = torch.empty_like(rows)
        for part, result, w1, w2 in zip(rows.split(counts), out.split(counts), self.w1, self.w2, strict=True):
            if len(part):
                hidden = linear(part, w1, None, "relu", [], "")  # (n, d) → (n, f)
                result.copy_(linear(hidden, w2, None, "none", [], ""))  # → (n, d)
        return out
