"""What all PyTorch layers share: the weights as tensors, the router, and tokens in the order of their experts."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from moe.implementations.contract import DTYPES, NotAvailableError, check_option
from moe.implementations.torch_experts import expert_of
from moe.implementations.torch_router import route
from moe.problem import Float32Array, Weights
from moe.weights import EXPERT, ROUTER

DEVICES = ("cpu", "cuda")
MATRICES = ("w1", "w2", "w3", "shared_w1", "shared_w2", "shared_w3")


def torch_available() -> tuple[bool, str]:
    """Say whether PyTorch is installed, without importing it."""
    if find_spec("torch") is None:
        return False, "PyTorch is not installed: pip install torch"
    return True, ""


class TorchWeights:
    """The layer's weights as tensors of `dtype` on `device`, with PyTorch's threads set.

    Without a `dtype` it is that of the weights' form. With bfloat16 the router's are float32.
    """

    def __init__(self, weights: Weights, *, threads: int, device: str = "cpu", dtype: str | None = None) -> None:
        import torch

        check_option("device", device, DEVICES)
        self.form = weights.form
        self.dtype = getattr(torch, self.form.precision if dtype is None else check_option("dtype", dtype, DTYPES))
        if device == "cuda" and not torch.cuda.is_available():
            raise NotAvailableError("no CUDA device")
        # A full-precision product, whatever default a PyTorch build has.
        torch.set_float32_matmul_precision("highest")
        torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.is_half = self.dtype == torch.bfloat16
        self.routes_as_published = weights.routes_as_published
        self.has_published_experts = weights.has_published_experts
        self.expert = expert_of(self.form.expert)
        arrays = weights.arrays()
        self.tensors = {name: self._weight(name, array) for name, array in arrays.items()}
        self.gate = self.tensors["gate"]

    def tensor(self, array: Float32Array, *, wide: bool = False) -> Any:
        """`array` as a tensor on the device; on the CPU over the same memory, unless another dtype takes a copy.

        In float32 at least where it is to be `wide`.
        """
        import torch

        return torch.from_numpy(array).to(self.device, torch.float32 if wide and self.is_half else self.dtype)

    def _weight(self, name: str, array: Float32Array) -> Any:
        """An array of the weights as a tensor.

        On a CPU products of bfloat16 are given matrices whose columns lie together, as models keep them: without
        AVX-512 one whose rows do was seen to take fourteen times as long.
        """
        tensor = self.tensor(array, wide=name in ROUTER)
        if not self.is_half or self.device.type != "cpu" or name not in MATRICES:
            return tensor
        return tensor.transpose(-1, -2).contiguous().transpose(-1, -2)

    def parts(self) -> list[tuple[Any, ...]]:
        """Each expert's tensors, as `expert_of` says that they are given."""
        none = [None] * len(self.tensors["w1"])
        return list(zip(*(self.tensors.get(name, none) for name in EXPERT), strict=True))

    def weighted(self, rows: Any, weights: Any, part: tuple[Any, ...]) -> Any:
        """What an expert adds to y for rows (n, d) with their weights (n, 1), from its tensors."""
        if self.form.weight_on == "input":
            return self.expert((rows * weights).to(self.dtype), *part).to(weights.dtype)
        return self.expert(rows, *part) * weights

    def shared(self, x: Any) -> Any:
        """The part (T, d) of the expert that every token takes; None where there is none."""
        import torch

        if not self.form.shared_d_ff:
            return None
        w1, w2, w3, gate = (self.tensors.get(f"shared_{name}") for name in ("w1", "w2", "w3", "gate"))
        out = self.expert(x, w1, w2, w3)
        return out if gate is None else out * torch.sigmoid(x @ gate)


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


class SortedByExpert(OnTheCpu):
    """A layer with one pass over all experts, tokens in their order; what computes their products is its own."""

    top_k: int

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        with torch.inference_mode():
            return sorted_by_expert(x, self.native, self.top_k, self._products)

    def _products(self, rows: Any, counts: list[int]) -> Any:
        """The outputs of rows (T·k, d) in the order of their experts, of which each has so many."""
        raise NotImplementedError


def sorted_by_expert(x: Any, native: TorchWeights, top_k: int, products: Callable[[Any, list[int]], Any]) -> Any:
    """The layer with one pass over all experts: x (T, d) → y (T, d).

    `products` maps rows (T·k, d) in the order of their experts, and how many each expert has, to its outputs. In
    bfloat16 the outputs are widened before they are weighted and summed.
    """
    import torch

    experts, weights = route(x, native, top_k)
    flat = experts.flatten()
    order = torch.argsort(flat, stable=True)
    tokens = torch.div(order, top_k, rounding_mode="floor")
    counts = torch.bincount(flat, minlength=native.gate.shape[1]).tolist()
    weights = weights.flatten().index_select(0, order).unsqueeze(1)
    rows = x.index_select(0, tokens)
    on_input = native.form.weight_on == "input"
    out = products((rows * weights).to(native.dtype) if on_input else rows, counts)
    if native.is_half:
        out = out.float()
    if not on_input:
        out.mul_(weights)
    y = torch.zeros_like(x, dtype=out.dtype).index_add_(0, tokens, out)
    shared = native.shared(x)
    return y if shared is None else y.add_(shared)
