"""The layer in PyTorch with AMD's zentorch."""

import os
from itertools import repeat
from typing import Any, ClassVar

import numpy as np

from moe.implementations.contract import EVERY_KNOB, NotAvailableError, installed
from moe.implementations.torch_common import OnTheCpu, TorchWeights, sorted_by_expert
from moe.implementations.torch_experts import hidden_of
from moe.implementations.torch_router import route
from moe.problem import Weights

# Gated experts that zentorch's fused operator has, by its names for them.
FUSED = {"swiglu": "silu", "geglu": "gelu", "swiglu-oai": "swigluoai"}
IN_TURNS = ("swiglu-oai",)  # whose first product's columns it takes in turns, and not in halves


class ZentorchLayer(OnTheCpu):
    """PyTorch: zentorch's `fused_moe` for gated experts, its `group_matmul` for others, and the layer's own router.

    AMD's ZenDNN. The fused operator gathers tokens, computes all experts in one parallel region and sums. It knows
    gated activations only, weighs outputs and not inputs, and wants two experts with tokens at least. For the rest
    tokens are sorted by expert, and all experts' products made at once, twice.

    zentorch finds packed weights again by their address: those of another layer, put where the first one's were,
    would be taken for them. So it is made to forget all when a layer is made. By itself it packs an expert when a
    token takes that first, perhaps while it is timed: here all are packed at a layer's next forward.
    Unless told otherwise it writes packed weights over those that it is given, and refuses another number of threads
    afterwards; it is told so before it is loaded.
    """

    name = "zentorch"
    description = "PyTorch, zentorch's fused or grouped products"
    knobs = EVERY_KNOB
    made: ClassVar[int] = 0  # layers in this process: with each, what the others had packed is forgotten

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether zentorch is installed."""
        return installed("zentorch")

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        os.environ["ZENDNNL_MATMUL_WEIGHT_CACHE"] = "1"  # packed ones beside those that are given
        import torch
        import zentorch  # noqa: F401 - its operators

        form = weights.form
        if form.precision == "bfloat16" and not torch.ops.zentorch.zentorch_is_bf16_supported():
            raise NotAvailableError("zentorch does not compute layers with precision=bfloat16 on this processor")
        self.native = TorchWeights(weights, threads=threads)
        self.top_k = top_k
        self.hidden = hidden_of(form.expert)
        is_fused = form.gated and form.weight_on == "output" and top_k > 1
        if form.expert in IN_TURNS:  # whose clamps lose NaN
            is_fused = is_fused and all(np.isfinite(array).all() for array in weights.arrays().values())
        self.act = FUSED[form.expert] if is_fused else ""
        self.note = "its fused operator" if is_fused else ""
        tensors = self.native.tensors
        self.inner = self._joined(tensors["w1"].mT, tensors["w3"].mT) if form.gated else _copy(tensors["w1"].mT)
        self.outer = _copy(tensors["w2"].mT)
        self.inner_bias, self.outer_bias = self._inner_bias(tensors), tensors.get("b2")
        torch.ops.zentorch.zentorch_clear_weight_cache()
        ZentorchLayer.made += 1
        self._packed_at = 0
        for name in set(tensors) & {"w1", "w2", "w3"}:
            del tensors[name]

    def _joined(self, first: Any, third: Any) -> Any:
        """What belongs to w1 and w3, (E, f, …) each, as one: (E, 2f, …), in halves or in turns."""
        import torch

        if self.native.form.expert in IN_TURNS:
            return torch.stack([first, third], 2).flatten(1, 2)
        return torch.cat([first, third], 1)

    def _inner_bias(self, tensors: dict[str, Any]) -> Any:
        """b1, and for gated experts b3 beside it, as the weights are; one that is missing is 0."""
        import torch

        if not self.native.form.gated or not {"b1", "b3"} & set(tensors):
            return tensors.get("b1")
        none = torch.zeros(self.inner.shape[0], self.outer.shape[2], dtype=self.native.dtype)
        return self._joined(*(tensors.get(name, none) for name in ("b1", "b3")))

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        with torch.inference_mode():
            if self._packed_at != ZentorchLayer.made:
                self._pack()
                self._packed_at = ZentorchLayer.made
            if not self.act or not len(x):
                return sorted_by_expert(x, self.native, self.top_k, self._products)
            experts, weights = route(x, self.native, self.top_k)
            y = self._fused(x, experts, weights)
            shared = self.native.shared(x)
            return y if shared is None else y.add_(shared)

    def _pack(self) -> None:
        """Give every expert a token."""
        import torch

        count = len(self.inner)
        rows = torch.zeros(count, self.inner.shape[2], dtype=self.native.dtype)
        if self.act:
            experts = (torch.arange(count).unsqueeze(1) + torch.arange(self.top_k)) % count
            self._fused(rows, experts, torch.ones(count, self.top_k))
        else:
            self._products(rows, [1] * count)

    def _fused(self, x: Any, experts: Any, weights: Any) -> Any:
        import torch

        y = torch.zeros_like(x)  # it adds to what is there
        torch.ops.zentorch.zentorch_fused_moe(
            y, x, self.inner, self.outer, self.inner_bias, self.outer_bias,
            weights, experts.to(torch.int32), False, self.act,
        )  # fmt: skip
        return y

    def _products(self, rows: Any, counts: list[int]) -> Any:
        inner = _grouped(rows, counts, self.inner, self.inner_bias)  # (T·k, d) → (T·k, f), or 2f for gated experts
        gate, up = inner, None
        if self.native.form.gated:
            turns = self.native.form.expert in IN_TURNS
            gate, up = (inner[:, ::2], inner[:, 1::2]) if turns else inner.chunk(2, dim=1)
        return _grouped(self.hidden(gate, up).contiguous(), counts, self.outer, self.outer_bias)  # → (T·k, d)


def _copy(matrices: Any) -> Any:
    """Not contiguous(), which leaves a matrix of one row the strides that it had as a column."""
    import torch

    return torch.clone(matrices, memory_format=torch.contiguous_format)


def _grouped(rows: Any, counts: list[int], weights: Any, bias: Any) -> Any:
    """Rows in the order of their experts, each times its expert's weights, (E, out, in), plus its bias, (E, out)."""
    import torch

    out = rows.new_empty(len(rows), weights.shape[1])
    biases = repeat(None, len(weights)) if bias is None else bias.unbind()
    parts = zip(out.split(counts), rows.split(counts), weights.unbind(), biases, strict=True)
    active = [part for part in parts if len(part[0])]
    if active:
        outputs, inputs, matrices, own = map(list, zip(*active, strict=True))
        no_second: tuple[Any, ...] = ([], None, None, None, "none")  # a second product, sum and activation
        no_scales: tuple[Any, ...] = ([], [], [], [])
        torch.ops.zentorch.zentorch_group_matmul.out(outputs, inputs, matrices, *no_second, own, *no_scales)
    return out
