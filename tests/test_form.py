"""Forms: what their weights have to be, and that each knob of each counts."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

import moe
from moe import bfloat16
from moe.check import check_layer
from moe.config import ADDED
from moe.edges import FORMS, form_problems
from moe.parity import TOLERANCES, compare_output
from moe.problem import make_inputs, make_weights
from moe.reference import Reference, reference
from moe.weights import DIMENSIONS, shapes_of

SIZES: dict[str, Any] = {"tokens": 64, "d_model": 32, "d_ff": 48, "num_experts": 8, "top_k": 3}
EVERYTHING = moe.MoEConfig(
    **SIZES, expert="swiglu", shared_d_ff=24, shared_gate=True, select_bias=True, biases=True, groups=2
)


def config_of(form: str) -> moe.MoEConfig:
    return moe.MoEConfig(**SIZES, **FORMS[form])


@pytest.mark.parametrize("form", FORMS)
def test_problems_of_every_form_are_hard(form: str) -> None:
    ref = reference(moe.make_problem(config_of(form)))
    assert np.bincount(ref.experts.ravel(), minlength=8).min() > 0
    assert 0.3 < ref.y.std() < 3
    assert (np.abs(ref.y).max(axis=1) > 0.1).all()


@pytest.mark.parametrize("form", [f for f in FORMS if config_of(f).shared_d_ff])
def test_neither_the_shared_expert_nor_the_others_drown(form: str) -> None:
    problem = moe.make_problem(config_of(form))
    without = {name: None for name in DIMENSIONS if name.startswith("shared")}
    alone = replace(problem.weights, **without, form=replace(problem.weights.form, shared_d_ff=0))
    routed = reference(moe.Problem(alone, problem.x, problem.top_k)).y
    shared = reference(problem).y - routed
    assert 0.2 < shared.std() / routed.std() < 5


def neutral(problem: moe.Problem, knob: str) -> moe.Problem:
    """The problem with one knob as in the published layer, and the arrays that it then has no use for left out."""
    arrays: dict[str, Any] = dict(problem.weights.arrays())
    form = problem.weights.form
    if knob == "select_bias":
        arrays.pop("select_bias")
    elif knob == "biases":
        arrays = {name: array for name, array in arrays.items() if name not in ("gate_bias", "b1", "b2", "b3")}
    elif knob == "shared_gate":
        arrays.pop("shared_gate")
    elif knob == "groups":
        form = replace(form, groups=1, groups_kept=1)
    elif knob == "groups_kept":
        form = replace(form, groups_kept=form.groups)
    elif knob == "group_score":
        form = replace(form, group_score="top2")
    else:
        form = replace(form, **{knob: getattr(moe.Form(), knob)})
    if not form.gated:
        arrays = {name: array for name, array in arrays.items() if not name.endswith("3")}
    if not form.shared_d_ff:
        arrays = {name: array for name, array in arrays.items() if not name.startswith("shared")}
    return moe.Problem(moe.Weights(**arrays, form=form), problem.x, problem.top_k)


KNOBS = [(form, knob) for form in FORMS for knob in config_of(form).knobs if knob != "precision"]


@pytest.mark.parametrize(("form", "knob"), KNOBS)
def test_every_knob_of_every_form_counts(form: str, knob: str) -> None:
    """A layer with one knob as published shows an error that either tolerance is far below."""
    problem = moe.make_problem(config_of(form))
    ref = reference(problem)
    wrong = reference(neutral(problem, knob)).y.astype(np.float32)
    parity = compare_output(wrong, ref)
    assert not parity.passed
    assert parity.max_rel_error > 2.5 * TOLERANCES["bfloat16"].largest


def test_the_forms_together_turn_every_knob_and_every_value_of_it() -> None:
    turned = {name for form in FORMS for name in config_of(form).knobs}
    assert turned == {f.name for f in fields(moe.Form)} | set(ADDED)
    experts = {config_of(form).expert for form in FORMS}
    assert experts == {"relu", "relu2", "gelu", "swiglu", "geglu", "swiglu-oai"}


@pytest.mark.parametrize("form", [f for f in FORMS if config_of(f).expert == "swiglu-oai"])
def test_clamps_are_reached_at_both_ends(form: str) -> None:
    w, x = (lambda p: (p.weights, p.x))(form_problems(form)["large"])
    gate, up = (np.einsum("td,edf->tef", x, a) + b for a, b in ((w.w1, w.b1), (w.w3, w.b3)))
    for values, end in ((gate, 7), (up, 7), (-up, 7)):
        assert 0.02 < (values > end).mean() < 0.98


def test_streams_of_a_seed_belong_to_arrays_whatever_else_there_is() -> None:
    plain, formed = make_weights(moe.MoEConfig(**SIZES)), make_weights(EVERYTHING)
    np.testing.assert_array_equal(plain.gate, formed.gate)
    np.testing.assert_array_equal(plain.w1, formed.w1)
    assert list(formed.arrays()) == list(DIMENSIONS)
    assert len({array.tobytes() for array in formed.arrays().values()}) == len(DIMENSIONS)


def test_arrays_are_those_of_the_config_in_its_shapes() -> None:
    for config in (moe.MoEConfig(**SIZES), EVERYTHING, *map(config_of, FORMS)):
        weights = make_weights(config)
        assert {name: array.shape for name, array in weights.arrays().items()} == shapes_of(config)
        assert sum(array.size for array in weights.arrays().values()) == config.weights
        assert replace(moe.make_problem(config).config, seed=config.seed) == config


def test_bfloat16_rounds_weights_and_inputs_once() -> None:
    config = config_of("v3 in bfloat16")
    exact = moe.make_problem(replace(config, precision="float32"))
    held = moe.make_problem(config)
    for name, array in held.weights.arrays().items():
        np.testing.assert_array_equal(array, bfloat16.rounded(exact.weights.arrays()[name]))
        np.testing.assert_array_equal(held.weights.bits(name), bfloat16.words(array))
    for x, y in zip(make_inputs(config, 2), make_inputs(replace(config, precision="float32"), 2), strict=True):
        np.testing.assert_array_equal(x, bfloat16.rounded(y))
    with pytest.raises(ValueError, match="precision is float32"):
        exact.weights.bits("w1")


def changed(**arrays: Any) -> moe.Weights:
    weights = make_weights(EVERYTHING)
    return moe.Weights(**{"form": weights.form, **weights.arrays(), **arrays})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w3": None}, "expert swiglu is gated and needs w3, got None"),
        ({"form": moe.Form(shared_d_ff=24)}, r"w3 needs a gated expert \(.*\), and expert is relu"),
        ({"form": moe.Form(expert="swiglu")}, "shared_w1 needs a shared expert, and shared_d_ff is 0"),
        ({"shared_w2": None}, "shared_d_ff is 24 and needs shared_w2, got None"),
        ({"shared_w3": None}, "shared_d_ff is 24 and needs shared_w3, got None"),
        ({"form": moe.Form(expert="swiglu", shared_d_ff=23)}, r"shared_w1 must have shape \(32, 23\) to fit w1 and"),
        (
            {"form": moe.Form(expert="swiglu", shared_d_ff=24, groups=3)},
            r"groups must divide num_experts \(8\)",
        ),
        (
            {"form": moe.Form(expert="swiglu", shared_d_ff=24, precision="bfloat16")},
            "w1 has numbers that bfloat16 can't hold, and precision is bfloat16",
        ),
        ({"b1": np.zeros((8, 47), "f4")}, r"b1 must have shape \(8, 48\) to fit w1, got \(8, 47\)"),
        ({"select_bias": np.zeros((8, 1), "f4")}, "select_bias must have 1 dimension, none of them 0"),
        ({"shared_gate": np.zeros((24, 1), "f4")}, r"shared_gate must have shape \(32, 1\)"),
    ],
)
def test_weights_that_do_not_fit_their_form_are_refused(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        changed(**arrays)


def test_what_is_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match=r"form must be a moe\.Form, got str"):
        changed(form="swiglu")


def test_the_router_may_be_float32_where_experts_are_bfloat16() -> None:
    held = form_problems("v3 in bfloat16")["plain"].weights
    exact = form_problems("deepseek-v3")["plain"].weights
    mixed = replace(held, gate=exact.gate, select_bias=exact.select_bias)
    np.testing.assert_array_equal(mixed.bits("w1"), held.bits("w1"))
    for name in ("gate", "select_bias"):
        with pytest.raises(ValueError, match=f"{name} has numbers that bfloat16 can't hold: the router's is float32"):
            mixed.bits(name)
    problem = moe.Problem(mixed, form_problems("v3 in bfloat16")["plain"].x, 3)
    for name in ("python", "numpy", "torch-naive", "torch"):
        assert check_layer(moe.create(name, mixed, top_k=3), problem).passed


def test_biases_may_be_there_in_part() -> None:
    weights = changed(b1=None, b3=None)
    assert {"select_bias", "biases", "shared_gate"} <= weights.knobs.keys()
    assert not weights.has_published_experts


def test_an_input_that_bfloat16_cannot_hold_is_refused() -> None:
    problem = form_problems("bfloat16")["plain"]
    x = problem.x.copy()
    x[3, 5] = np.float32(1.001)
    with pytest.raises(ValueError, match="x has numbers that bfloat16 can't hold"):
        moe.Problem(problem.weights, x, 3)
    with pytest.raises(ValueError, match="x has numbers that bfloat16 can't hold"):
        moe.create("numpy", problem.weights, top_k=3)(x)


def test_top_k_has_to_fit_the_kept_groups() -> None:
    problem = form_problems("deepseek-v3")["plain"]
    with pytest.raises(ValueError, match="top_k must be at most the 4 experts of groups_kept=2, got 5"):
        moe.Problem(problem.weights, problem.x, 5)
    with pytest.raises(ValueError, match="top_k must be at most the 4 experts of groups_kept=2, got 5"):
        moe.create("numpy", problem.weights, top_k=5)


def in_bfloat16() -> Reference:
    return reference(moe.make_problem(config_of("bfloat16")))


def test_bfloat16_has_a_tolerance_of_its_own() -> None:
    ref = in_bfloat16()
    rough = (ref.y * (1 + 0.007 * np.sign(np.sin(np.arange(ref.y.size)).reshape(ref.y.shape)))).astype("f4")
    assert compare_output(rough, ref).passed
    one = ref.y.astype("f4")
    one[5, 3] += np.float32(0.03 * np.abs(ref.y).max())
    assert "of the largest value, 2e-02 allowed" in compare_output(one, ref).reason


def test_bfloat16_fails_where_every_value_is_a_little_off() -> None:
    ref = in_bfloat16()
    parity = compare_output((1.015 * ref.y).astype("f4"), ref)
    assert not parity.passed
    assert parity.max_rel_error < parity.tolerance
    assert parity.reason == "root mean square of errors of 1.50e-02 of that of values, 1e-02 allowed"
