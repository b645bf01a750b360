from __future__ import annotations

import dataclasses
import itertools
import json

import pytest

import moe
from moe.config import ADDED, RANGES, field_names, parse_config
from moe.form import CHOICES
from moe.run import plain


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(RANGES, [-1, 1.5, "8", None, True]),
        *itertools.product(CHOICES, [-1, "8", None, True]),
        *itertools.product(("scale", "shared_d_ff", "groups", "groups_kept"), [-1, "8", None, True]),
        *itertools.product((*ADDED, "renormalise"), [-1, 0, "true", None]),
    ],
)
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
        ("sead", "unknown preset or model 'sead'; did you mean seed"),
        ("tokns=3", "unknown field 'tokns'; did you mean tokens"),
        ("tokens=x", "tokens must be a whole number, got 'x'"),
        ("tokens=-1", "tokens must be a whole number of at least 0"),
        ("top_k=9", "top_k must be at most num_experts"),
        ("tokens=3,smoke", "a name comes first"),
        ("expret=swiglu", "unknown field 'expret'; did you mean expert"),
        ("expert=swigloo", "expert must be one of relu, relu2, gelu, swiglu, geglu, swiglu-oai, got 'swigloo'"),
        ("precision=float16", "precision must be one of float32, bfloat16, got 'float16'"),
        ("renormalise=no", "renormalise must be true or false, got 'no'"),
        ("scale=x", "scale must be a number, got 'x'"),
        ("scale=nan", "scale must be a number greater than 0, at most 1000000, got nan"),
        ("scale=0", "scale must be a number greater than 0"),
        ("groups=2.0", "groups must be a whole number, got '2.0'"),
        ("groups=3", r"groups must divide num_experts \(4\), got 3"),
        ("groups=2,groups_kept=3", "groups_kept must be a whole number of at least 1, at most 2, got 3"),
        ("groups=2,top_k=3", "top_k must be at most the 2 experts of groups_kept=1, got 3"),
        ("shared_gate=true", "shared_gate must be false where shared_d_ff is 0"),
    ],
)
def test_parse_config_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_config(text)


def test_skew_is_a_percentage() -> None:
    assert parse_config("smoke,skew=70").label.endswith("skew=70 %")
    with pytest.raises(ValueError, match="skew must be a whole number of at least 0, at most 100, got 101"):
        moe.MoEConfig(skew=101)


FORMED = "smoke,tokens=3,expert=swiglu,score=sigmoid,scale=2.5,groups=2,shared_d_ff=7,select_bias=true,biases=true"


def test_a_form_comes_from_text_and_goes_back_to_it() -> None:
    config = parse_config(f"{FORMED},shared_gate=true,precision=bfloat16,renormalise=False")
    assert config.form == moe.Form(
        expert="swiglu", score="sigmoid", renormalise=False, scale=2.5, groups=2, shared_d_ff=7, precision="bfloat16"
    )
    assert (config.select_bias, config.biases, config.shared_gate) == (True, True, True)
    sizes, knobs = config.label.split(" expert=")
    assert sizes == "T=3 d=64 f=128 E=4 k=2"
    assert parse_config(",".join(["smoke,tokens=3", *f"expert={knobs}".split()])) == config


def test_the_module_is_the_function_too() -> None:
    assert moe.config("seed,tokens=16") == dataclasses.replace(moe.PRESETS["seed"], tokens=16)
    assert moe.config.parse_config is parse_config


def test_a_default_form_is_written_and_called_as_ever() -> None:
    config = moe.PRESETS["seed"]
    assert config.label == "T=1024 d=256 f=1024 E=4 k=2"
    assert list(config.to_dict()) == ["tokens", "d_model", "d_ff", "num_experts", "top_k", "seed", "skew"]
    assert moe.MoEConfig(**json.loads(json.dumps(config, default=plain))) == config


def test_a_form_is_written_and_read_back() -> None:
    config = parse_config(FORMED)
    written = json.loads(json.dumps(config, default=plain))
    assert set(written) - set(RANGES) == {
        *("expert", "score", "scale", "groups", "shared_d_ff", "select_bias", "biases")
    }
    assert moe.MoEConfig(**written) == config


def test_fields_have_sizes_first_and_knobs_are_given_by_name() -> None:
    assert sorted(field_names()) == sorted(f.name for f in dataclasses.fields(moe.MoEConfig))
    assert field_names()[:7] == list(RANGES)
    with pytest.raises(TypeError):
        moe.MoEConfig(4, 8, 8, 2, 1, 0, 0, "swiglu")  # type: ignore[misc]


def test_flops_and_bytes_count_every_matrix() -> None:
    config = parse_config("tokens=5,d_model=6,d_ff=7,num_experts=4,top_k=3,expert=swiglu,shared_d_ff=9")
    # By hand: gate 6·4, three experts of three 6·7, a shared one of three 6·9.
    assert config.flops == 5 * 2 * (6 * 4 + 3 * 3 * 6 * 7 + 3 * 6 * 9)
    assert config.bytes_for(2) == 4 * (2 * 5 * 6 + 6 * 4 + 3 * 6 * 9 + 2 * (3 * 6 * 7))
    half = dataclasses.replace(config, precision="bfloat16", biases=True, select_bias=True, shared_gate=True)
    # b1 and b3 of 7, b2 of 6; two biases of the router, and a column for the shared expert's gate.
    assert half.bytes_for(2) == 2 * (2 * 5 * 6 + 6 * 4 + 2 * 4 + 3 * 6 * 9 + 6 + 2 * (3 * 6 * 7 + 2 * 7 + 6))
    assert half.flops == config.flops + 5 * 2 * 6
    assert half.weights == 6 * 4 + 2 * 4 + 3 * 6 * 9 + 6 + 4 * (3 * 6 * 7 + 2 * 7 + 6)
