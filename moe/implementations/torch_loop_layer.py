"""The layer in PyTorch as most model code writes it: a mask an expert."""

from typing import Any

from moe.implementations.contract import EVERY_KNOB, SWITCH, check_option
from moe.implementations.torch_common import OnTheCpu, TorchWeights
from moe.implementations.torch_router import route
from moe.problem import Weights


class TorchLoopLayer(OnTheCpu):
    """PyTorch: for each expert its tokens found by a mask, two products, and a sum into the output.

    What published models usually have; with many experts the masks cost more than the products.
    `grad=on` records each forward for autograd, as a model that is not told otherwise does.
    """

    name = "torch-loop"
    description = "PyTorch, a mask and a sum for each expert"
    knobs = EVERY_KNOB

    def __init__(self, weights: Weights, *, top_k: int, threads: int, grad: str = "off") -> None:
        self.native = TorchWeights(weights, threads=threads)
        self.top_k = top_k
        self.grad = check_option("grad", grad, SWITCH) == "on"
        for tensor in self.native.tensors.values():
            tensor.requires_grad_(self.grad)

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        native = self.native
        with torch.inference_mode(not self.grad):
            experts, weights = route(x, native, self.top_k)
            y = torch.zeros_like(x, dtype=weights.dtype)
            for e, part in enumerate(native.parts()):
                tokens, slots = torch.where(experts == e)
                if len(tokens):
                    y.index_add_(0, tokens, native.weighted(x[tokens], weights[tokens, slots].unsqueeze(1), part))
            shared = native.shared(x)
            return y if shared is None else y + shared
