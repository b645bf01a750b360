"""The one comparison has to reject everything that is not the answer."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

import moe
from moe.edges import with_weight
from moe.parity import compare_output
from moe.problem import make_inputs
from moe.reference import Reference, reference

CONFIG = moe.MoEConfig(tokens=12, d_model=16, d_ff=32, num_experts=4, top_k=2)


@pytest.fixture
def ref() -> Reference:
    return reference(moe.make_problem(CONFIG))


def right(ref: Reference) -> np.ndarray:
    return ref.y.astype(np.float32)


def test_the_right_answer_passes(ref: Reference) -> None:
    parity = compare_output(right(ref), ref)
    assert parity.passed
    assert parity.max_rel_error < 1e-7
    assert parity.reason == ""


def one_value(y: np.ndarray, value: float) -> np.ndarray:
    y[5, 3] = value
    return y


WRONG: dict[str, Callable[[np.ndarray], object]] = {
    "NaN": lambda y: one_value(y, np.nan),
    "Inf": lambda y: one_value(y, np.inf),
    "all NaN": lambda y: np.full_like(y, np.nan),
    "zeros": lambda y: np.zeros_like(y),
    "one value off": lambda y: one_value(y, y[5, 3] + 2e-4),
    "float64": lambda y: y.astype(np.float64),
    "float16": lambda y: y.astype(np.float16),
    "truncated": lambda y: y[:-1],
    "one token for all": lambda y: y[:1],
    "transposed": lambda y: y.T,
    "flat": lambda y: y.ravel(),
    "last token missing": lambda y: np.concatenate([y[:-1], np.zeros_like(y[:1])]),
    "tokens in another order": lambda y: y[::-1],
    "a list": lambda y: y.tolist(),
    "None": lambda y: None,
    "stale": lambda y: reference(
        moe.Problem(moe.make_problem(CONFIG).weights, make_inputs(CONFIG, 2)[1], 2)
    ).y.astype("f4"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_every_wrong_answer_fails(kind: str, ref: Reference) -> None:
    parity = compare_output(WRONG[kind](right(ref)), ref)
    assert not parity.passed
    assert parity.reason
    assert parity.max_rel_error > parity.tolerance
    json.dumps(parity.to_dict(), allow_nan=False)


def test_a_row_that_must_be_nan_has_to_be(ref: Reference) -> None:
    x = ref.problem.x.copy()
    x[2, 0] = np.nan
    bad = reference(moe.Problem(ref.problem.weights, x, 2))
    assert compare_output(right(bad), bad).passed
    finite = right(bad)
    finite[2] = 0.0
    assert not compare_output(finite, bad).passed
    partly = right(bad)
    partly[2, 0] = 1.0
    assert not compare_output(partly, bad).passed


def test_nan_and_inf_of_weights_have_to_be_where_the_reference_has_them(ref: Reference) -> None:
    problem = with_weight(ref.problem, "w2", (1, 3, 5), np.nan)
    bad = reference(problem)
    rows = np.flatnonzero(np.isnan(bad.y[:, 5]))
    assert 0 < len(rows) < len(bad.y)
    assert np.isfinite(np.delete(bad.y, 5, axis=1)).all()
    assert compare_output(right(bad), bad).passed
    lost, spread = right(bad), right(bad)
    lost[rows[0], 5] = 0.0
    spread[rows[0], 6] = np.nan
    assert "lacks NaN or Inf" in compare_output(lost, bad).reason
    assert "is not finite, the reference is" in compare_output(spread, bad).reason
    infinite = reference(with_weight(ref.problem, "w1", (1, 3, 5), np.inf))
    assert np.isinf(infinite.y).any()
    assert compare_output(right(infinite), infinite).passed
    assert not compare_output(np.nan_to_num(right(infinite)), infinite).passed


def test_a_tie_between_an_expert_with_nan_and_one_without_may_go_either_way() -> None:
    tied = nearly_tied()
    taken = int(tied.experts[0, 1])
    bad = reference(with_weight(tied.problem, "w1", (taken, 0, 0), np.nan))
    assert np.isnan(bad.y[0]).all()
    other = right(bad)
    other[0] = bad.output_for(0, (0, 3 - taken))
    assert np.isfinite(other[0]).all()
    parity = compare_output(other, bad)
    assert (parity.passed, parity.rerouted_tokens) == (True, 1)


def test_where_the_reference_is_zero_only_zero_is_right(ref: Reference) -> None:
    zero = reference(moe.Problem(ref.problem.weights, np.zeros_like(ref.problem.x), 2))
    assert compare_output(np.zeros_like(ref.problem.x), zero).passed
    assert not compare_output(np.full_like(ref.problem.x, 1e-30), zero).passed


def nearly_tied() -> Reference:
    """Experts 1 and 2 have logits that float32 can't tell apart; 0 is far above, 3 far below."""
    problem = moe.make_problem(CONFIG)
    gate = problem.weights.gate.copy()
    gate[:, 2] = gate[:, 1]
    gate[0] = [9, 0, 0, -9]
    gate[1, 2] += np.float32(1e-9)
    x = problem.x.copy()
    x[:, 0] = 1.0
    return reference(moe.Problem(moe.Weights(gate, problem.weights.w1, problem.weights.w2), x, 2))


def test_either_choice_is_right_where_float32_cannot_tell() -> None:
    ref = nearly_tied()
    other = right(ref)
    other[0] = ref.output_for(0, (0, 3 - int(ref.experts[0, 1])))
    assert not np.allclose(other[0], ref.y[0])
    parity = compare_output(other, ref)
    assert parity.passed
    assert parity.rerouted_tokens == 1
    assert parity.tied_tokens >= 1


def test_a_tie_excuses_neither_other_experts_nor_arithmetic() -> None:
    ref = nearly_tied()
    elsewhere = right(ref)
    elsewhere[0] = ref.output_for(0, (0, 3))
    assert not compare_output(elsewhere, ref).passed
    rough = right(ref)
    rough[0] *= 1.001
    assert not compare_output(rough, ref).passed


def test_a_wrong_choice_fails_where_there_is_no_tie(ref: Reference) -> None:
    chosen = set(ref.experts[0].tolist())
    other = tuple(e for e in range(4) if e not in chosen)
    y = right(ref)
    y[0] = ref.output_for(0, other)
    assert not compare_output(y, ref).passed
