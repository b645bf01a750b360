"""Which block of transformers has a layer's experts, and how their tensors lie in its memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moe.form import knob_text
from moe.implementations.contract import NotAvailableError
from moe.problem import Weights

Tensors = dict[str, Any]


@dataclass(frozen=True)
class Family:
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
    return {"experts.gate_up_proj": both, "experts.down_proj": turned(t["w2"])}


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
    return {"experts.up_proj": turned(t["w1"]), "experts.down_proj": turned(t["w2"])}


def turned(t: Any) -> Any:
    """A copy with its last two axes the other way round."""
    import torch

    # Not contiguous(), which leaves a matrix of one row the strides that it had as a column.
    return torch.clone(t.mT, memory_format=torch.contiguous_format)


MIXTRAL = Family("Mixtral", "mixtral", "MixtralSparseMoeBlock", _joined)
QWEN2 = Family(
    "Qwen2-MoE", "qwen2_moe", "Qwen2MoeSparseMoeBlock", _joined,
    d_ff="moe_intermediate_size", shared="shared_expert", mlp="Qwen2MoeMLP",
)  # fmt: skip
DEEPSEEK = Family(
    "DeepSeek-V3", "deepseek_v3", "DeepseekV3MoE", _joined,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="DeepseekV3MLP",
)  # fmt: skip
NEMOTRON = Family(
    "Nemotron-H", "nemotron_h", "NemotronHMoE", _plain,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="NemotronHMLP",
)  # fmt: skip
GPT_OSS = Family("GPT-OSS", "gpt_oss", "GptOssMLP", _in_turns, router="router")
LLAMA4 = Family(
    "Llama 4", "llama4", "Llama4TextMoe", _side_by_side,
    router="router", shared="shared_expert", mlp="Llama4TextMLP", chooses=False, dense=True,
)  # fmt: skip
MODEL_TYPES = {"llama4": "llama4_text"}  # where it is not the package's name


def family_of(weights: Weights) -> Family:
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


def shared_state(family: Family, t: Tensors) -> Tensors:
    """The shared expert's tensors as they lie in memory, and its gate's."""
    own = {"gate_proj": "shared_w1", "up_proj": "shared_w3", "down_proj": "shared_w2"}
    if "shared_w3" not in t:
        own = {"up_proj": "shared_w1", "down_proj": "shared_w2"}
    state = {f"{family.shared}.{part}.weight": turned(t[name]) for part, name in own.items() if name in t}
    if "shared_gate" in t:
        state["shared_expert_gate.weight"] = turned(t["shared_gate"])
    return state
