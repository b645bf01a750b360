"""The layer as Hugging Face's transformers has it in its models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from moe.form import knob_text
from moe.implementations.contract import EVERY_KNOB, NotAvailableError, check_option, installed
from moe.implementations.torch_common import OnTheCpu, TorchWeights
from moe.implementations.torch_grouped_layer import require_whole_rows
from moe.implementations.torch_router import route
from moe.problem import Weights
from moe.weights import ROUTER

IMPLEMENTATIONS = ("grouped_mm", "eager", "batched_mm")
ACTIVATIONS = {"swiglu": "silu", "swiglu-oai": "silu", "geglu": "gelu"}  # where it is not the same name
Tensors = dict[str, Any]


class TransformersLayer(OnTheCpu):
    """transformers: the block of the family of models whose experts these are, with this project's router before it.

    Mixtral's block for gated experts, Qwen2-MoE's where a gated shared expert stands beside them and DeepSeek-V3's
    where that has no gate, GPT-OSS's, Llama 4's, and Nemotron-H's for experts of two matrices. Routers differ more
    than experts do, and in bfloat16 most choose in that precision, which gives some tokens other experts than the
    layer is defined with: here they get the layer's.

    `experts` is how the block computes its experts: `grouped_mm`, the library's own choice, `eager`, a loop, or
    `batched_mm`, which copies an expert's weights for every token that takes it. Llama 4's has a form of its own.
    """

    name = "transformers"
    description = "transformers, a model's own experts"
    knobs = EVERY_KNOB

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether transformers is installed."""
        return installed("transformers")

    def __init__(self, weights: Weights, *, top_k: int, threads: int, experts: str = "grouped_mm") -> None:
        import torch

        check_option("experts", experts, IMPLEMENTATIONS)
        family = _family_of(weights)
        if experts == "grouped_mm" and family.chooses:
            require_whole_rows(weights)
        self.top_k = top_k
        self.native = TorchWeights(weights, threads=threads)
        self.note = f"{family.title}'s block"
        module = import_module(f"transformers.models.{family.package}.modeling_{family.package}")
        config = _config_of(family, weights, top_k)
        config._experts_implementation = experts
        with torch.device("meta"):  # weights come next
            block = getattr(module, family.block)(config)
            if family.shared:
                _replace(block, family.shared, _shared_of(family, module, config, weights))
        _replace(block, family.router, partial(_routed, self.native, top_k, family.dense))
        tensors = self.native.tensors
        block.load_state_dict(family.state(tensors) | _shared_state(family, tensors), assign=True)
        self.block = block.eval()
        for name in set(tensors) - set(ROUTER):  # the block has them now
            del tensors[name]
        del self.native.w1, self.native.w2

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        import torch

        if not len(x):
            return torch.empty_like(x)
        with torch.inference_mode():
            y = self.block(x[None])
            return (y[0] if isinstance(y, tuple) else y).reshape(x.shape)


@dataclass(frozen=True)
class _Family:
    """A family's block: where it lies, its parts' names, and its experts' tensors as they lie in memory."""

    title: str
    package: str
    block: str
    state: Callable[[Tensors], Tensors]
    d_ff: str = "intermediate_size"
    router: str = "gate"
    shared: str = ""  # the shared expert's part
    mlp: str = ""  # and its class
    chooses: bool = True  # whether `experts` makes a difference
    dense: bool = False  # whether its router gives a weight for every expert


def _joined(t: Tensors) -> Tensors:
    """w1 and w3 side by side, (E, out, in)."""
    import torch

    both = torch.cat([t["w1"].mT, t["w3"].mT], dim=1)
    return {"experts.gate_up_proj": both, "experts.down_proj": _turned(t["w2"])}


def _in_turns(t: Tensors) -> Tensors:
    """w1's and w3's columns in turns, (E, in, out), and biases in the same order."""
    import torch

    return {
        "experts.gate_up_proj": torch.stack([t["w1"], t["w3"]], dim=-1).flatten(-2),
        "experts.gate_up_proj_bias": torch.stack([t["b1"], t["b3"]], dim=-1).flatten(-2),
        "experts.down_proj": t["w2"],
        "experts.down_proj_bias": t["b2"],
    }


def _side_by_side(t: Tensors) -> Tensors:
    """w1 and w3 side by side, (E, in, out)."""
    import torch

    return {"experts.gate_up_proj": torch.cat([t["w1"], t["w3"]], dim=2), "experts.down_proj": t["w2"]}


def _plain(t: Tensors) -> Tensors:
    return {"experts.up_proj": _turned(t["w1"]), "experts.down_proj": _turned(t["w2"])}


