"""The layer in PyTorch with oneDNN's packed weights."""

from __future__ import annotations

from typing import Any

from moe.implementations.contract import EVERY_KNOB, NotAvailableError, require_finite
from moe.implementations.torch_common import OnTheCpu, TorchWeights, sorted_by_expert
from moe.implementations.torch_experts import hidden_of
from moe.problem import Weights


class TorchOnednnLayer(OnTheCpu):
    """PyTorch: tokens sorted by expert, weights packed once by oneDNN, ReLU fused into the first product.

    The operators that PyTorch's compiler puts in place of a linear layer whose weights it may freeze, called
    directly: the fastest form of plain PyTorch where each expert has many tokens, and some 17 µs more a call than
    `mm`, which shows where experts are many and small.
    """

    name = "torch-onednn"
    description = "PyTorch, sorted by expert, oneDNN with packed weights"
    knobs = EVERY_KNOB

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        import torch

        if not torch.backends.mkldnn.is_available():
            raise NotAvailableError("this PyTorch is built without oneDNN")
        require_finite(weights, "oneDNN's fused ReLU")
        native = TorchWeights(weights, threads=threads)
        if native.is_half and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
            raise NotAvailableError("oneDNN has no bfloat16 on this processor")
        pack = torch.ops.mkldnn._reorder_linear_weight  # from (out, in)
        self.w1, self.w2, self.w3 = (
            [pack(w.T.contiguous()) for w in native.tensors[name]] if name in native.tensors else None
            for name in ("w1", "w2", "w3")
        )
        for name in ("w1", "w2", "w3"):  # the packed ones serve: no second gigabyte where experts are many
            native.tensors.pop(name, None)
        del native.w1, native.w2
        self.fused = weights.form.expert if weights.form.expert == "relu" else "none"
        self.native = native
        self.hidden = hidden_of(weights.form.expert)
        self.top_k = top_k

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        with torch.inference_mode():
            return sorted_by_expert(x, self.native, self.top_k, self._products)

    def _products(self, rows: Any, counts: list[int]) -> Any:
        import torch

        out = torch.empty_like(rows)
        for e, (part, result) in enumerate(zip(rows.split(counts), out.split(counts), strict=True)):
            if len(part):
                inner = self._product(part, self.w1, "b1", e, self.fused)  # (n, d) → (n, f)
                if self.fused == "none":
                    up = None if self.w3 is None else self._product(part, self.w3, "b3", e)
                    inner = self.hidden(inner, up)
                result.copy_(self._product(inner, self.w2, "b2", e))  # → (n, d)
        return out

    def _product(self, x: Any, packed: Any, bias: str, e: int, then: str = "none") -> Any:
        import torch

        own = self.native.tensors.get(bias)
        return torch.ops.mkldnn._linear_pointwise(x, packed[e], None if own is None else own[e], then, [], "")
