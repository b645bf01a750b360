"""Which block of transformers has a layer's experts or its router too, and how their tensors lie in its memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from moe.form import knob_text
from moe.implementations.contract import NotAvailableError
from moe.problem import Weights

Tensors = dict[str, Any]
Settings = dict[str, Any]  # of a configuration


@dataclass(frozen=True)
class Family:
    """A family's block: where it lies, its parts' names, and its experts' tensors as they lie in memory.

    `routes` gives what its configuration says where its own router computes as a layer's does, and None where it does
    not. Such a router is `wide` where it computes in float32 whatever the model's precision, and has the `bias` of
    which the first is this project's name, the second its own.
    """

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
    routes: Callable[[Weights], Settings | None] = lambda weights: None
    wide: bool = False
    bias: tuple[str, str] = ("", "")


def _plain_router(score: str, renormalise: bool, bias: str = "") -> Callable[[Weights], Settings | None]:
    """The k largest scores, divided by their sum or not, perhaps with a bias: nothing else."""

    def routes(weights: Weights) -> Settings | None:
        form = weights.form
        same = (form.score, form.renormalise, form.scale, form.groups) == (score, renormalise, 1, 1)
        return {} if same and _biases(weights) <= {bias} else None

    return routes


def _biases(weights: Weights) -> set[str]:
    return {"select_bias", "gate_bias"} & set(weights.arrays())


def _softmax(weights: Weights) -> Settings | None:
    """A softmax's k largest, perhaps divided by their sum."""
    form = weights.form
    plain = (form.score, form.scale, form.groups) == ("softmax", 1, 1)
    return {"norm_topk_prob": form.renormalise} if plain and not _biases(weights) else None


def _scaled(weights: Weights) -> Settings | None:
    """DeepSeek-V2's: a softmax's k largest times a factor, perhaps of the best groups."""
    form = weights.form
    if form.score != "softmax" or form.renormalise or _biases(weights):
        return None
    found = {"routed_scaling_factor": form.scale, "topk_method": "greedy"}
    if form.groups == 1:
        return found
    grouped = {"topk_method": "group_limited_greedy", "n_group": form.groups, "topk_group": form.groups_kept}
    return found | grouped if form.group_score == "max" else None


def _corrected(weights: Weights) -> Settings | None:
    """DeepSeek-V3's: sigmoids, a bias for the choice, groups by their two best."""
    form = weights.form
    grouped = form.groups == 1 or form.group_score == "top2"
    if form.score != "sigmoid" or weights.gate_bias is not None or not grouped:
        return None
    if weights.num_experts < 2 * form.groups:  # it looks for two in each
        return None
    groups = {"n_group": form.groups, "topk_group": form.groups_kept}
    return groups | {"norm_topk_prob": form.renormalise, "routed_scaling_factor": form.scale}


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


