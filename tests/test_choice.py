"""Which experts float32 may choose: never what it can't, and never more than it might."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

import moe
from moe.choice import Choice
from moe.edges import FORMS, form_problems
from moe.parity import compare_output
from moe.reference import Reference, reference

ROUTERS: dict[str, dict[str, Any]] = {
    "softmax": {},
    "sigmoid": {"score": "sigmoid"},
    "softmax, biased": {"select_bias": True, "biases": True},
    "sigmoid, biased": {"score": "sigmoid", "select_bias": True, "biases": True},
    "groups by their best": {"groups": 4, "groups_kept": 2, "group_score": "max"},
    "groups by their two best": {"groups": 4, "groups_kept": 2, "select_bias": True, "score": "sigmoid"},
    "one group": {"groups": 4, "groups_kept": 1, "score": "sigmoid"},
}


def close_calls(router: str) -> moe.Problem:
    """Many experts whose gates are almost alike, in pairs and fours, for many tokens."""
    config = moe.MoEConfig(2000, 24, 4, 16, 3, **ROUTERS[router])
    problem = moe.make_problem(config)
    gate = problem.weights.gate.copy()
    gate[:, 1::2] = gate[:, 0::2] * np.float32(1 + 2**-23)
    gate[:, 8:] = gate[:, :8]
    gate[3, 8:] += np.float32(1e-7)
    biases = (name for name in ("select_bias", "gate_bias") if name in problem.weights.arrays())
    alike = {name: np.tile(problem.weights.arrays()[name][:2].repeat(2), 4) for name in biases}
    return moe.Problem(replace(problem.weights, gate=gate, **alike), problem.x, 3)


def sets_of(choice: Choice, k: int) -> set[frozenset[int]]:
    return {frozenset((*choice.certain, *others)) for others in combinations(choice.open, k - len(choice.certain))}


def chosen_in_float32(problem: moe.Problem, order: np.ndarray) -> np.ndarray:
    """The experts (T, k) of a router in float32 that sums the products of each logit in an order of its own."""
    w, form = problem.weights, problem.weights.form
    logits = np.zeros((len(problem.x), w.num_experts), np.float32)
    for i in order:
        logits += problem.x[:, i : i + 1] * w.gate[i]
    if w.gate_bias is not None:
        logits += w.gate_bias
    one = np.float32(1)
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = one / (one + np.exp(-logits)) if form.score == "sigmoid" else scores / scores.sum(axis=1, keepdims=True)
    choice = scores if w.select_bias is None else scores + w.select_bias
    assert choice.dtype == np.float32
    if form.groups > 1:
        grouped = np.sort(choice.reshape(len(choice), form.groups, -1), axis=2)
        rank = grouped[:, :, -1] if form.group_score == "max" else grouped[:, :, -1] + grouped[:, :, -2]
        best = np.argsort(-rank, axis=1, kind="stable")[:, : form.groups_kept]
        member = np.arange(w.num_experts) // (w.num_experts // form.groups)
        choice = np.where((member == best[:, :, None]).any(axis=1), choice, -np.inf)
    return np.argsort(-choice, axis=1, kind="stable")[:, : problem.top_k]


@pytest.mark.parametrize("router", ROUTERS)
def test_what_float32_chooses_is_admissible(router: str) -> None:
    problem = close_calls(router)
    ref = reference(problem)
    others = 0
    for seed in range(3):
        found = chosen_in_float32(problem, np.random.default_rng(seed).permutation(24))
        for token, experts in enumerate(found.tolist()):
            if set(experts) != set(ref.experts[token].tolist()):
                others += 1
                possible = (sets_of(choice, 3) for choice in ref.contested[token])
                assert frozenset(experts) in set().union(*possible), (token, experts)
    assert others > 20  # else nothing was put to the test


@pytest.mark.parametrize("form", [form for form in FORMS if form != "bfloat16"])
def test_hardly_any_token_is_open_where_weights_are_drawn(form: str) -> None:
    config = moe.MoEConfig(3000, 32, 4, 16, 4, **FORMS[form])
    ref = reference(moe.make_problem(config))
    assert len(ref.contested) < 30


TIES = [(form, edge) for form in FORMS for edge in form_problems(form) if edge.startswith("equal")]


@pytest.mark.parametrize(("form", "edge"), TIES)
def test_a_tie_goes_to_the_lower_number_and_nothing_else_will_do(form: str, edge: str) -> None:
    ref = reference(form_problems(form)[edge])
    expected = [0, 1, 2] if edge == "equal scores" else [0, 1, 4]
    assert np.sort(ref.experts, axis=1).tolist() == [expected] * 9
    assert not ref.contested
    other = ref.y.astype(np.float32)
    other[4] = ref.output_for(4, (*expected[:2], 7))
    assert not compare_output(other, ref).passed


def nearly_tied_groups() -> Reference:
    """Groups 1 and 2 of four, of two experts each, are alike but for less than float32 can tell; one is kept."""
    config = moe.MoEConfig(6, 16, 8, 8, 2, score="sigmoid", groups=4)
    problem = moe.make_problem(config)
    gate = problem.weights.gate.copy()
    gate[0] = [-9, -9, 9, 8, 9, 8, -9, -9]
    gate[1:, 4:6] = gate[1:, 2:4]
    gate[1, 5] += np.float32(1e-9)
    x = problem.x.copy()
    x[:, 0] = 0.1
    return reference(moe.Problem(replace(problem.weights, gate=gate), x, 2))


def test_either_group_is_right_where_float32_cannot_tell_but_not_one_expert_of_each() -> None:
    ref = nearly_tied_groups()
    assert set(ref.contested) == set(range(6))
    taken = set(ref.experts[0].tolist())
    assert taken in ({2, 3}, {4, 5})
    y = ref.y.astype(np.float32)
    y[0] = ref.output_for(0, tuple({2, 3, 4, 5} - taken))
    parity = compare_output(y, ref)
    assert (parity.passed, parity.rerouted_tokens) == (True, 1)
    y[0] = ref.output_for(0, (2, 5))
    assert not compare_output(y, ref).passed


def test_scores_that_a_sigmoid_can_not_tell_apart_may_go_either_way() -> None:
    problem = moe.make_problem(moe.MoEConfig(3, 16, 8, 4, 1, score="sigmoid"))
    gate = np.zeros_like(problem.weights.gate)
    gate[0] = [1, 18, 20, 2]
    x = problem.x.copy()
    x[:, 0] = 1
    ref = reference(moe.Problem(replace(problem.weights, gate=gate), x, 1))
    assert ref.experts.tolist() == [[2]] * 3
    assert ref.contested[0] == (Choice((), (1, 2)),)
