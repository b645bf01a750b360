"""The layer in PyTorch with its grouped product."""

from typing import Any

from moe.implementations.contract import EVERY_KNOB, NotAvailableError
from moe.implementations.torch_common import SortedByExpert, TorchWeights
from moe.implementations.torch_experts import hidden_of
from moe.problem import Weights

ROW_BYTES = 16


def require_whole_rows(weights: Weights) -> None:
    """Raise NotAvailableError for sizes that grouped_mm does not take."""
    aligned = ROW_BYTES // weights.form.weight_bytes
    if weights.d_model % aligned or weights.d_ff % aligned:
        raise NotAvailableError(
            f"grouped_mm takes rows of whole 16 bytes: d_model and d_ff must be multiples of {aligned}, "
            f"got {weights.d_model} and {weights.d_ff}"
        )


class TorchGroupedLayer(SortedByExpert):
    """PyTorch: tokens sorted by expert, and `torch.nn.functional.grouped_mm` for all experts at once.

    One call takes the place of a loop over experts, which counts where experts are many and small.
    """

    name = "torch-grouped"
    description = "PyTorch, sorted by expert, grouped products"
    knobs = EVERY_KNOB

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        require_whole_rows(weights)
        self.native = TorchWeights(weights, threads=threads)
        self.hidden = hidden_of(weights.form.expert)
        self.top_k = top_k

    def _products(self, rows: Any, counts: list[int]) -> Any:
        import torch
        from torch.nn.functional import grouped_mm

        own, each = self.native.tensors, torch.tensor(counts)
        ends = each.cumsum(0).to(torch.int32)  # where each expert's rows end

        def product(x: Any, name: str, bias: str) -> Any:
            out = grouped_mm(x, own[name], offs=ends)
            # It takes no biases, which are added to each row of their experts.
            return out + own[bias].repeat_interleave(each, dim=0) if bias in own else out

        up = product(rows, "w3", "b3") if self.native.form.gated else None
        return product(self.hidden(product(rows, "w1", "b1"), up), "w2", "b2")
