"""Published models by name: what their config.json says, read as a checkpoint's is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import moe
from moe import checkpoint
from moe.cli import main
from moe.models import MODELS, title_of

_QWEN = {"hidden_act": "silu", "norm_topk_prob": False}
_GLM = {"hidden_act": "silu", "norm_topk_prob": True, "n_group": 1, "topk_group": 1, "n_shared_experts": 1}
_OSS = {"hidden_act": "silu", "hidden_size": 2880, "intermediate_size": 2880, "swiglu_limit": 7.0}
_DEEPSEEK = {"hidden_act": "silu", "n_shared_experts": 2, "norm_topk_prob": False, "scoring_func": "softmax"}
# Of the config.json of each, what says how its expert layers are: type, d_model, d_ff, experts, top k, and the rest.
PUBLISHED: dict[str, tuple[str, int, int, int, int, dict[str, Any]]] = {
    "mixtral-8x7b": ("mixtral", 4096, 14336, 8, 2, {"hidden_act": "silu"}),
    "olmoe-1b-7b": ("olmoe", 2048, 1024, 64, 8, _QWEN),
    "granite-3.0-1b-a400m": ("granitemoe", 1024, 512, 32, 8, {"hidden_act": "silu"}),
    "granite-3.1-3b-a800m": ("granitemoe", 1536, 512, 40, 8, {"hidden_act": "silu"}),
    "qwen1.5-moe-a2.7b": ("qwen2_moe", 2048, 1408, 60, 4, _QWEN | {"shared_expert_intermediate_size": 5632}),
    "qwen2-57b-a14b": ("qwen2_moe", 3584, 2560, 64, 8, _QWEN | {"shared_expert_intermediate_size": 20480}),
    "qwen3-30b-a3b": ("qwen3_moe", 2048, 768, 128, 8, _QWEN | {"norm_topk_prob": True}),
    "qwen3-235b-a22b": ("qwen3_moe", 4096, 1536, 128, 8, _QWEN | {"norm_topk_prob": True}),
    "qwen3-next-80b-a3b": (
        "qwen3_next", 2048, 512, 512, 10, _QWEN | {"norm_topk_prob": True, "shared_expert_intermediate_size": 512},
    ),
    "deepseek-v2-lite": (
        "deepseek_v2", 2048, 1408, 64, 6,
        _DEEPSEEK | {"topk_method": "greedy", "n_group": 1, "topk_group": 1, "routed_scaling_factor": 1.0},
    ),
    "deepseek-v2": (
        "deepseek_v2", 5120, 1536, 160, 6,
        _DEEPSEEK | {
            "topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3, "routed_scaling_factor": 16.0,
        },
    ),
    "deepseek-v3": (
        "deepseek_v3", 7168, 2048, 256, 8,
        _GLM | {
            "n_group": 8, "topk_group": 4, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
            "topk_method": "noaux_tc",
        },
    ),
    "glm-4.5-air": ("glm4_moe", 4096, 1408, 128, 8, _GLM | {"routed_scaling_factor": 1.0}),
    "glm-4.5": ("glm4_moe", 5120, 1536, 160, 8, _GLM | {"routed_scaling_factor": 2.5}),
    "ernie-4.5-21b-a3b": ("ernie4_5_moe", 2560, 1536, 64, 6, {"hidden_act": "silu", "moe_num_shared_experts": 2}),
    "minimax-m2": ("minimax_m2", 3072, 1536, 256, 8, {"hidden_act": "silu", "scoring_func": "sigmoid"}),
    "lfm2-8b-a1b": (
        "lfm2_moe", 2048, 1792, 32, 4,
        {"norm_topk_prob": True, "use_expert_bias": True, "routed_scaling_factor": 1.0},
    ),
    "gpt-oss-20b": ("gpt_oss", 2880, 2880, 32, 4, _OSS),
    "gpt-oss-120b": ("gpt_oss", 2880, 2880, 128, 4, _OSS),
    "llama-4-scout": ("llama4_text", 5120, 8192, 16, 1, {"hidden_act": "silu"}),
    "nemotron-3-nano-30b-a3b": (
        "nemotron_h", 2688, 1856, 128, 6,
        {
            "mlp_hidden_act": "relu2", "n_group": 1, "topk_group": 1, "norm_topk_prob": True,
            "routed_scaling_factor": 2.5, "moe_shared_expert_intermediate_size": 3712, "mlp_bias": False,
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_models_layer_is_what_its_config_says(name: str) -> None:
    model_type, d_model, d_ff, experts, top_k, rest = PUBLISHED[name]
    said = {"hidden_size": d_model, "num_experts": experts, "num_experts_per_tok": top_k, **rest}
    said |= {key: d_ff for key in ("intermediate_size", "moe_intermediate_size") if key not in said}
    family = checkpoint._family(said, model_type)
    sizes, config = checkpoint._sizes(said, family), MODELS[name].config
    assert config.form == checkpoint._form(said, family, sizes)
    assert (config.tokens, config.d_model, config.d_ff) == (1, sizes["d"], sizes["f"])
    assert (config.num_experts, config.top_k) == (sizes["E"], sizes["k"])
    names = {part for part in family.parts if checkpoint._is_there(part, said, family, sizes)}
    assert names == set(moe.weights.shapes_of(config))


def test_there_are_many_and_all_have_a_source() -> None:
    assert set(MODELS) - set(PUBLISHED) == {"switch-base-8"}
    assert len(MODELS) >= 16
    for model in MODELS.values():
        assert model.source.startswith("https://huggingface.co/")
        assert (
            title_of(model.config) == title_of(replace(model.config, tokens=7, precision="bfloat16")) == model.title
        )


def test_a_model_by_name_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    config = moe.config("qwen3-30b-a3b,tokens=16,precision=bfloat16")
    expected = {"expert": "swiglu", "precision": "bfloat16"}
    assert config == moe.MoEConfig(16, 2048, 768, 128, 8, **expected)
    with pytest.raises(ValueError, match="unknown preset or model 'qwen3-30b'; did you mean qwen3-30b-a3b"):
        moe.config("qwen3-30b")
    assert main(["list", "--models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(MODELS)
    (line,) = (line for line in lines if line.startswith("nemotron"))
    assert line.endswith(
        "d=2688 f=1856 E=128 k=6 expert=relu2 score=sigmoid scale=2.5 shared_d_ff=3712 select_bias=true"
    )


def test_other_layers_are_no_model() -> None:
    v3 = MODELS["deepseek-v3"].config
    assert title_of(v3) == "DeepSeek-V3"
    assert title_of(replace(v3, num_experts=64)) == "DeepSeek-V3, 64 of 256 experts held"
    for other in (replace(v3, scale=1.0), replace(v3, d_ff=2047), replace(v3, num_experts=512)):
        assert title_of(other) is None
    # What runs measured of models before layers had forms.
    assert title_of(moe.MoEConfig(16, 7168, 2048, 3, 2)) is None
    assert title_of(moe.MoEConfig(16, 7168, 2048, 9, 8)) == "DeepSeek-V3, 9 of 256 experts held"
