"""Tiny random models of every family that checkpoints are read of, made and saved by transformers itself.

`python -m tests.tiny_models` makes the two of tests/data again, with what their blocks give.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

LAYER = 1
DATA = Path(__file__).with_name("data")
_SIZES: dict[str, Any] = {
    "vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_WIDE = {"intermediate_size": 24}
_DENSE = {"intermediate_size": 40, "moe_intermediate_size": 24}
_LOCAL = {"num_local_experts": 8, "num_experts_per_tok": 3}
_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 3}
_ROUTED = {"n_routed_experts": 8, "num_experts_per_tok": 3}
_LATENT = {"kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
}
_GROUPS = {"n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "n_shared_experts": 2}
_MAMBA = {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 2, "chunk_size": 8}
# By what is tried: a model's type, and its configuration beside the sizes.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "mixtral": ("mixtral", _WIDE | _LOCAL),
    "minimax_m2": ("minimax_m2", _WIDE | _LOCAL),
    "olmoe": ("olmoe", _WIDE | _EXPERTS),
    "olmoe renormalised": ("olmoe", _WIDE | _EXPERTS | {"norm_topk_prob": True}),
    "qwen2_moe": ("qwen2_moe", _DENSE | _EXPERTS | {"shared_expert_intermediate_size": 20}),
    "qwen3_moe": ("qwen3_moe", _DENSE | _EXPERTS | {"norm_topk_prob": True, "mlp_only_layers": [0]}),
    "qwen3_next": ("qwen3_next", _DENSE | _EXPERTS | _LINEAR | {"shared_expert_intermediate_size": 20}),
    "deepseek_v2": ("deepseek_v2", _DENSE | _ROUTED | _LATENT | {"first_k_dense_replace": 1}),
    "deepseek_v2 in groups": (
        "deepseek_v2",
        _DENSE | _ROUTED | _LATENT | _GROUPS | {"topk_method": "group_limited_greedy", "routed_scaling_factor": 16.0},
    ),
    "deepseek_v3": ("deepseek_v3", _DENSE | _ROUTED | _LATENT | _GROUPS),
    "glm4_moe": ("glm4_moe", _DENSE | _ROUTED | {"first_k_dense_replace": 1, "routed_scaling_factor": 1.5}),
    "ernie4_5_moe": ("ernie4_5_moe", _DENSE | {"moe_num_experts": 8, "moe_k": 3}),
    "granitemoe": ("granitemoe", _WIDE | _LOCAL),
    "gpt_oss": ("gpt_oss", _WIDE | _LOCAL),
    "llama4_text": ("llama4_text", _WIDE | _LOCAL | {"intermediate_size_mlp": 40}),
    "lfm2_moe": (
        "lfm2_moe", _DENSE | _EXPERTS | {"num_dense_layers": 1, "layer_types": ["conv", "full_attention"]},
    ),
    "nemotron_h": (
        "nemotron_h",
        _DENSE | _ROUTED | _MAMBA | {
            "layers_block_type": ["mamba", "moe"], "moe_shared_expert_intermediate_size": 20,
            "routed_scaling_factor": 2.5,
        },
    ),
}  # fmt: skip


def make_block(family: str, folder: Path, *, shard: str = "1GB", dtype: str = "float32", seed: int = 0) -> Any:
    """Save a model of a family in a folder, and return its block of experts at LAYER.

    Weights have a deviation of 0.3, as large as makes every knob show, biases for the choice 0.1 and others 1.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, given = FAMILIES[family]
    config = AutoConfig.for_model(model_type, **_SIZES | given)
    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype)).eval()
    block = _block(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
            choice = "correction" in name or "expert_bias" in name
            tensor.normal_(std=0.1 if choice else 1.0 if "bias" in name else 0.3)
    model.save_pretrained(folder, max_shard_size=shard)
    return block


def _block(model: Any) -> Any:
    """The block of experts of a model's layer."""
    layer = model.model.layers[LAYER]
    found = (getattr(layer, name, None) for name in ("mlp", "block_sparse_moe", "feed_forward", "mixer"))
    return next(block for block in found if block is not None)


def input_of(tokens: int) -> Any:
    """x (T, d), large enough that clamps are reached, of numbers that bfloat16 can hold."""
    drawn = 3 * np.random.default_rng(1).standard_normal((tokens, _SIZES["hidden_size"]))
    return (drawn.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def outputs(block: Any, x: Any) -> Any:
    """What a block gives for x (T, d), as a NumPy array of the same kind."""
    import torch

    dtype = next(tensor.dtype for name, tensor in block.named_parameters() if "experts" in name)
    with torch.inference_mode():
        y = block(torch.from_numpy(x).to(dtype)[None])
    y = y[0] if isinstance(y, tuple) else y
    return y.reshape(x.shape).float().numpy()


def make_data() -> None:
    """Make the folders of tests/data again."""
    for family, dtype, shard in (("deepseek_v3", "float32", "1GB"), ("gpt_oss", "bfloat16", "20KB")):
        block = make_block(family, DATA / family, dtype=dtype, shard=shard)
        (DATA / family / "generation_config.json").unlink(missing_ok=True)
        x = input_of(13)
        np.savez(DATA / family / "outputs.npz", x=x, y=outputs(block.float(), x))


if __name__ == "__main__":
    make_data()
