"""The layer in PyTorch with AMD's zentorch."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from moe.implementations.contract import installed
from moe.implementations.torch_common import SortedByExpert, TorchWeights
from moe.problem import Weights


class ZentorchLayer(SortedByExpert):
    """PyTorch: tokens sorted by expert, and zentorch's `group_matmul` for all experts at once, twice.

    AMD's ZenDNN, with all experts' products in one parallel region and weights packed at the first. Its own
    `fused_moe` would do routing and sum too, but knows gated activations only; so ReLU stands between two calls.

    zentorch finds packed weights again by their address: those of another layer, put where the first one's were,
    would be taken for them. Weights therefore stay in memory until the process ends.
    """

    name = "zentorch"
    description = "PyTorch, sorted by expert, zentorch's grouped products"
    _kept: ClassVar[list[Any]] = []  # see above

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether zentorch is installed."""
        return installed("zentorch")

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        import torch
        import zentorch  # noqa: F401 - its operators

        self.native = TorchWeights(weights, threads=threads)
        self.top_k = top_k
        # Not contiguous(), which leaves a matrix of one row the strides that it had as a column.
        copy = partial(torch.clone, memory_format=torch.contiguous_format)
        self.w1, self.w2 = (copy(w.transpose(1, 2)) for w in (self.native.w1, self.native.w2))
        self._kept.extend((self.w1, self.w2))

    def _products(self, rows: Any, counts: list[int]) -> Any:
        hidden = _grouped(rows, counts, self.w1).relu_()  # (T·k, d) → (T·k, f)
        return _grouped(hidden, counts, self.w2)  # → (T·k, d)


def _grouped(rows: Any, counts: list[int], weights: Any) -> Any:
    """Rows in the order of their experts, each times its expert's weights, (E, out, in)."""
    import torch

    out = rows.new_empty(len(rows), weights.shape[1])
    parts = zip(out.split(counts), rows.split(counts), weights.unbind(), strict=True)
    active = [part for part in parts if len(part[0])]
    if active:
        outputs, inputs, matrices = map(list, zip(*active, strict=True))
        no_second: tuple[Any, ...] = ([], None, None, None, "none")  # a second product, sum and activation
        no_scales: tuple[Any, ...] = ([], [], [], [])
        no_bias = [None] * len(active)
        torch.ops.zentorch.zentorch_group_matmul.out(outputs, inputs, matrices, *no_second, no_bias, *no_scales)
    return out
