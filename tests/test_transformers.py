"""The peer transformers: every form that a model of it has, by each way to compute experts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import moe
from moe.check import check_layer
from moe.edges import FORMS, PLAIN, form_problems
from moe.implementations import NotAvailableError, create
from moe.parity import compare_output
from moe.problem import Problem
from moe.reference import reference

from . import tiny_models

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("default")  # they are that library's own
NO_MODELS = ("gelu", "geglu")  # with biases
EXPERTS = ("grouped_mm", "eager", "batched_mm")


@pytest.mark.parametrize("experts", EXPERTS)
@pytest.mark.parametrize("form", FORMS)
def test_every_form_whose_experts_a_model_has(form: str, experts: str) -> None:
    problem = form_problems(form)[PLAIN]
    name = f"transformers[experts={experts}]"
    if form in NO_MODELS:
        with pytest.raises(NotAvailableError, match="no model of it has such experts"):
            create(name, problem.weights, top_k=problem.top_k)
        return
    parity = check_layer(create(name, problem.weights, top_k=problem.top_k), problem)
    assert parity.passed, parity.reason


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "deepseek_v3", "gpt_oss", "llama4_text", "nemotron_h"])
def test_a_familys_own_block_is_the_one_that_is_built(family: str, precision: str, tmp_path: Path) -> None:
    """Of a checkpoint of the family: its class, and in float32 the same numbers as the library's own model gives."""
    block = tiny_models.make_block(family, tmp_path)
    found = moe.load_checkpoint(tmp_path, layer=tiny_models.LAYER)
    x, weights = tiny_models.input_of(13), found.weights
    if precision == "bfloat16":
        arrays = {name: moe.bfloat16.rounded(array) for name, array in weights.arrays().items()}
        weights = replace(weights, **arrays, form=replace(weights.form, precision=precision))
    layer = create("transformers", weights, top_k=found.top_k)
    assert type(layer.implementation.block) is type(block)
    assert compare_output(layer(x), reference(Problem(weights, x, found.top_k))).passed
    if precision == "float32":
        assert np.abs(layer(x) - tiny_models.outputs(block, x)).max() < 1e-5 * np.abs(layer(x)).max()


def test_what_it_can_not_do_is_said() -> None:
    problem = moe.make_problem(moe.MoEConfig(3, 6, 8, 4, 2, expert="swiglu"))
    with pytest.raises(NotAvailableError, match="grouped_mm takes rows of whole 16 bytes"):
        create("transformers", problem.weights, top_k=2)
    with pytest.raises(ValueError, match="experts must be one of grouped_mm, eager, batched_mm, got 'fast'"):
        create("transformers[experts=fast]", problem.weights, top_k=2)
    assert check_layer(create("transformers[experts=eager]", problem.weights, top_k=2), problem).passed


ROUTERS = {
    "mixtral": "bfloat16", "olmoe": "bfloat16", "olmoe renormalised": "bfloat16", "qwen2_moe": "bfloat16",
    "minimax_m2": "bfloat16", "gpt_oss": "bfloat16", "llama4_text": "bfloat16",
    "deepseek_v2": "float32", "deepseek_v2 in groups": "float32", "deepseek_v3": "float32",
    "ernie4_5_moe": "float32", "nemotron_h": "float32",
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ROUTERS)
def test_its_own_router_gives_what_the_familys_block_gives(family: str, precision: str, tmp_path: Path) -> None:
    block = tiny_models.make_block(family, tmp_path, dtype=precision)
    found = moe.load_checkpoint(tmp_path, layer=tiny_models.LAYER)
    x, weights = tiny_models.input_of(40), found.weights
    layer = create("transformers[router=own]", weights, top_k=found.top_k)
    assert weights.form.precision == precision
    assert layer.router_precision == (ROUTERS[family] if precision == "bfloat16" else "float32")
    assert layer.implementation.note.endswith("'s block and router")
    y, expected = layer(x), tiny_models.outputs(block, x)
    assert np.abs(y - expected).max() < (1e-5 if precision == "float32" else 2e-2) * np.abs(expected).max()
    assert compare_output(y, reference(Problem(weights, x, found.top_k)).for_router(layer.router_precision)).passed


def test_a_router_that_no_family_has_is_refused() -> None:
    problem = moe.make_problem(moe.MoEConfig(3, 16, 16, 4, 2, expert="swiglu", scale=2.0))
    with pytest.raises(NotAvailableError, match=r"a router of its own as expert=swiglu, scale=2"):
        create("transformers[router=own]", problem.weights, top_k=2)
    rough = moe.make_problem(moe.MoEConfig(3, 16, 16, 4, 2, expert="swiglu", precision="bfloat16"))
    weights = replace(rough.weights, gate=rough.weights.gate + np.float32(1e-3))
    with pytest.raises(NotAvailableError, match="its own router is bfloat16, and gate is float32"):
        create("transformers[router=own]", weights, top_k=2)
    with pytest.raises(ValueError, match="router must be one of layer, own, got 'mine'"):
        create("transformers[router=mine]", rough.weights, top_k=2)
