"""The layer in plain float64: the oracle for every implementation, never timed.

x (T, d) → probabilities = softmax(x·gate) over E experts → the k largest, divided by their sum →
y[t] = Σ weight · relu(x[t]·w1[e])·w2[e] over the token's k experts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moe.problem import Problem

Float64Array = NDArray[np.float64]
IndexArray = NDArray[np.intp]


NUMBERS_AT_ONCE = 2**23  # of the widest array: tokens are taken so many at a time


@dataclass(frozen=True)
class Reference:
    """What the layer gives for one problem.

    y (T, d) is float64; experts (T, k) are in order of falling probability. For each token that could go either way
    in float32, `contested` has the experts that it may as well take as leave.
    """

    problem: Problem
    experts: IndexArray
    y: Float64Array
    contested: Mapping[int, tuple[int, ...]]

    @np.errstate(invalid="ignore")
    def output_for(self, token: int, experts: tuple[int, ...]) -> Float64Array:
        """The output (d,) of one token if it had been sent to `experts`."""
        x = self.problem.x[token : token + 1].astype(np.float64)
        logits = x @ self.problem.weights.gate.astype(np.float64)
        y: Float64Array = _combine(self.problem, x, logits, np.array([experts]))[0]
        return y

    def part(self, start: int, stop: int) -> Reference:
        """The reference for some of the tokens."""
        problem = Problem(self.problem.weights, self.problem.x[start:stop], self.problem.top_k)
        contested = {token - start: found for token, found in self.contested.items() if start <= token < stop}
        return Reference(problem, self.experts[start:stop], self.y[start:stop], contested)


@np.errstate(invalid="ignore")  # of weights with NaN or Inf: nothing to warn about
def reference(problem: Problem) -> Reference:
    """Compute the layer for `problem` in float64.

    A token with NaN or Inf has a NaN output row by definition: its logits are made NaN here. Weights with NaN or Inf
    give what arithmetic says, and the softmax is over all experts: a token with one logit that is NaN has a NaN row.
    What has a number for each token and expert is made for some tokens at a time.
    """
    weights, tokens = problem.weights, len(problem.x)
    at_once = max(1, NUMBERS_AT_ONCE // max(weights.num_experts, weights.d_ff, weights.d_model))
    gate = weights.gate.astype(np.float64)
    chosen = np.empty((tokens, problem.top_k), np.intp)
    y = np.empty((tokens, weights.d_model))
    contested: dict[int, tuple[int, ...]] = {}
    for start in range(0, tokens, at_once):
        rows = slice(start, start + at_once)
        x = problem.x[rows].astype(np.float64)
        finite = np.isfinite(x).all(axis=1, keepdims=True)
        safe = np.where(finite, x, 0.0)
        logits = safe @ gate
        error = np.where(np.isfinite(logits), _float32_logit_error(safe, gate), 0.0)
        logits = np.where(finite & ~np.isnan(logits).any(axis=1, keepdims=True), logits, np.nan)
        # Stable sort: a tie goes to the lower expert number.
        experts = np.argsort(-logits, axis=1, kind="stable")[:, : problem.top_k]
        chosen[rows] = experts
        y[rows] = np.where(finite, _combine(problem, safe, np.where(finite, logits, 0.0), experts), np.nan)
        open_ = _contested(logits, error, problem.top_k)
        found = np.flatnonzero(open_.any(axis=1))
        contested |= {start + int(t): tuple(np.flatnonzero(open_[t]).tolist()) for t in found}
    return Reference(problem, chosen, y, contested)


@np.errstate(invalid="ignore")
def _contested(logits: Float64Array, logit_error: Float64Array, k: int) -> NDArray[np.bool_]:
    """Mark (T, E) the experts that float32 may as well take as leave.

    An expert is certain if fewer than k others can reach its logit, excluded if k others surely exceed it.
    Beside a logit's own rounding, a few roundings of its softmax are allowed for. An exact tie (bound 0)
    is not contested: it goes to the lower number.
    """
    spread = np.abs(logits.max(axis=1, keepdims=True) - logits)
    margin = logit_error + np.where(logit_error > 0, 2.0**-22 * (1 + spread), 0.0)
    low, high = logits - margin, logits + margin
    if k == high.shape[1]:
        return np.zeros(high.shape, dtype=bool)
    # k others can exceed an expert where the (k + 1)-th highest end reaches its low one: its own is among them.
    reachable = low <= np.partition(high, -k - 1, axis=1)[:, -k - 1, None]
    not_exceeded = high >= np.partition(low, -k, axis=1)[:, -k, None]
    loose = (margin > 0) & reachable & not_exceeded
    return np.asarray(loose & (loose.sum(axis=1, keepdims=True) > 1))


@np.errstate(invalid="ignore")
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
