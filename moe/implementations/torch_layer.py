"""The layer in PyTorch, batched by expert, on the CPU or a CUDA device."""

from typing import Any

from moe.implementations.contract import EVERY_KNOB, SWITCH, check_option
from moe.implementations.cuda import cuda_available
from moe.implementations.torch_common import TorchWeights, sorted_by_expert, torch_available
from moe.implementations.torch_experts import by_expert
from moe.problem import Float32Array, Weights


class TorchLayer:
    """PyTorch: tokens sorted by expert, an expert's products at once, one weighted sum, under inference_mode.

    Against a mask an expert, a sum an expert and `grouped_mm`, this was nowhere clearly slower and with
    64 small experts up to three times faster.

    `device=cuda` runs on the GPU with its input already there; `transfer=on` starts and ends in CPU memory.
    `dtype=float64` computes in double precision, without one in the weights', router and weighted sum in float32.
    """

    name = "torch"
    description = "PyTorch, batched by expert"
    knobs = EVERY_KNOB

    @staticmethod
    def available(device: str = "cpu") -> tuple[bool, str]:
        """Say whether PyTorch is installed, and for `device=cuda` whether there is a device."""
        installed, reason = torch_available()
        return cuda_available() if installed and device == "cuda" else (installed, reason)

    def __init__(
        self,
        weights: Weights,
        *,
        top_k: int,
        threads: int,
        device: str = "cpu",
        transfer: str = "off",
        dtype: str | None = None,
    ) -> None:
        self.native = TorchWeights(weights, threads=threads, device=device, dtype=dtype)
        self.w1, self.w2 = (self.native.tensors[name].unbind() for name in ("w1", "w2"))  # E matrices each
        self.parts = None if self.native.has_published_experts else self.native.parts()
        self.top_k = top_k
        self.transfer = check_option("transfer", transfer, SWITCH) == "on"

    def to_native(self, x: Float32Array) -> Any:
        """A (T, d) tensor of the layer's dtype: on its device, or in CPU memory with `transfer=on`."""
        import torch

        if self.transfer:
            return torch.from_numpy(x).to(self.native.dtype)
        native = self.native.tensor(x)
        if self.native.device.type == "cuda":
            torch.cuda.synchronize(self.native.device)
        return native

    def to_numpy(self, y: Any) -> Float32Array:
        """A (T, d) array in float32."""
        array: Float32Array = y.cpu().float().numpy()
        return array

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        device = self.native.device
        with torch.inference_mode():
            x = x.to(device) if self.transfer else x
            y = sorted_by_expert(x, self.native, self.top_k, self._products)
            if self.transfer:
                return y.cpu()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            return y

    def _products(self, rows: Any, counts: list[int]) -> Any:
        import torch

        if self.parts is not None:
            return by_expert(self.native.expert, rows, counts, self.parts)
        out = torch.empty_like(rows)
        for part, result, w1, w2 in zip(rows.split(counts), out.split(counts), self.w1, self.w2, strict=True):
            if len(part):
                torch.mm(torch.mm(part, w1).relu_(), w2, out=result)  # (n, d) → (n, f) → (n, d)
        return out
