"""Inputs of their own for every forward, and weights that everybody maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import moe
from moe.bfloat16 import rounded
from moe.edges import FORMS
from moe.measure.inputs import KNOWN, MOST_FORWARDS, Inputs, how_many
from moe.measure.mapped import MappedWeights, write_weights
from moe.measure.protocol import Protocol
from moe.problem import make_weights
from moe.reference import reference

CONFIG = moe.MoEConfig(tokens=16, d_model=64, d_ff=32, num_experts=4, top_k=2)


@pytest.mark.parametrize(
    ("each_s", "most_s", "forwards"),
    [
        pytest.param(0.002, 0.3, 10, id="as many as a turn's time has room for"),
        pytest.param(0.05, 0.3, 5, id="but five"),
        pytest.param(0.14, 0.3, 2, id="or what the longest turn has room for"),
        pytest.param(5.0, 0.3, 1, id="but one"),
        pytest.param(5.0, None, 5, id="and five where no turn is too long"),
    ],
)
def test_a_turn_times_as_many_forwards_as_there_is_time_for(
    each_s: float, most_s: float | None, forwards: int
) -> None:
    assert how_many(Protocol(turn_s=0.02, turn_most_s=most_s), CONFIG, each_s, each_s) == forwards


@pytest.mark.parametrize("tokens", [1, 16])
def test_no_input_of_a_turn_has_a_row_of_another(tokens: int) -> None:
    inputs = Inputs(CONFIG.with_tokens(tokens), 7)
    rows = [row.tobytes() for number in range(MOST_FORWARDS) for row in inputs[number]]
    assert len(set(rows)) == len(rows)


def test_inputs_say_nothing_of_the_next_ones() -> None:
    """Wherever two overlap, signs differ: no 32 numbers in a row come twice."""
    inputs = Inputs(CONFIG, 7)
    seen = [window.tobytes() for number in range(100) for window in sliding_window_view(inputs[number].ravel(), 32)]
    assert len(set(seen)) == len(seen)


def test_features_of_an_input_are_of_either_sign() -> None:
    """Each feature of the numbers that all inputs are taken from is turned in half of them."""
    inputs = Inputs(CONFIG, 7)
    numbers = np.abs(np.concatenate([inputs[number] for number in range(200)])).max(axis=0)
    assert (numbers > 1.7).all()  # all of the range, √3, is reached
    mean = np.mean([inputs[number][0] for number in range(MOST_FORWARDS)], axis=0)
    assert np.abs(mean).max() < 5 / MOST_FORWARDS**0.5


@pytest.mark.parametrize("d_model", [1, 16, 63, 64, 65, 200])
def test_inputs_are_of_any_width(d_model: int) -> None:
    x = Inputs(replace(CONFIG, d_model=d_model), 7, 1)[0]
    assert (x.shape, x.dtype) == ((16, d_model), np.float32)
    assert np.abs(x).min() > 0


def test_a_secret_and_a_number_give_the_same_input_everywhere_and_another_secret_another() -> None:
    assert np.array_equal(Inputs(CONFIG, 7)[3], Inputs(CONFIG, 7)[3])
    assert not np.array_equal(Inputs(CONFIG, 7)[3], Inputs(CONFIG, 8)[3])
    x = Inputs(CONFIG, 7)[0]
    x[:] = 0  # a copy: nobody's next input
    assert Inputs(CONFIG, 7)[0].any()


def test_inputs_are_as_skewed_as_the_problem() -> None:
    skewed = moe.MoEConfig(tokens=2000, d_model=8, d_ff=8, num_experts=4, top_k=1, skew=75)
    problem = moe.Problem(make_weights(skewed), Inputs(skewed, KNOWN)[5], 1)
    hot = float(np.mean(reference(problem).experts == 0))
    assert abs(hot - 0.75) < 0.05


def test_mapped_weights_are_the_weights_and_who_writes_is_found_out(tmp_path: Path) -> None:
    weights = make_weights(CONFIG)
    write_weights(weights, tmp_path / "w")
    one, other = (MappedWeights(tmp_path / "w", CONFIG) for _ in range(2))
    mine, theirs = one.take(), other.take()
    for name in ("gate", "w1", "w2"):
        assert np.array_equal(getattr(mine, name), getattr(weights, name))
    assert not one.changed
    mine.w2[0, 0, 0] += 1
    assert one.changed
    assert not other.changed
    assert np.array_equal(theirs.w2, weights.w2)


@pytest.mark.parametrize("form", FORMS)
def test_mapped_weights_of_every_form_are_the_weights(form: str, tmp_path: Path) -> None:
    config = replace(CONFIG, num_experts=8, **FORMS[form])
    weights = make_weights(config)
    write_weights(weights, tmp_path / "w")
    mapped = MappedWeights(tmp_path / "w", config)
    taken = mapped.take()
    assert taken.form == config.form
    assert list(taken.arrays()) == list(weights.arrays())
    for name, array in weights.arrays().items():
        assert np.array_equal(taken.arrays()[name], array)
    assert not mapped.changed
    list(taken.arrays().values())[-1].flat[-1] += 1
    assert mapped.changed


def test_inputs_of_bfloat16_are_the_same_numbers_rounded() -> None:
    for skew in (0, 50):
        exact, held = (Inputs(replace(CONFIG, skew=skew, precision=p), 7)[3] for p in ("float32", "bfloat16"))
        assert np.array_equal(held, rounded(exact))
        assert not np.array_equal(held, exact)


def test_weights_that_nobody_holds_can_not_have_changed(tmp_path: Path) -> None:
    write_weights(make_weights(CONFIG), tmp_path / "w")
    mapped = MappedWeights(tmp_path / "w", CONFIG)
    mapped.take().w2[:] = 0
    assert not mapped.changed
