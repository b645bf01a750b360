from __future__ import annotations

import dataclasses

import pytest

import moe
from moe.config import parse_config


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(moe.MoEConfig)])
@pytest.mark.parametrize("value", [-1, 1.5, "8", None, True])
def test_bad_values_name_the_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        moe.MoEConfig(**{field: value})


def test_top_k_is_at_most_num_experts() -> None:
    with pytest.raises(ValueError, match=r"top_k must be at most num_experts \(4\), got 5"):
        moe.MoEConfig(num_experts=4, top_k=5)


def test_config_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        moe.MoEConfig().tokens = 3  # type: ignore[misc]


def test_flops_of_the_seed_preset() -> None:
    # By hand: 1024 tokens; gate 2·256·4; each of 2 experts two products of 2·256·1024.
    assert moe.PRESETS["seed"].flops == 1024 * (2048 + 2 * 2 * 524288)


def test_expected_bytes_lie_between_one_expert_and_all() -> None:
    config = moe.MoEConfig(tokens=1, d_model=8, d_ff=16, num_experts=4, top_k=2)
    assert config.expected_active_experts == pytest.approx(2)
    assert config.expected_bytes == pytest.approx(4 * (2 * 8 + 8 * 4 + 2 * 2 * 8 * 16))
    assert config.with_tokens(10_000).expected_active_experts == pytest.approx(4)


def test_presets_are_those_of_the_design() -> None:
    sizes = {n: (c.tokens, c.d_model, c.d_ff, c.num_experts, c.top_k) for n, c in moe.PRESETS.items()}
    assert sizes == {
        "smoke": (64, 64, 128, 4, 2),
        "small": (64, 64, 128, 64, 8),
        "seed": (1024, 256, 1024, 4, 2),
        "medium": (512, 1024, 2048, 8, 2),
        "large": (4096, 1024, 4096, 8, 2),
    }


def test_parse_config() -> None:
    assert parse_config("small") == moe.PRESETS["small"]
    assert parse_config("tokens=3") == moe.PRESETS["seed"].with_tokens(3)
    assert parse_config("smoke, tokens=3, top_k=1") == dataclasses.replace(moe.PRESETS["smoke"], tokens=3, top_k=1)


def test_sizes_are_checked_together() -> None:
    assert parse_config("top_k=8,num_experts=16").top_k == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sead", "unknown preset 'sead'; did you mean seed"),
        ("tokns=3", "unknown size 'tokns'; did you mean tokens"),
        ("tokens=x", "tokens must be a whole number, got 'x'"),
        ("tokens=-1", "tokens must be a whole number of at least 0"),
        ("top_k=9", "top_k must be at most num_experts"),
        ("tokens=3,smoke", "a preset comes first"),
    ],
)
def test_parse_config_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_config(text)


def test_skew_is_a_percentage() -> None:
    assert parse_config("smoke,skew=70").label.endswith("skew=70 %")
    with pytest.raises(ValueError, match="skew must be a whole number of at least 0, at most 100, got 101"):
        moe.MoEConfig(skew=101)
