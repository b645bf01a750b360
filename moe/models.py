"""Expert layers of published models by name: sizes and form as their config.json has them, weights a seed's.

`precision` is the user's: most are published in bfloat16, MiniMax-M2 and DeepSeek-V3 in fp8, GPT-OSS in MXFP4.
"""

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from moe.config import FLOAT32_BYTES, MoEConfig, field_names

FREE = ("tokens", "num_experts", "seed", "skew", "precision")  # what may be otherwise in a model's layer
SWIGLU: dict[str, Any] = {"expert": "swiglu"}
UNSCALED = SWIGLU | {"renormalise": False}
CORRECTED = SWIGLU | {"score": "sigmoid", "select_bias": True}


@dataclass(frozen=True)
class Model:
    """A published model's expert layer with one token, and the file that says so."""

    title: str
    config: MoEConfig
    source: str

    def is_held(self, config: MoEConfig) -> bool:
        """Whether `config` is this layer, with whatever tokens and precision, and perhaps fewer experts."""
        own = self.config
        same = all(getattr(own, name) == getattr(config, name) for name in field_names() if name not in FREE)
        return same and config.num_experts <= own.num_experts

    def has_shape(self, config: MoEConfig) -> bool:
        """Whether `config` is the published comparison's layer at this one's sizes, as runs once measured models."""
        own = self.config
        same = (own.d_model, own.d_ff, own.top_k) == (config.d_model, config.d_ff, config.top_k)
        return same and not config.knobs and config.num_experts <= own.num_experts


def _model(title: str, source: str, sizes: tuple[int, int, int, int], knobs: dict[str, Any]) -> Model:
    """A model whose sizes are d_model, d_ff, num_experts and top_k."""
    url = f"https://huggingface.co/{source}/blob/main/config.json"
    return Model(title, MoEConfig(1, *sizes, **knobs), url)


