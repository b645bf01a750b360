"""Inputs of their own for every forward, and weights that everybody maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import moe
from moe.bfloat16 import rounded
from moe.edges import FORMS
from moe.measure.inputs import KNOWN, Inputs, how_many
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


def test_no_input_comes_twice() -> None:
    inputs = Inputs(CONFIG.with_tokens(1), 7)
    assert len({inputs[number].tobytes() for number in range(20_000)}) == 20_000


def test_no_row_comes_twice_soon() -> None:
    inputs = Inputs(CONFIG, 7)
    rows = [row.tobytes() for number in range(CONFIG.d_model) for row in inputs[number]]
    assert len(set(rows)) == len(rows)


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
