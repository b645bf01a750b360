"""Shapes of real models' expert layers, from their published configurations.

Most have gated experts, three matrices where this project's layer has two (Switch-Base-8 has two as well). d_model,
d_ff, num_experts and top_k are as published, shared experts are left out; what is measured is this project's layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from moe.config import FLOAT32_BYTES, MoEConfig


@dataclass(frozen=True)
class Model:
    """A published model's expert layer, and the file that says so."""

    title: str
    config: MoEConfig
    source: str


def _model(title: str, source: str, d_model: int, d_ff: int, num_experts: int, top_k: int) -> Model:
    url = f"https://huggingface.co/{source}/blob/main/config.json"
    return Model(title, MoEConfig(1, d_model, d_ff, num_experts, top_k), url)


MODELS = {
    "mixtral-8x7b": _model("Mixtral 8×7B", "mistralai/Mixtral-8x7B-v0.1", 4096, 14336, 8, 2),
    "olmoe-1b-7b": _model("OLMoE 1B-7B", "allenai/OLMoE-1B-7B-0924", 2048, 1024, 64, 8),
    "deepseek-v2-lite": _model("DeepSeek-V2-Lite", "deepseek-ai/DeepSeek-V2-Lite", 2048, 1408, 64, 6),
    "qwen3-30b-a3b": _model("Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B", 2048, 768, 128, 8),
    "switch-base-8": _model("Switch-Base-8", "google/switch-base-8", 768, 3072, 8, 1),
    "gpt-oss-20b": _model("GPT-OSS-20B", "openai/gpt-oss-20b", 2880, 2880, 32, 4),
}


def held(config: MoEConfig, memory_bytes: float) -> MoEConfig:
    """The layer with as many of its experts as `memory_bytes` hold once, never fewer than a token takes."""
    one = config.expert_weights * FLOAT32_BYTES
    return replace(config, num_experts=max(config.top_k, min(config.num_experts, int(memory_bytes // one))))


def title_of(config: MoEConfig) -> str | None:
    """The model whose shape this is, with how many of its experts are held where that is not all of them."""
    for model in MODELS.values():
        c = model.config
        same = (c.d_model, c.d_ff, c.top_k) == (config.d_model, config.d_ff, config.top_k)
        if same and config.num_experts <= c.num_experts:
            fewer = config.num_experts < c.num_experts
            return f"{model.title}, {config.num_experts} of {c.num_experts} experts held" if fewer else model.title
    return None
