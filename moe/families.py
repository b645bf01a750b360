"""How checkpoints of each family of models name and lay out a layer, and what their config.json says of its form.

Names and layouts are those that the families' own checkpoints have, in which transformers saves them too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

Config = Mapping[str, Any]

# What a layer's names begin with, before its number, in models of language alone and beside others.
PREFIXES = ("model.layers", "backbone.layers", "language_model.model.layers", "model.language_model.layers", "layers")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
TOP_K = ("num_experts_per_tok", "moe_k")


@dataclass(frozen=True)
class Part:
    """Where a weight lies: a tensor's name behind the layer's number, and its axes on disk.

    A group of letters is an axis: `2f` has f numbers twice, the first and then the second `half`, `f2` has them in
    turns. A name with {e} is a tensor an expert. s is the shared expert's width, other letters are the project's.
    """

    name: str
    axes: str
    half: int = 0


def _gated(folder: str, names: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")) -> dict[str, Part]:
    """Matrices w1, w3 and w2 of an expert each."""
    w1, w3, w2 = (f"{folder}.{{e}}.{name}.weight" for name in names)
    return {"w1": Part(w1, "f d"), "w3": Part(w3, "f d"), "w2": Part(w2, "d f")}


def _shared(folder: str) -> dict[str, Part]:
    names = {"shared_w1": "gate_proj", "shared_w3": "up_proj", "shared_w2": "down_proj"}
    return {key: Part(f"{folder}.{n}.weight", "d s" if key == "shared_w2" else "s d") for key, n in names.items()}


def _halves(name: str, axes: str, weights: tuple[str, str] = ("w1", "w3")) -> dict[str, Part]:
    """Two weights in one tensor."""
    return {weight: Part(name, axes, half) for half, weight in enumerate(weights)}


@dataclass(frozen=True)
class Family:
    """What checkpoints of a family have.

    `parts` says where each weight lies; the router's name tells that a layer has experts. `form` gives the knobs
    that are not the default's from config.json, or where it says nothing from the family's class in transformers.
    `d_ff` is the key of an expert's width and `activation` that of its function, empty where `form` says it.
    `shared_d_ff` is the key of the shared expert's width, or `shared_experts` that of how many as wide as the others
    it is, and how many where it is not stated. `without` names weights that are missing where a key says false, and
    `only` the values that a key may have, if it is there.
    """

    parts: Mapping[str, Part]
    form: Callable[[Config], Mapping[str, Any]] = lambda config: {}
    d_ff: str = "moe_intermediate_size"
    activation: str = "hidden_act"
    shared_d_ff: str = ""
    shared_experts: tuple[str, int] | None = None
    without: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}
PLAIN = {"relu2": "relu2", "relu": "relu", "gelu": "gelu"}
SCORED = {"scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",), "mlp_bias": (False,)}
MLP, MIXTRAL, FEED_FORWARD = "mlp", "block_sparse_moe", "feed_forward"
QWEN = {"gate": Part(f"{MLP}.gate.weight", "E d"), **_gated(f"{MLP}.experts")}
QWEN_SHARED = {
    **QWEN, **_shared(f"{MLP}.shared_expert"), "shared_gate": Part(f"{MLP}.shared_expert_gate.weight", "1 d"),
}  # fmt: skip
DEEPSEEK = QWEN | _shared(f"{MLP}.shared_experts")
CORRECTED = DEEPSEEK | {"select_bias": Part(f"{MLP}.gate.e_score_correction_bias", "E")}
MIXTRAL_PARTS = {
    "gate": Part(f"{MIXTRAL}.gate.weight", "E d"), **_gated(f"{MIXTRAL}.experts", ("w1", "w3", "w2")),
}  # fmt: skip


def _renormalised(config: Config, *, otherwise: bool = False) -> dict[str, Any]:
    return {"renormalise": config.get("norm_topk_prob", otherwise)}


def _grouped(config: Config, **otherwise: Any) -> dict[str, Any]:
    """The router of DeepSeek-V3 and those like it."""
    default = {"norm_topk_prob": True, "routed_scaling_factor": 1.0, "n_group": 1, "topk_group": 1} | otherwise
    renormalise, scale, groups, kept = (config.get(key, value) for key, value in default.items())
    return {"score": "sigmoid", "renormalise": renormalise, "scale": scale, "groups": groups, "groups_kept": kept}


def _deepseek_v2(config: Config) -> dict[str, Any]:
    found = {"renormalise": False, "scale": config.get("routed_scaling_factor", 1.0)}
    if config.get("topk_method", "greedy") == "greedy":
        return found
    return found | {"groups": config.get("n_group"), "groups_kept": config.get("topk_group"), "group_score": "max"}


FAMILIES = {
    "mixtral": Family(MIXTRAL_PARTS, d_ff="intermediate_size"),
    "minimax_m2": Family(
        MIXTRAL_PARTS | {"select_bias": Part(f"{MIXTRAL}.e_score_correction_bias", "E")},
        lambda config: {"score": "sigmoid"},
        d_ff="intermediate_size",
        only={"scoring_func": ("sigmoid",), "shared_intermediate_size": (0,), "use_routing_bias": (True,)},
    ),
    "olmoe": Family(QWEN, _renormalised, d_ff="intermediate_size"),
    "qwen3_moe": Family(QWEN, _renormalised),
    "qwen2_moe": Family(QWEN_SHARED, _renormalised, shared_d_ff="shared_expert_intermediate_size"),
    "qwen3_next": Family(
        QWEN_SHARED, partial(_renormalised, otherwise=True), shared_d_ff="shared_expert_intermediate_size"
    ),
    "deepseek_v2": Family(
        DEEPSEEK,
        _deepseek_v2,
        shared_experts=("n_shared_experts", 2),
        only={
            "scoring_func": ("softmax",),
            "topk_method": ("greedy", "group_limited_greedy"),
            "norm_topk_prob": (False,),
            "mlp_bias": (False,),
        },
    ),
    "deepseek_v3": Family(
        CORRECTED,
        partial(_grouped, routed_scaling_factor=2.5, n_group=8, topk_group=4),
        shared_experts=("n_shared_experts", 1),
        only=SCORED,
    ),
    "glm4_moe": Family(CORRECTED, _grouped, shared_experts=("n_shared_experts", 1), only=SCORED),
    "ernie4_5_moe": Family(
        DEEPSEEK | {"select_bias": Part(f"{MLP}.moe_statics.e_score_correction_bias", "1 E")},
        shared_experts=("moe_num_shared_experts", 2),
        only={"use_bias": (False,)},
    ),
    "granitemoe": Family(
        {
            "gate": Part(f"{MIXTRAL}.router.layer.weight", "E d"),
            **_halves(f"{MIXTRAL}.input_linear.weight", "E 2f d"),
            "w2": Part(f"{MIXTRAL}.output_linear.weight", "E d f"),
        },
        d_ff="intermediate_size",
    ),
    "gpt_oss": Family(
        {
            "gate": Part(f"{MLP}.router.weight", "E d"),
            "gate_bias": Part(f"{MLP}.router.bias", "E"),
            **_halves(f"{MLP}.experts.gate_up_proj", "E d f2"),
            **_halves(f"{MLP}.experts.gate_up_proj_bias", "E f2", ("b1", "b3")),
            "w2": Part(f"{MLP}.experts.down_proj", "E f d"),
            "b2": Part(f"{MLP}.experts.down_proj_bias", "E d"),
        },
        lambda config: {"expert": "swiglu-oai"},
        d_ff="intermediate_size",
        activation="",
        only={"swiglu_limit": (7.0,), "swiglu_alpha": (1.702,)},
    ),
    "llama4_text": Family(
        {
            "gate": Part(f"{FEED_FORWARD}.router.weight", "E d"),
            **_halves(f"{FEED_FORWARD}.experts.gate_up_proj", "E d 2f"),
            "w2": Part(f"{FEED_FORWARD}.experts.down_proj", "E f d"),
            **_shared(f"{FEED_FORWARD}.shared_expert"),
        },
        lambda config: {"score": "sigmoid", "renormalise": False, "weight_on": "input"},
        d_ff="intermediate_size",
        shared_d_ff="intermediate_size",
    ),
    "lfm2_moe": Family(
        {
            "gate": Part(f"{FEED_FORWARD}.gate.weight", "E d"),
            **_gated(f"{FEED_FORWARD}.experts", ("w1", "w3", "w2")),
            "select_bias": Part(f"{FEED_FORWARD}.expert_bias", "E"),
        },
        lambda config: _grouped(config) | {"expert": "swiglu", "groups": 1, "groups_kept": 1},
        activation="",
        without={"select_bias": "use_expert_bias"},
    ),
    "nemotron_h": Family(
        {
            "gate": Part("mixer.gate.weight", "E d"),
            "w1": Part("mixer.experts.{e}.up_proj.weight", "f d"),
            "w2": Part("mixer.experts.{e}.down_proj.weight", "d f"),
            "select_bias": Part("mixer.gate.e_score_correction_bias", "E"),
            "shared_w1": Part("mixer.shared_experts.up_proj.weight", "s d"),
            "shared_w2": Part("mixer.shared_experts.down_proj.weight", "d s"),
        },
        _grouped,
        activation="mlp_hidden_act",
        shared_d_ff="moe_shared_expert_intermediate_size",
        only={"moe_latent_size": (), "mlp_bias": (False,)},
    ),
}
# What a config.json may be called besides, and what is known but not read.
ALIASES = {"llama4": "llama4_text"}
REFUSED = {"switch_transformers": "it leaves out tokens beyond an expert's capacity, which this layer does not"}