def _turned(t: Any) -> Any:
    import torch

    # Not contiguous(), which leaves a matrix of one row the strides that it had as a column.
    return torch.clone(t.mT, memory_format=torch.contiguous_format)


MIXTRAL = _Family("Mixtral", "mixtral", "MixtralSparseMoeBlock", _joined)
QWEN2 = _Family(
    "Qwen2-MoE", "qwen2_moe", "Qwen2MoeSparseMoeBlock", _joined,
    d_ff="moe_intermediate_size", shared="shared_expert", mlp="Qwen2MoeMLP",
)  # fmt: skip
DEEPSEEK = _Family(
    "DeepSeek-V3", "deepseek_v3", "DeepseekV3MoE", _joined,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="DeepseekV3MLP",
)  # fmt: skip
NEMOTRON = _Family(
    "Nemotron-H", "nemotron_h", "NemotronHMoE", _plain,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="NemotronHMLP",
)  # fmt: skip
GPT_OSS = _Family("GPT-OSS", "gpt_oss", "GptOssMLP", _in_turns, router="router")
LLAMA4 = _Family(
    "Llama 4", "llama4", "Llama4TextMoe", _side_by_side,
    router="router", shared="shared_expert", mlp="Llama4TextMLP", chooses=False, dense=True,
)  # fmt: skip
MODEL_TYPES = {"llama4": "llama4_text"}  # where it is not the package's name


def _family_of(weights: Weights) -> _Family:
    """The family whose experts these are; raises NotAvailableError where none has such."""
    form, shared, gate = weights.form, weights.form.shared_d_ff > 0, weights.shared_gate is not None
    biases = [bias is not None for bias in (weights.b1, weights.b2, weights.b3)]
    if form.expert == "swiglu-oai":
        if all(biases) and not shared and form.weight_on == "output":
            return GPT_OSS
    elif form.weight_on == "input":
        if form.gated and shared and not gate and not any(biases):
            return LLAMA4
    elif not any(biases):
        if form.gated:
            return QWEN2 if gate else DEEPSEEK if shared else MIXTRAL
        if not gate:
            return NEMOTRON
    text = ", ".join(f"{name}={knob_text(value)}" for name, value in weights.knobs.items())
    raise NotAvailableError(f"transformers does not compute layers with {text}: no model of it has such experts")


def _config_of(family: _Family, weights: Weights, top_k: int) -> Any:
    """The family's configuration, of which the block reads sizes and its activation alone."""
    from transformers import AutoConfig

    activation = ACTIVATIONS.get(weights.form.expert, weights.form.expert)
    sizes = {"hidden_size": weights.d_model, family.d_ff: weights.d_ff, "num_experts_per_tok": top_k}
    counts = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), weights.num_experts)
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 8}
    acts = {"hidden_act": activation, "mlp_hidden_act": activation}
    return AutoConfig.for_model(MODEL_TYPES.get(family.package, family.package), **sizes, **counts, **heads, **acts)


def _shared_of(family: _Family, module: Any, config: Any, weights: Weights) -> Any:
    """The shared expert at its width, in place of the block's own; what adds 0, where there is none."""
    if not weights.form.shared_d_ff:
        return lambda x: 0
    return getattr(module, family.mlp)(config, intermediate_size=weights.form.shared_d_ff)


def _shared_state(family: _Family, t: Tensors) -> Tensors:
    own = {"gate_proj": "shared_w1", "up_proj": "shared_w3", "down_proj": "shared_w2"}
    if "shared_w3" not in t:
        own = {"up_proj": "shared_w1", "down_proj": "shared_w2"}
    state = {f"{family.shared}.{part}.weight": _turned(t[name]) for part, name in own.items() if name in t}
    if "shared_gate" in t:
        state["shared_expert_gate.weight"] = _turned(t["shared_gate"])
    return state


def _replace(block: Any, part: str, other: Any) -> None:
    """Put a module or a function where a block has a module."""
    delattr(block, part)
    setattr(block, part, other)


def _routed(native: TorchWeights, top_k: int, dense: bool, x: Any, *_: Any) -> tuple[Any, ...]:
    """What a block's own router gives, from this project's: beside it there are logits, which no block looks at."""
    x = x.reshape(-1, x.shape[-1])
    experts, weights = route(x, native, top_k)
    if not dense:
        return None, weights, experts
    scores = weights.new_zeros(len(x), native.gate.shape[1]).scatter_(1, experts, weights)
    return scores.to(x.dtype), None
