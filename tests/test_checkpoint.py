"""Layers from checkpoints: each family as transformers saves it, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import moe
from moe import bfloat16, processor
from moe.families import FAMILIES
from moe.implementations import create
from moe.parity import compare_output
from moe.problem import Problem
from moe.reference import reference

from . import tiny_models
from .checkpoints import CONFIG, EXPERTS, D, F, Tensors, mixtral, write_folder
from .conftest import require

DATA = Path(__file__).with_name("data")
COMPUTING = ("python", "numpy", "torch-naive", "torch", "mojo")  # of the package's own, those that compute every form
BLOCK = "model.layers.1.block_sparse_moe"


def require_same(found: moe.Checkpoint, x: np.ndarray, y: np.ndarray) -> None:
    """The layer computes in float32 what its own library's block gives, and so does every implementation here."""
    exact = replace(found.weights, form=replace(found.weights.form, precision="float32"))
    expected = reference(Problem(exact, x, found.top_k))
    parity = compare_output(y, expected)
    assert parity.passed, parity.reason
    assert parity.tolerance == 1e-5
    assert np.abs(y).max() > 0.5
    for name in COMPUTING:
        parity = compare_output(create(require(name), exact, top_k=found.top_k)(x), expected)
        assert parity.passed, f"{name}: {parity.reason}"


