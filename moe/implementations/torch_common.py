"""What all PyTorch layers share: the weights as tensors, the router, and tokens in the order of their experts."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from moe.implementations.contract import DTYPES, NotAvailableError, check_option
from moe.problem import Float32Array, Weights

DEVICES = ("cpu", "cuda")


def torch_available() -> tuple[bool, str]:
    """Say whether PyTorch is installed, without importing it."""
    if find_spec("torch") is None:
        return False, "PyTorch is not installed: pip install torch"
    return True, ""


class TorchWeights:
    """The layer's weights as tensors of `dtype` on `device`, with PyTorch's threads set."""

    def __init__(self, weights: Weights, *, threads: int, device: str = "cpu", dtype: str = "float32") -> None:
        import torch

        check_option("device", device, DEVICES)
        self.dtype = getattr(torch, check_option("dtype", dtype, DTYPES))
        if device == "cuda" and not torch.cuda.is_available():
            raise NotAvailableError("no CUDA device")
        # A full-precision product, whatever default a PyTorch build has.
        torch.set_float32_matmul_precision("highest")
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.gate, self.w1, self.w2 = (self.tensor(a) for a in (weights.gate, weights.w1, weights.w2))

    def tensor(self, array: Float32Array) -> Any:
        """`array` as a tensor on the device; on the CPU over the same memory, unless another dtype takes a copy."""
        import torch

        return torch.from_numpy(array).to(self.device, self.dtype)


class OnTheCpu:
    """What PyTorch layers that run on the CPU alone have in common; each keeps its weights as `native`."""

    native: TorchWeights

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether PyTorch is installed."""
        return torch_available()

    def to_native(self, x: Float32Array) -> Any:
        """A (T, d) tensor over the same memory."""
        return self.native.tensor(x)

    def to_numpy(self, y: Any) -> Float32Array:
        """A (T, d) array in float32; over the same memory if the output has that dtype."""
        array: Float32Array = y.detach().float().numpy()
        return array


def route(x: Any, gate: Any, top_k: int) -> tuple[Any, Any]:
    """Experts (T, k) of each token, a tie to the lower number, and their weights (T, k)."""
    import torch

    # Not topk, which promises no order among equals.
    logits, experts = torch.sort(x @ gate, dim=1, descending=True, stable=True)  # (T, E)
    # A softmax over the chosen logits alone: dividing by their sum cancels the others.
    return experts[:, :top_k], torch.softmax(logits[:, :top_k], dim=1)


def sorted_by_expert(x: Any, native: TorchWeights, top_k: int, products: Callable[[Any, list[int]], Any]) -> Any:
    """The layer with one pass over all experts: x (T, d) → y (T, d).

    `products` maps rows (T·k, d) in the order of their experts, and how many each expert has, to its outputs.
    """
    import torch

    experts, weights = route(x, native.gate, top_k)
    flat = experts.flatten()
    order = torch.argsort(flat, stable=True)
    tokens = torch.div(order, top_k, rounding_mode="floor")
    counts = torch.bincount(flat, minlength=native.gate.shape[1]).tolist()
    out = products(x.index_select(0, tokens), counts)
    out.mul_(weights.flatten().index_select(0, order).unsqueeze(1))
    return torch.zeros_like(x).index_add_(0, tokens, out)
