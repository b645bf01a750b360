from __future__ import annotations

import hashlib

import numpy as np
import pytest

import moe
from moe.problem import check_input, make_inputs, make_weights
from moe.reference import reference


def digest(problem: moe.Problem) -> str:
    arrays = (problem.x, problem.weights.gate, problem.weights.w1, problem.weights.w2)
    return hashlib.sha256(b"".join(a.astype("<f4").tobytes() for a in arrays)).hexdigest()


def test_problem_is_the_same_on_every_machine() -> None:
    assert digest(moe.make_problem(moe.PRESETS["smoke"]))[:16] == "0a1bac145a3b52ef"


def test_seed_changes_everything() -> None:
    one, two = (moe.make_problem(moe.MoEConfig(4, 8, 8, 2, 1, seed=s)) for s in (0, 1))
    assert not np.array_equal(one.x, two.x)
    assert not np.array_equal(one.weights.w1, two.weights.w1)


def test_fewer_tokens_are_the_beginning_of_more() -> None:
    config = moe.MoEConfig(tokens=9, d_model=5, d_ff=3, num_experts=2, top_k=1)
    all_nine, first_four = moe.make_problem(config), moe.make_problem(config.with_tokens(4))
    np.testing.assert_array_equal(first_four.x, all_nine.x[:4])
    np.testing.assert_array_equal(first_four.weights.w2, all_nine.weights.w2)


def test_inputs_differ_and_begin_with_the_problems_own() -> None:
    config = moe.PRESETS["smoke"]
    inputs = make_inputs(config, 3)
    np.testing.assert_array_equal(inputs[0], moe.make_problem(config).x)
    assert not np.array_equal(inputs[0], inputs[1])
    assert not np.array_equal(inputs[1], inputs[2])


@pytest.mark.parametrize("preset", ["smoke", "small", "seed", "medium"])
def test_problems_are_hard(preset: str) -> None:
    """An output near zero or an expert without tokens would hide mistakes."""
    ref = reference(moe.make_problem(moe.PRESETS[preset]))
    counts = np.bincount(ref.experts.ravel(), minlength=moe.PRESETS[preset].num_experts)
    assert counts.min() > 0
    assert 0.3 < ref.y.std() < 3
    assert (np.abs(ref.y).max(axis=1) > 0.1).all()


def weights(**changed: object) -> moe.Weights:
    arrays = {"gate": np.zeros((8, 2), "f4"), "w1": np.zeros((2, 8, 6), "f4"), "w2": np.zeros((2, 6, 8), "f4")}
    return moe.Weights(**(arrays | changed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"gate": np.zeros((8, 2))}, TypeError, "gate must be a float32 NumPy array, got float64"),
        ({"w1": [[1.0]]}, TypeError, "w1 must be a float32 NumPy array, got list"),
        ({"w2": np.zeros((2, 6), "f4")}, ValueError, "w2 must have 3 dimensions"),
        ({"gate": np.zeros((8, 3), "f4")}, ValueError, r"gate must have shape \(8, 2\)"),
        ({"w2": np.zeros((2, 8, 6), "f4")}, ValueError, r"w2 must have shape \(2, 6, 8\)"),
        ({"w1": np.zeros((2, 8, 0), "f4")}, ValueError, "none of them 0"),
    ],
)
def test_weights_are_checked(changed: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        weights(**changed)


def test_weights_in_another_order_of_memory_are_copied_straight() -> None:
    transposed = np.zeros((2, 6, 8), "f4").transpose(0, 2, 1)
    assert weights(w1=transposed).w1.flags.c_contiguous


@pytest.mark.parametrize(
    ("x", "error"),
    [(np.zeros((3, 8)), TypeError), (np.zeros((3, 7), "f4"), ValueError), (np.zeros(8, "f4"), ValueError)],
)
def test_input_is_checked(x: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error, match="x must"):
        check_input(x, 8)


def test_bytes_moved_count_each_used_expert_once() -> None:
    problem = moe.make_problem(moe.MoEConfig(tokens=6, d_model=8, d_ff=16, num_experts=4, top_k=1))
    experts = np.array([[0], [0], [2], [2], [0], [0]])
    assert problem.bytes_moved(experts) == 4 * (2 * 6 * 8 + 8 * 4 + 2 * (2 * 8 * 16))


@pytest.mark.parametrize("skew", [20, 70, 100])
def test_skew_sends_that_share_of_tokens_to_expert_0(skew: int) -> None:
    config = moe.MoEConfig(tokens=3000, d_model=16, d_ff=4, num_experts=6, top_k=2, skew=skew)
    for x in make_inputs(config, 2):
        experts = reference(moe.Problem(make_weights(config), x, config.top_k)).experts
        assert (experts == 0).any(axis=1).mean() == pytest.approx(skew / 100, abs=0.03)
        # The others share what is left.
        counts = np.bincount(experts[experts > 0], minlength=6)[1:]
        assert counts.min() > 0.5 * counts.mean()


def test_skewed_inputs_with_fewer_tokens_are_the_beginning_too() -> None:
    config = moe.MoEConfig(tokens=40, d_model=8, skew=50)
    np.testing.assert_array_equal(make_inputs(config, 1)[0][:7], make_inputs(config.with_tokens(7), 1)[0])
