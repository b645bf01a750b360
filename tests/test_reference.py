"""The oracle itself, against scalar arithmetic with exact sums."""

from __future__ import annotations

import tracemalloc
from math import erf, exp, fsum, sqrt
from typing import Any

import numpy as np
import pytest

import moe
from moe.edges import FORMS, edge_problems, form_problems
from moe.reference import reference


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z)) if z > 0 else exp(z) / (1 + exp(z))


def hidden_by_hand(kind: str, g: float, u: float) -> float:
    gelu = g * 0.5 * (1 + erf(g / sqrt(2)))
    clamped = min(g, 7.0)
    return {
        "relu": max(g, 0.0),
        "relu2": max(g, 0.0) ** 2,
        "gelu": gelu,
        "swiglu": g * sigmoid(g) * u,
        "geglu": gelu * u,
        "swiglu-oai": clamped * sigmoid(1.702 * clamped) * (max(-7.0, min(u, 7.0)) + 1),
    }[kind]


def expert_by_hand(kind: str, x: list[float], w1: Any, w2: Any, w3: Any, b1: Any, b2: Any, b3: Any) -> list[float]:
    """One expert's output; its arrays are of one expert."""
    d, f = w1.shape

    def product(values: list[float], w: Any, bias: Any, j: int) -> float:
        return fsum([v * float(w[i, j]) for i, v in enumerate(values)] + ([] if bias is None else [float(bias[j])]))

    g = [product(x, w1, b1, j) for j in range(f)]
    u = g if w3 is None else [product(x, w3, b3, j) for j in range(f)]
    hidden = [hidden_by_hand(kind, g[j], u[j]) for j in range(f)]
    return [product(hidden, w2, b2, i) for i in range(d)]


def chosen_by_hand(w: moe.Weights, scores: list[float], logits: list[float], k: int) -> list[int]:
    bias = [0.0] * len(scores) if w.select_bias is None else w.select_bias.astype(float).tolist()
    ranked = [s + b for s, b in zip(scores, bias, strict=True)]
    size = len(scores) // w.form.groups
    groups = [range(g * size, (g + 1) * size) for g in range(w.form.groups)]
    best = 2 if w.form.group_score == "top2" else 1
    rank = [fsum(sorted((ranked[e] for e in group), reverse=True)[:best]) for group in groups]
    kept = sorted(range(len(groups)), key=lambda g: (-rank[g], g))[: w.form.groups_kept]
    # By logits too, where scores are too small or too near to 1 to tell apart.
    return sorted((e for g in kept for e in groups[g]), key=lambda e: (-ranked[e], -logits[e], e))[:k]


def by_hand(problem: moe.Problem, token: int) -> list[float]:
    """One token's output by the definition, a number at a time, with exact sums."""
    x = problem.x[token].astype(float).tolist()
    w, form = problem.weights, problem.weights.form
    experts, d, _ = w.w1.shape
    logits = [fsum(x[i] * float(w.gate[i, e]) for i in range(d)) for e in range(experts)]
    if w.gate_bias is not None:
        logits = [z + float(b) for z, b in zip(logits, w.gate_bias, strict=True)]
    total = fsum(exp(z - max(logits)) for z in logits)
    softmax = [exp(z - max(logits)) / total for z in logits]
    scores = softmax if form.score == "softmax" else [sigmoid(z) for z in logits]
    chosen = chosen_by_hand(w, scores, logits, problem.top_k)
    kept = fsum(scores[e] for e in chosen) if form.renormalise else 1.0
    y = [0.0] * d
    for e in chosen:
        share = scores[e] / kept * form.scale
        before, after = (share, 1.0) if form.weight_on == "input" else (1.0, share)
        own = [None if a is None else a[e] for a in (w.w1, w.w2, w.w3, w.b1, w.b2, w.b3)]
        out = expert_by_hand(form.expert, [before * v for v in x], *own)
        y = [a + after * b for a, b in zip(y, out, strict=True)]
    if form.shared_d_ff:
        out = expert_by_hand(form.expert, x, w.shared_w1, w.shared_w2, w.shared_w3, None, None, None)
        gate = 1.0 if w.shared_gate is None else sigmoid(fsum(x[i] * float(w.shared_gate[i, 0]) for i in range(d)))
        y = [a + gate * b for a, b in zip(y, out, strict=True)]
    return y


@pytest.mark.parametrize("edge", edge_problems())
def test_reference_is_the_definition(edge: str) -> None:
    check_by_hand(edge_problems()[edge])


@pytest.mark.parametrize("form", FORMS)
def test_reference_is_the_definition_of_every_form(form: str) -> None:
    for edge, problem in form_problems(form).items():
        if edge not in ("NaN in the gate", "NaN in select_bias"):
            check_by_hand(problem)
        else:
            assert np.isnan(reference(problem).y).all()


def check_by_hand(problem: moe.Problem) -> None:
    y = reference(problem).y
    assert y.shape == problem.x.shape
    for token in range(len(problem.x)):
        if np.isfinite(problem.x[token]).all():
            expected = by_hand(problem, token)
            largest = max(map(abs, expected))
            np.testing.assert_allclose(y[token], expected, rtol=1e-12, atol=1e-12 * max(1.0, largest))
        else:
            assert np.isnan(y[token]).all()


def test_a_tie_goes_to_the_lower_number() -> None:
    assert reference(edge_problems()["equal logits"]).experts.tolist() == [[0, 1]] * 9
    assert reference(edge_problems()["two equal logits"]).experts.tolist() == [[1, 0]] * 9


def test_a_bad_token_changes_no_other() -> None:
    bad = edge_problems()["NaN in a token"]
    good = moe.Problem(bad.weights, np.nan_to_num(bad.x), bad.top_k)
    others = [1, 2, 3, 5, 6, 7]
    np.testing.assert_array_equal(reference(bad).y[others], reference(good).y[others])


def test_tokens_some_at_a_time_give_the_same_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    config = moe.MoEConfig(tokens=2000, d_model=8, d_ff=8, num_experts=256, top_k=2)
    problem = moe.make_problem(config)
    x = problem.x.copy()
    x[1500, 2] = np.nan
    problem = moe.Problem(problem.weights, x, 2)
    whole = reference(problem)
    monkeypatch.setattr("moe.reference.NUMBERS_AT_ONCE", 2**14)
    tracemalloc.start()
    some = reference(problem)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * config.tokens * config.num_experts
    assert np.array_equal(some.experts, whole.experts)
    assert np.allclose(some.y, whole.y, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert some.contested == whole.contested
    part = some.part(600, 1600)
    assert np.array_equal(part.experts, whole.experts[600:1600])
    assert part.contested == {t - 600: found for t, found in whole.contested.items() if 600 <= t < 1600}
    assert np.array_equal(part.problem.x, x[600:1600], equal_nan=True)
    back = some.reversed()
    of_reversed = reference(moe.Problem(problem.weights, x[::-1], 2))
    assert np.array_equal(back.experts, of_reversed.experts)
    assert np.allclose(back.y, of_reversed.y, rtol=1e-12, atol=1e-12, equal_nan=True)
    assert back.contested == of_reversed.contested
    assert np.array_equal(back.problem.x, of_reversed.problem.x, equal_nan=True)
    assert some.contested
