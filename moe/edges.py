"""The edges of the layer's definition, as small problems that every implementation has to get right."""

from __future__ import annotations

import dataclasses

import numpy as np

from moe.config import MoEConfig
from moe.problem import Float32Array, Problem, make_problem


def edge_problems() -> dict[str, Problem]:
    """Every edge by name, the same on every machine."""
    plain = make_problem(MoEConfig(tokens=9, d_model=16, d_ff=32, num_experts=4, top_k=2))
    return {
        "no tokens": make_problem(MoEConfig(tokens=0, d_model=16, d_ff=32, num_experts=4, top_k=2)),
        "one token": make_problem(MoEConfig(tokens=1, d_model=16, d_ff=32, num_experts=4, top_k=2)),
        "all sizes 1": make_problem(MoEConfig(tokens=1, d_model=1, d_ff=1, num_experts=1, top_k=1)),
        "one expert": make_problem(MoEConfig(tokens=9, d_model=16, d_ff=32, num_experts=1, top_k=1)),
        "every expert": make_problem(MoEConfig(tokens=9, d_model=16, d_ff=32, num_experts=4, top_k=4)),
        # 5 and 3 are below the width of every vector unit, 37, 53 and 101 multiples of none.
        "odd sizes": make_problem(MoEConfig(tokens=37, d_model=53, d_ff=101, num_experts=5, top_k=3)),
        "narrow": make_problem(MoEConfig(tokens=13, d_model=3, d_ff=5, num_experts=7, top_k=2)),
        "many experts": make_problem(MoEConfig(tokens=5, d_model=8, d_ff=8, num_experts=70, top_k=9)),
        "idle expert": _with_logits(plain, [3.0, -30.0, 2.0, 1.0]),
        "all on one expert": dataclasses.replace(_with_logits(plain, [0.0, 0.0, 9.0, 0.0]), top_k=1),
        "equal logits": _with_logits(plain, [0.0, 0.0, 0.0, 0.0]),
        "two equal logits": _with_logits(plain, [1.0, 2.0, 0.0, 1.0]),
        "logits of 1e4": _with_logits(plain, [1e4, -1e4, 9999.0, -9999.0]),
        "NaN in a token": _with_value(plain, np.nan),
        "Inf in a token": _with_value(plain, np.inf),
        "-Inf in a token": _with_value(plain, -np.inf),
        "NaN in the gate": with_weight(plain, "gate", (7, 2), np.nan),
        "NaN in w1": with_weight(plain, "w1", (2, 7, 13), np.nan),
        "NaN in w2": with_weight(plain, "w2", (2, 13, 7), np.nan),
    }


def _with_logits(problem: Problem, logits: list[float]) -> Problem:
    """The problem with the same logits for every token, exact in float32: x[:, 0] is 1 and selects them."""
    x = problem.x.copy()
    x[:, 0] = 1.0
    gate = np.zeros_like(problem.weights.gate)
    gate[0] = logits
    return Problem(dataclasses.replace(problem.weights, gate=gate), x, problem.top_k)


def with_weight(problem: Problem, name: str, place: tuple[int, ...], value: float) -> Problem:
    """The problem with `value` at one place of one of its weights."""
    array = problem.weights.arrays()[name].copy()
    array[place] = value
    return Problem(dataclasses.replace(problem.weights, **{name: array}), problem.x, problem.top_k)


def _with_value(problem: Problem, value: float) -> Problem:
    """The problem with `value` in the first, a middle and the last token, and the others as they were."""
    x: Float32Array = problem.x.copy()
    x[0, 0] = x[4, 7] = x[8, -1] = value
    return Problem(problem.weights, x, problem.top_k)
