"""The layer in PyTorch with oneDNN's packed weights."""

from typing import Any

from moe.implementations.contract import EVERY_KNOB, NotAvailableError, require_finite
from moe.implementations.torch_common import SortedByExpert, TorchWeights
from moe.implementations.torch_experts import by_expert, hidden_of
from moe.problem import Weights


class TorchOnednnLayer(SortedByExpert):
    """PyTorch: tokens sorted by expert, weights packed once by oneDNN, ReLU fused into the first product.

    The operators that PyTorch's compiler puts in place of a linear layer whose weights it may freeze, called
    directly: the fastest of plain PyTorch where each expert has many tokens, and some 17 µs more a call than
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
        for name in ("w1", "w2", "w3"):
            if name in native.tensors:  # the packed ones serve alone: no second gigabyte where experts are many
                native.tensors[name] = [pack(w.T.contiguous()) for w in native.tensors[name]]
        self.parts = native.parts()
        self.fused = weights.form.expert if weights.form.expert == "relu" else "none"
        self.native = native
        self.hidden = hidden_of(weights.form.expert)
        self.top_k = top_k

    def _products(self, rows: Any, counts: list[int]) -> Any:
        return by_expert(self._expert, rows, counts, self.parts)

    def _expert(self, x: Any, w1: Any, w2: Any, w3: Any, b1: Any, b2: Any, b3: Any) -> Any:
        """As `expert_of`, with packed matrices."""
        import torch

        linear = torch.ops.mkldnn._linear_pointwise
        inner = linear(x, w1, b1, self.fused, [], "")  # (n, d) → (n, f)
        if self.fused == "none":
            inner = self.hidden(inner, None if w3 is None else linear(x, w3, b3, "none", [], ""))
        return linear(inner, w2, b2, "none", [], "")  # → (n, d)
