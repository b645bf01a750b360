"""The oracle itself, against scalar arithmetic with exact sums."""

from __future__ import annotations

import tracemalloc
from math import exp, fsum

import numpy as np
import pytest

import moe
from moe.edges import edge_problems
from moe.reference import reference


def by_hand(problem: moe.Problem, token: int) -> list[float]:
    """One token's output, by the definition: softmax over all experts, the k largest, divided by their sum."""
    x = problem.x[token].astype(float).tolist()
    w = problem.weights
    experts, d, f = w.w1.shape
    logits = [fsum(x[i] * float(w.gate[i, e]) for i in range(d)) for e in range(experts)]
    total = fsum(exp(z - max(logits)) for z in logits)
    probabilities = [exp(z - max(logits)) / total for z in logits]
    chosen = sorted(range(experts), key=lambda e: (-logits[e], e))[: problem.top_k]
    kept = fsum(probabilities[e] for e in chosen)
    y = [0.0] * d
    for e in chosen:
        hidden = [max(fsum(x[i] * float(w.w1[e, i, j]) for i in range(d)), 0.0) for j in range(f)]
        for i in range(d):
            y[i] += probabilities[e] / kept * fsum(hidden[j] * float(w.w2[e, j, i]) for j in range(f))
    return y


@pytest.mark.parametrize("edge", edge_problems())
def test_reference_is_the_definition(edge: str) -> None:
    problem = edge_problems()[edge]
    y = reference(problem).y
    assert y.shape == problem.x.shape
    for token in range(len(problem.x)):
        if np.isfinite(problem.x[token]).all():
            np.testing.assert_allclose(y[token], by_hand(problem, token), rtol=1e-12, atol=1e-12)
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
    assert some.contested
