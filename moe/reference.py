"""The layer in plain float64: the oracle for every implementation, never timed.

x (T, d) → probabilities = softmax(x·gate) over E experts → the k largest, divided by their sum →
y[t] = Σ weight · relu(x[t]·w1[e])·w2[e] over the token's k experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moe.problem import Problem

Float64Array = NDArray[np.float64]
IndexArray = NDArray[np.intp]


@dataclass(frozen=True)
class Reference:
    """What the layer gives for one problem.

    logits (T, E) and y (T, d) are float64; experts (T, k) are in order of falling probability;
    logit_error (T, E) bounds how far a float32 logit can be from the true one.
    """

    problem: Problem
    logits: Float64Array
    logit_error: Float64Array
    experts: IndexArray
    y: Float64Array

    def output_for(self, token: int, experts: tuple[int, ...]) -> Float64Array:
        """The output (d,) of one token if it had been sent to `experts`."""
        chosen = np.array([experts])
        rows = np.array([token])
        x = self.problem.x[rows].astype(np.float64)
        y: Float64Array = _combine(self.problem, x, self.logits[rows], chosen)[0]
        return y


def reference(problem: Problem) -> Reference:
    """Compute the layer for `problem` in float64.

    A token with NaN or Inf has a NaN output row by definition: its logits are made NaN here.
    """
    x = problem.x.astype(np.float64)
    gate = problem.weights.gate.astype(np.float64)
    finite = np.isfinite(x).all(axis=1, keepdims=True)  # (T, 1)
    safe = np.where(finite, x, 0.0)
    logits = np.where(finite, safe @ gate, np.nan)
    # Stable sort: a tie goes to the lower expert number.
    experts = np.argsort(-logits, axis=1, kind="stable")[:, : problem.top_k]
    y = np.where(finite, _combine(problem, safe, np.where(finite, logits, 0.0), experts), np.nan)
    return Reference(problem, logits, _float32_logit_error(safe, gate), experts, y)


def _combine(problem: Problem, x: Float64Array, logits: Float64Array, experts: IndexArray) -> Float64Array:
    """Weighted sum (T, d) of the outputs of `experts` (T, k)."""
    chosen = np.take_along_axis(logits, experts, axis=1)  # (T, k)
    # Dividing the k probabilities by their sum cancels the other experts out of the softmax.
    weights = np.exp(chosen - chosen.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    y = np.zeros_like(x)
    for expert in range(problem.weights.num_experts):
        tokens, slots = np.nonzero(experts == expert)
        if len(tokens) == 0:
            continue
        w1 = problem.weights.w1[expert].astype(np.float64)
        w2 = problem.weights.w2[expert].astype(np.float64)
        hidden = np.maximum(x[tokens] @ w1, 0.0)  # (n, f)
        y[tokens] += weights[tokens, slots][:, None] * (hidden @ w2)
    return y


def _float32_logit_error(x: Float64Array, gate: Float64Array) -> Float64Array:
    """Bound (T, E) on the error of a float32 logit, whatever the order of its sum.

    |fl(x·g) − x·g| ≤ n·u·|x|·|g| with u = 2⁻²⁴ (Higham, Accuracy and Stability of Numerical Algorithms, §3.1).
    """
    bound: Float64Array = x.shape[1] * 2.0**-24 * (np.abs(x) @ np.abs(gate))
    return bound