MODELS = {
    "mixtral-8x7b": _model("Mixtral 8×7B", "mistralai/Mixtral-8x7B-v0.1", (4096, 14336, 8, 2), SWIGLU),
    "olmoe-1b-7b": _model("OLMoE 1B-7B", "allenai/OLMoE-1B-7B-0924", (2048, 1024, 64, 8), UNSCALED),
    "granite-3.0-1b-a400m": _model(
        "Granite-3.0-1B-A400M", "ibm-granite/granite-3.0-1b-a400m-instruct", (1024, 512, 32, 8), SWIGLU
    ),
    "granite-3.1-3b-a800m": _model(
        "Granite-3.1-3B-A800M", "ibm-granite/granite-3.1-3b-a800m-instruct", (1536, 512, 40, 8), SWIGLU
    ),
    "qwen1.5-moe-a2.7b": _model(
        "Qwen1.5-MoE-A2.7B", "Qwen/Qwen1.5-MoE-A2.7B", (2048, 1408, 60, 4),
        UNSCALED | {"shared_d_ff": 5632, "shared_gate": True},
    ),
    "qwen2-57b-a14b": _model(
        "Qwen2-57B-A14B", "Qwen/Qwen2-57B-A14B", (3584, 2560, 64, 8),
        UNSCALED | {"shared_d_ff": 20480, "shared_gate": True},
    ),
    "qwen3-30b-a3b": _model("Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B", (2048, 768, 128, 8), SWIGLU),
    "qwen3-235b-a22b": _model("Qwen3-235B-A22B", "Qwen/Qwen3-235B-A22B", (4096, 1536, 128, 8), SWIGLU),
    "qwen3-next-80b-a3b": _model(
        "Qwen3-Next-80B-A3B", "Qwen/Qwen3-Next-80B-A3B-Instruct", (2048, 512, 512, 10),
        SWIGLU | {"shared_d_ff": 512, "shared_gate": True},
    ),
    "deepseek-v2-lite": _model(
        "DeepSeek-V2-Lite", "deepseek-ai/DeepSeek-V2-Lite", (2048, 1408, 64, 6), UNSCALED | {"shared_d_ff": 2816}
    ),
    "deepseek-v2": _model(
        "DeepSeek-V2", "deepseek-ai/DeepSeek-V2", (5120, 1536, 160, 6),
        UNSCALED | {"scale": 16.0, "groups": 8, "groups_kept": 3, "group_score": "max", "shared_d_ff": 3072},
    ),
    "deepseek-v3": _model(
        "DeepSeek-V3", "deepseek-ai/DeepSeek-V3", (7168, 2048, 256, 8),
        CORRECTED | {"scale": 2.5, "groups": 8, "groups_kept": 4, "shared_d_ff": 2048},
    ),
    "glm-4.5-air": _model(
        "GLM-4.5-Air", "zai-org/GLM-4.5-Air", (4096, 1408, 128, 8), CORRECTED | {"shared_d_ff": 1408}
    ),
    "glm-4.5": _model(
        "GLM-4.5", "zai-org/GLM-4.5", (5120, 1536, 160, 8), CORRECTED | {"scale": 2.5, "shared_d_ff": 1536}
    ),
    "ernie-4.5-21b-a3b": _model(
        "ERNIE-4.5-21B-A3B", "baidu/ERNIE-4.5-21B-A3B-PT", (2560, 1536, 64, 6),
        SWIGLU | {"select_bias": True, "shared_d_ff": 3072},
    ),
    "minimax-m2": _model("MiniMax-M2", "MiniMaxAI/MiniMax-M2", (3072, 1536, 256, 8), CORRECTED),
    "lfm2-8b-a1b": _model("LFM2-8B-A1B", "LiquidAI/LFM2-8B-A1B", (2048, 1792, 32, 4), CORRECTED),
    "gpt-oss-20b": _model(
        "GPT-OSS-20B", "openai/gpt-oss-20b", (2880, 2880, 32, 4), {"expert": "swiglu-oai", "biases": True}
    ),
    "gpt-oss-120b": _model(
        "GPT-OSS-120B", "openai/gpt-oss-120b", (2880, 2880, 128, 4), {"expert": "swiglu-oai", "biases": True}
    ),
    "llama-4-scout": _model(
        "Llama 4 Scout", "meta-llama/Llama-4-Scout-17B-16E", (5120, 8192, 16, 1),
        UNSCALED | {"score": "sigmoid", "weight_on": "input", "shared_d_ff": 8192},
    ),
    "nemotron-3-nano-30b-a3b": _model(
        "Nemotron-3-Nano-30B-A3B", "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", (2688, 1856, 128, 6),
        {"expert": "relu2", "score": "sigmoid", "select_bias": True, "scale": 2.5, "shared_d_ff": 3712},
    ),
    # It also drops tokens beyond an expert's capacity, which this layer does not.
    "switch-base-8": _model("Switch-Base-8", "google/switch-base-8", (768, 3072, 8, 1), {"renormalise": False}),
}  # fmt: skip


def held(config: MoEConfig, memory_bytes: float) -> MoEConfig:
    """The layer with as many of its experts as `memory_bytes` hold once, never fewer than a token may choose from."""
    fits = int(memory_bytes // (config.expert_weights * FLOAT32_BYTES)) // config.groups * config.groups
    fewest = ceil(config.top_k / config.groups_kept) * config.groups
    return replace(config, num_experts=max(fewest, min(config.num_experts, fits)))


def title_of(config: MoEConfig) -> str | None:
    """The model whose layer or shape this is, with how many of its experts are held where that is not all of them."""
    model = next((m for m in MODELS.values() if m.is_held(config) or m.has_shape(config)), None)
    if model is None:
        return None
    fewer = config.num_experts < model.config.num_experts
    return f"{model.title}, {config.num_experts} of {model.config.num_experts} experts held" if fewer else model.title


def is_shape_alone(config: MoEConfig) -> bool:
    """Whether this is the published comparison's layer at a model's sizes, and not that model's."""
    return any(m.has_shape(config) and not m.is_held(config) for m in MODELS.values())


def lines() -> list[str]:
    """A line a model: its name, sizes and form."""
    width = max(map(len, MODELS))
    return [f"{name:{width}} {model.config.label.partition(' ')[2]}" for name, model in MODELS.items()]