CORRECTION = ("select_bias", "gate.e_score_correction_bias")
MIXTRAL = Family("Mixtral", "mixtral", "MixtralSparseMoeBlock", _joined, routes=_plain_router("softmax", True))
OLMOE = Family("OLMoE", "olmoe", "OlmoeSparseMoeBlock", _joined, routes=_softmax)
MINIMAX = Family(
    "MiniMax-M2", "minimax_m2", "MiniMaxM2SparseMoeBlock", _joined,
    routes=_plain_router("sigmoid", True, "select_bias"), bias=("select_bias", "e_score_correction_bias"),
)  # fmt: skip
QWEN2 = Family(
    "Qwen2-MoE", "qwen2_moe", "Qwen2MoeSparseMoeBlock", _joined,
    d_ff="moe_intermediate_size", shared="shared_expert", mlp="Qwen2MoeMLP", routes=_softmax,
)  # fmt: skip
DEEPSEEK = Family(
    "DeepSeek-V3", "deepseek_v3", "DeepseekV3MoE", _joined,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="DeepseekV3MLP",
    routes=_corrected, wide=True, bias=CORRECTION,
)  # fmt: skip
DEEPSEEK_V2 = Family(
    "DeepSeek-V2", "deepseek_v2", "DeepseekV2Moe", _joined,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="DeepseekV2MLP", routes=_scaled, wide=True,
)  # fmt: skip
ERNIE = Family(
    "ERNIE 4.5", "ernie4_5_moe", "Ernie4_5_MoeSparseMoeBlock", _joined,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="Ernie4_5_MoeMLP",
    routes=_plain_router("softmax", True, "select_bias"), wide=True,
    bias=("select_bias", "gate.moe_statics.e_score_correction_bias"),
)  # fmt: skip
NEMOTRON = Family(
    "Nemotron-H", "nemotron_h", "NemotronHMoE", _plain,
    d_ff="moe_intermediate_size", shared="shared_experts", mlp="NemotronHMLP",
    routes=_corrected, wide=True, bias=CORRECTION,
)  # fmt: skip
GPT_OSS = Family(
    "GPT-OSS", "gpt_oss", "GptOssMLP", _in_turns,
    router="router", routes=_plain_router("softmax", True, "gate_bias"), bias=("gate_bias", "router.bias"),
)  # fmt: skip
LLAMA4 = Family(
    "Llama 4", "llama4", "Llama4TextMoe", _side_by_side,
    router="router", shared="shared_expert", mlp="Llama4TextMLP", chooses=False, dense=True,
    routes=_plain_router("sigmoid", False),
)  # fmt: skip
MODEL_TYPES = {"llama4": "llama4_text"}  # where it is not the package's name


def family_of(weights: Weights, *, own_router: bool) -> Family:
    """The family whose experts, or experts and router, these are; raises NotAvailableError where none has such."""
    for family in _families_of(weights):
        if not own_router or family.routes(weights) is not None:
            return family
    knobs = ", ".join(f"{name}={knob_text(value)}" for name, value in weights.knobs.items()) or "expert=relu"
    if own_router:
        raise NotAvailableError(f"transformers has no block with experts and a router of its own as {knobs}")
    raise NotAvailableError(f"transformers does not compute layers with {knobs}: no model of it has such experts")


def _families_of(weights: Weights) -> tuple[Family, ...]:
    """The families with such experts, whose routers differ; none, where no model has them."""
    form, shared, gate = weights.form, weights.form.shared_d_ff > 0, weights.shared_gate is not None
    biases = [bias is not None for bias in (weights.b1, weights.b2, weights.b3)]
    if form.expert == "swiglu-oai":
        if all(biases) and not shared and form.weight_on == "output":
            return (GPT_OSS,)
    elif form.weight_on == "input":
        if form.gated and shared and not gate and not any(biases):
            return (LLAMA4,)
    elif not any(biases):
        if form.gated:
            return (QWEN2,) if gate else (DEEPSEEK, DEEPSEEK_V2, ERNIE) if shared else (MIXTRAL, OLMOE, MINIMAX)
        if not gate:
            return (NEMOTRON,)
    return ()


def shared_state(family: Family, t: Tensors) -> Tensors:
    """The shared expert's tensors as they lie in memory, and its gate's."""
    own = {"gate_proj": "shared_w1", "up_proj": "shared_w3", "down_proj": "shared_w2"}
    if "shared_w3" not in t:
        own = {"up_proj": "shared_w1", "down_proj": "shared_w2"}
    state = {f"{family.shared}.{part}.weight": turned(t[name]) for part, name in own.items() if name in t}
    if "shared_gate" in t:
        state["shared_expert_gate.weight"] = turned(t["shared_gate"])
    return state


def router_state(family: Family, t: Tensors, dtype: Any) -> Tensors:
    """Its own router's tensors as they lie in memory, in `dtype` where it is not wide."""
    import torch

    gate, (name, own_name) = t["gate"], family.bias
    state = {f"{family.router}.weight": turned(gate) if family.wide else turned(gate).to(dtype)}
    if name:
        bias = t[name] if name in t else torch.zeros(gate.shape[1])
        state[own_name] = bias.to(dtype) if name == "gate_bias" else bias
    return state