@pytest.mark.filterwarnings("default")  # they are that library's own
@pytest.mark.parametrize(("dtype", "shard"), [("float32", "1GB"), ("bfloat16", "8KB")])
@pytest.mark.parametrize("family", tiny_models.FAMILIES)
def test_the_layer_of_what_transformers_saves(family: str, dtype: str, shard: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    block = tiny_models.make_block(family, tmp_path, dtype=dtype, shard=shard)
    found = moe.load_checkpoint(tmp_path, layer=tiny_models.LAYER)
    x = tiny_models.input_of(13)
    require_same(found, x, tiny_models.outputs(block.float(), x))
    assert found.model_type == tiny_models.FAMILIES[family][0]
    assert (found.weights.d_model, found.weights.d_ff, found.weights.num_experts) == (16, 24, 8)
    assert found.weights.form.precision == dtype
    sharded = len(list(tmp_path.glob("*.safetensors"))) > 1
    assert sharded == (shard == "8KB")


def test_every_family_is_tried() -> None:
    assert {model_type for model_type, _ in tiny_models.FAMILIES.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", ["deepseek_v3", "gpt_oss"])
def test_the_layer_of_a_saved_model(name: str) -> None:
    """Two folders as transformers 5.24.0 saved them, with what its block gave; tests/tiny_models.py makes them.

    One is float32 in one file, with groups, a bias for the choice and a shared expert; the other bfloat16 in shards,
    with interleaved halves, biases and clamps that are reached.
    """
    found = moe.load_checkpoint(DATA / name, layer=tiny_models.LAYER)
    with np.load(DATA / name / "outputs.npz") as saved:
        require_same(found, saved["x"], saved["y"])
    assert (found.model_type, found.folder, found.layer, found.top_k) == (name, name, 1, 3)
    assert found.weights.form.precision == {"deepseek_v3": "float32", "gpt_oss": "bfloat16"}[name]
    config = found.config(tokens=5)
    assert (config.tokens, config.d_model, config.d_ff, config.num_experts, config.top_k) == (5, 16, 24, 8, 3)
    assert config.form == found.weights.form
    assert (config.biases, config.select_bias) == ((True, False) if name == "gpt_oss" else (False, True))


def load(folder: Path, tensors: Tensors, shards: int = 1, layer: int = 1, **config: Any) -> moe.Checkpoint:
    write_folder(folder, tensors, {**CONFIG, **config}, shards)
    return moe.load_checkpoint(folder, layer=layer)


@pytest.mark.parametrize("shards", [1, 3])
def test_every_number_is_where_it_belongs(shards: int, tmp_path: Path) -> None:
    tensors = mixtral()
    found = load(tmp_path / "model", tensors, shards)
    for expert in range(EXPERTS):
        own = f"{BLOCK}.experts.{expert}"
        for name in ("w1", "w2", "w3"):
            assert np.array_equal(getattr(found.weights, name)[expert], tensors[f"{own}.{name}.weight"].T)
    assert np.array_equal(found.weights.gate, tensors[f"{BLOCK}.gate.weight"].T)
    assert found.origin == {**found.origin, "folder": "model", "layer": 1, "model_type": "mixtral"}
    assert repr(found) == "Checkpoint(top_k=2, model_type='mixtral', folder='model', layer=1)"
    assert found.config() == moe.MoEConfig(16, D, F, EXPERTS, 2, expert="swiglu")


@pytest.mark.parametrize(("dtype", "precision"), [("float16", "float32"), ("uint16", "bfloat16")])
def test_halves_are_read_exactly(dtype: str, precision: str, tmp_path: Path) -> None:
    whole = {name: bfloat16.rounded(array) for name, array in mixtral().items()}
    halves = {n: bfloat16.words(a) if dtype == "uint16" else a.astype(dtype) for n, a in whole.items()}
    found = load(tmp_path, halves)
    assert found.weights.form.precision == precision
    assert np.array_equal(found.weights.w1[2], whole[f"{BLOCK}.experts.2.w1.weight"].T)
    # The router may be float32, as many models have it; one of the experts' tensors, and the layer is one of float32.
    halves[f"{BLOCK}.gate.weight"] = mixtral()[f"{BLOCK}.gate.weight"]
    found = load(tmp_path, halves)
    assert found.weights.form.precision == precision
    assert np.array_equal(found.weights.gate, mixtral()[f"{BLOCK}.gate.weight"].T)
    halves[f"{BLOCK}.experts.1.w1.weight"] = mixtral()[f"{BLOCK}.experts.1.w1.weight"]
    assert load(tmp_path, halves).weights.form.precision == "float32"


def test_other_weights_have_another_digest(tmp_path: Path) -> None:
    first, again = load(tmp_path, mixtral()), load(tmp_path, mixtral(), shards=2)
    assert first.origin == again.origin
    (tmp_path / "model.safetensors").unlink()
    assert moe.load_checkpoint(tmp_path, layer=1).origin == first.origin
    assert load(tmp_path, mixtral(seed=1)).origin["sha256"] != first.origin["sha256"]


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: array for key, array in tensors.items() if key != f"{BLOCK}.{name}"}


def changed(name: str, array: Any) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {**tensors, f"{BLOCK}.{name}": array}


EIGHT = np.zeros((F, D), np.uint8)
WRONG: dict[str, tuple[Callable[[Tensors], Tensors], dict[str, Any], str]] = {
    "lacks a tensor": (without("experts.1.w3.weight"), {}, f"lacks {BLOCK}.experts.1.w3.weight"),
    "more experts": (dict, {"num_local_experts": 4}, "experts.3.w1.weight|gate.weight has shape"),
    "another shape": (changed("experts.1.w2.weight", np.ones((F, D), np.float32)), {}, r"expected \(4, 6\) by"),
    "another width": (dict, {"hidden_size": 8}, r"has shape \(3, 4\), expected \(3, 8\) by config.json"),
    "float8": (changed("experts.0.w1.weight", EIGHT), {}, "experts.0.w1.weight is F8_E4M3, only F32, F16, BF16"),
    "quantised": (
        without("experts.0.w1.weight"),
        {"quantization_config": {"quant_method": "gptq"}},
        r"lacks .*experts.0.w1.weight \(its weights are quantised: gptq\)",
    ),
    "no family": (dict, {"model_type": "mixtrel"}, "unknown model_type 'mixtrel'; did you mean mixtral"),
    "no type": (dict, {"model_type": None}, "unknown model_type 'None'"),
    "Switch": (dict, {"model_type": "switch_transformers"}, "switch_transformers can't be computed: it leaves out"),
    "a latent size": (
        dict, {"model_type": "nemotron_h", "moe_latent_size": 64}, "nemotron_h with moe_latent_size=64 is not",
    ),
    "another router": (
        dict, {"model_type": "deepseek_v3", "scoring_func": "softmax"}, "deepseek_v3 with scoring_func='softmax'",
    ),
    "another clamp": (dict, {"model_type": "gpt_oss", "swiglu_limit": 9.0}, "gpt_oss with swiglu_limit=9.0 is not"),
    "no activation": (dict, {"hidden_act": "tanh"}, "hidden_act must be one of silu, swish, gelu, got 'tanh'"),
    "no size": (dict, {"hidden_size": None}, "hidden_size must be a whole number"),
    "no width": (dict, {"intermediate_size": "6"}, "intermediate_size must be a whole number"),
    "too many": (dict, {"num_experts_per_tok": 4}, "num_experts_per_tok or moe_k must be a whole number"),
    "groups": (
        dict,
        {"model_type": "deepseek_v2", "moe_intermediate_size": 6, "topk_method": "group_limited_greedy"},
        "groups must be a whole number",
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_in_one_line(wrong: str, tmp_path: Path) -> None:
    change, config, said = WRONG[wrong]
    with pytest.raises(ValueError, match=said) as error:
        load(tmp_path, change(mixtral()), **config)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_layer_that_is_not_there_or_has_no_experts(tmp_path: Path) -> None:
    more = {name.replace("layers.1.", f"layers.{n}."): a for n in (1, 2, 3) for name, a in mixtral().items()}
    for layer, said in {
        7: "has no layer 7; layers: 0 to 3, with experts: 1 to 3",
        0: r"layer 0 has no experts \(no block_sparse_moe.gate.weight\); with experts: 1 to 3",
    }.items():
        with pytest.raises(ValueError, match=said):
            load(tmp_path, more, layer=layer)
    for wrong in (-1, 1.0, "1", True):
        with pytest.raises(ValueError, match="layer must be a whole number"):
            moe.load_checkpoint(tmp_path, layer=wrong)  # type: ignore[arg-type]
    del more["model.layers.2.block_sparse_moe.gate.weight"]
    with pytest.raises(ValueError, match="with experts: 1, 3"):
        load(tmp_path, more, layer=2)
    with pytest.raises(ValueError, match="has no layer 1; layers: none, with experts: none"):
        load(tmp_path, {"lm_head.weight": np.ones(1, np.float32)})


def test_mxfp4_is_said_by_name(tmp_path: Path) -> None:
    own = "model.layers.1.mlp"
    router = {
        f"{own}.router.weight": np.ones((EXPERTS, D), np.float32),
        f"{own}.router.bias": np.ones(EXPERTS, np.float32),
    }
    blocks = {f"{own}.experts.gate_up_proj_blocks": np.zeros((EXPERTS, 2 * F, 1, 16), np.uint8)}
    with pytest.raises(ValueError, match=r"gate_up_proj is MXFP4 \(.*gate_up_proj_blocks\)"):
        load(tmp_path, router | blocks, model_type="gpt_oss")


def test_names_of_a_model_of_several_parts(tmp_path: Path) -> None:
    """Llama 4 beside its vision: names and sizes of the language model lie deeper."""
    random = np.random.default_rng(1)
    own = "language_model.model.layers.1.feed_forward"
    shapes = {
        "router.weight": (EXPERTS, D), "experts.gate_up_proj": (EXPERTS, D, 2 * F),
        "experts.down_proj": (EXPERTS, F, D), "shared_expert.gate_proj.weight": (F, D),
        "shared_expert.up_proj.weight": (F, D), "shared_expert.down_proj.weight": (D, F),
    }  # fmt: skip
    tensors = {f"{own}.{name}": random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    inner = {**CONFIG, "model_type": "llama4_text"}
    write_folder(tmp_path, tensors, {"model_type": "llama4", "text_config": inner, "hidden_size": 99})
    found = moe.load_checkpoint(tmp_path, layer=1)
    assert found.model_type == "llama4_text"
    assert np.array_equal(found.weights.w1, tensors[f"{own}.experts.gate_up_proj"][:, :, :F])
    assert np.array_equal(found.weights.w3, tensors[f"{own}.experts.gate_up_proj"][:, :, F:])
    assert np.array_equal(found.weights.shared_w1, tensors[f"{own}.shared_expert.gate_proj.weight"].T)
    assert (found.weights.form.weight_on, found.weights.form.shared_d_ff) == ("input", F)


def test_a_layer_that_memory_has_no_room_for_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "usable_memory", lambda: 1000.0)
    with pytest.raises(MemoryError, match=r"layer 1 of .* in float32 takes about .* GiB"):
        load(tmp_path, mixtral())


def test_no_folder_and_no_config(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config.json: no such file"):
        moe.load_checkpoint(tmp_path / "nowhere", layer=0)
    for text in ("[1]", "{", '{"a": 1, "a": 2}', "\ufeff{}"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config.json: "):
            moe.load_checkpoint(tmp_path, layer=0)
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(200_000_000)  # which takes no room
    with pytest.raises(ValueError, match=r"config.json: has 200000000 bytes"):
        moe.load_checkpoint(tmp_path, layer=0)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 8), st.integers(), st.floats(), st.text(max_size=3),
    st.lists(st.integers(), max_size=2), st.just({"quant_method": "fp8"}), st.sampled_from([*FAMILIES, "silu"]),
)  # fmt: skip
KEYS = [
    *CONFIG, "n_group", "topk_group", "topk_method", "norm_topk_prob", "routed_scaling_factor", "n_shared_experts",
    "moe_intermediate_size", "moe_k", "num_experts", "scoring_func", "text_config", "quantization_config",
    "use_expert_bias", "shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "mlp_hidden_act",
]  # fmt: skip


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(config=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_any_config_gives_the_right_layer_or_one_line(config: dict[str, Any], tmp_path: Path) -> None:
    tensors, said = mixtral(), ""
    write_folder(tmp_path, tensors, {**CONFIG, **config})
    try:
        found = moe.load_checkpoint(tmp_path, layer=1)
        assert np.array_equal(found.weights.w1[0], tensors[f"{BLOCK}.experts.0.w1.weight"].T)
    except ValueError as error:
        said = str(error)
    assert "\n" not in said
    if not config:
        assert not said


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), file=st.integers(0, 2), data=st.booleans())
def test_any_byte_of_any_shard_may_be_wrong(place: int, value: int, file: int, data: bool, tmp_path: Path) -> None:
    """A changed number is one, in its place; anything else that has changed is the layer as it was, or one line."""
    tensors, said = mixtral(), ""
    write_folder(tmp_path, tensors, shards=3)
    path = sorted(tmp_path.glob("*.safetensors"))[file]
    whole = bytearray(path.read_bytes())
    begin = 8 + int.from_bytes(whole[:8], "little")
    whole[begin + place % (len(whole) - begin) if data else place % begin] = value
    path.write_bytes(whole)
    try:
        found = moe.load_checkpoint(tmp_path, layer=1)
        same = [
            np.array_equal(getattr(found.weights, name)[expert], tensors[f"{BLOCK}.experts.{expert}.{name}.weight"].T)
            for expert in range(EXPERTS) for name in ("w1", "w2", "w3")
        ]  # fmt: skip
        assert sum(same) >= len(same) - (1 if data else 2)  # a name's letter may have made two change places
    except ValueError as error:
        said = str(error)
    assert "\n" not in said
    assert not (said and data)
