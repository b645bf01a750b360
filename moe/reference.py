"""The layer in plain float64, on its weights as they are held: the oracle for every implementation, never timed.

x (T, d) → scores (T, E) = softmax or sigmoid of x·gate + gate_bias → the k experts of the largest scores +
select_bias, in the best groups → their scores, divided by their sum where the form renormalises, times its scale →
y[t] = Σ weight · expert(x[t]), or Σ expert(weight · x[t]), over the token's k experts, and the shared expert's part.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moe.choice import U_BFLOAT16, Choice, U, choose, scores
from moe.form import ALPHA, CLAMP, ROUTER_PRECISION
from moe.problem import Problem
from moe.weights import EXPERT, Float32Array, Weights

Float64Array = NDArray[np.float64]
IndexArray = NDArray[np.intp]

NUMBERS_AT_ONCE = 2**23  # of the widest array: tokens are taken so many at a time


@dataclass(frozen=True)
class Reference:
    """What the layer gives for one problem.

    y (T, d) is float64; experts (T, k) are in order of what decides their choice. For each token that could go either
    way in the precision of a `router`, `contested` has what it may take.
    """

    problem: Problem
    experts: IndexArray
    y: Float64Array
    contested: Mapping[int, tuple[Choice, ...]]
    router: str = ROUTER_PRECISION

    @np.errstate(invalid="ignore", over="ignore")
    def output_for(self, token: int, experts: tuple[int, ...]) -> Float64Array:
        """The output (d,) of one token if it had been sent to `experts`."""
        x = self.problem.x[token : token + 1].astype(np.float64)
        weights = self.problem.weights
        logits, _ = _logits(weights, x)
        chosen = np.array([experts])
        y: Float64Array = _combine(weights, x, chosen, _expert_weights(weights, logits, chosen))[0]
        return y

    def part(self, start: int, stop: int) -> "Reference":
        """The reference for some of the tokens."""
        problem = Problem(self.problem.weights, self.problem.x[start:stop], self.problem.top_k)
        contested = {token - start: found for token, found in self.contested.items() if start <= token < stop}
        return Reference(problem, self.experts[start:stop], self.y[start:stop], contested, self.router)

    @np.errstate(invalid="ignore", over="ignore")
    def for_router(self, precision: str) -> "Reference":
        """The same for a router that computes its logits in `precision`: with that, other tokens are contested."""
        if precision == self.router:
            return self
        routed = (_route(self.problem, rows, precision) for rows in _parts(self.problem))
        contested = {token: found for part in routed for token, found in part.contested.items()}
        return replace(self, contested=contested, router=precision)

    def reversed(self) -> "Reference":
        """The reference for the tokens in reverse, none of which knows of another."""
        problem = Problem(self.problem.weights, self.problem.x[::-1], self.problem.top_k)
        contested = {len(self.y) - 1 - token: found for token, found in self.contested.items()}
        return replace(self, problem=problem, experts=self.experts[::-1], y=self.y[::-1], contested=contested)


@dataclass(frozen=True)
class _Routed:
    """Some tokens' way to their experts: x (n, d) without NaN and Inf, and which of its rows have an output."""

    x: Float64Array
    known: NDArray[np.bool_]
    logits: Float64Array
    experts: IndexArray
    contested: Mapping[int, tuple[Choice, ...]]


@np.errstate(invalid="ignore", over="ignore")  # of weights with NaN or Inf: nothing to warn about
def reference(problem: Problem) -> Reference:
    """Compute the layer for `problem` in float64.

    A token with NaN or Inf has a NaN output row by definition, and so has one with NaN among its scores or what is
    added to them, whichever experts have it. Other weights with NaN or Inf give what arithmetic says. What has a
    number for each token and expert is made for some tokens at a time.
    """
    weights, tokens = problem.weights, len(problem.x)
    chosen = np.empty((tokens, problem.top_k), np.intp)
    y = np.empty((tokens, weights.d_model))
    contested: dict[int, tuple[Choice, ...]] = {}
    for rows in _parts(problem):
        routed = _route(problem, rows, ROUTER_PRECISION)
        out = _combine(weights, routed.x, routed.experts, _expert_weights(weights, routed.logits, routed.experts))
        chosen[rows], y[rows] = routed.experts, np.where(routed.known, out, np.nan)
        contested |= routed.contested
    return Reference(problem, chosen, y, contested)


def _parts(problem: Problem) -> Iterator[slice]:
    weights = problem.weights
    widest = max(weights.num_experts, weights.d_ff, weights.form.shared_d_ff, weights.d_model)
    at_once = max(1, NUMBERS_AT_ONCE // widest)
    return (slice(start, start + at_once) for start in range(0, len(problem.x), at_once))


def _route(problem: Problem, rows: slice, router: str) -> _Routed:
    """The experts of some tokens, and what they may be by a router that computes in its own precision."""
    weights = problem.weights
    bias = None if weights.select_bias is None else weights.select_bias.astype(np.float64)
    x = problem.x[rows].astype(np.float64)
    finite = np.isfinite(x).all(axis=1, keepdims=True)
    safe = np.where(finite, x, 0.0)
    logits, error = _logits(weights, safe, router)
    nan = np.isnan(logits if bias is None else logits + bias).any(axis=1, keepdims=True)
    known: NDArray[np.bool_] = np.logical_and(finite, ~nan)
    logits = np.where(known, logits, np.nan)
    experts, contested = choose(weights.form, bias, logits, error, problem.top_k)
    return _Routed(safe, known, logits, experts, {rows.start + token: found for token, found in contested.items()})


def _logits(weights: Weights, x: Float64Array, router: str = ROUTER_PRECISION) -> tuple[Float64Array, Float64Array]:
    """Logits (T, E) of x (T, d), and a bound on each one's error in a router's precision, whatever the order of sums.

    |fl(x·g) − x·g| ≤ d·u·|x|·|g| (Higham, Accuracy and Stability of Numerical Algorithms, §3.1), and adding the bias
    rounds once more; where all products are 0 nothing does. Logits in bfloat16 are sums in float32, rounded then: by
    at most its unit roundoff of a token's largest.
    """
    gate = weights.gate.astype(np.float64)
    logits = x @ gate
    error = len(gate) * U * (np.abs(x) @ np.abs(gate))
    if weights.gate_bias is not None:
        logits = logits + weights.gate_bias
        error = error + np.where(error > 0, U * (np.abs(logits) + error), 0.0)
    if router == "bfloat16":
        error = error + U_BFLOAT16 * np.abs(logits).max(axis=1, keepdims=True)
    return logits, np.where(np.isfinite(logits), error, 0.0)


def _expert_weights(weights: Weights, logits: Float64Array, experts: IndexArray) -> Float64Array:
    """What each of the experts (T, k) counts for its token."""
    form = weights.form
    if form.score == "softmax" and form.renormalise:
        # Dividing the k probabilities by their sum cancels the other experts out of the softmax.
        shares = scores(form, np.take_along_axis(logits, experts, axis=1))
    else:
        shares = np.take_along_axis(scores(form, logits), experts, axis=1)
        if form.renormalise:
            shares = shares / shares.sum(axis=1, keepdims=True)
    return shares * form.scale


def _combine(weights: Weights, x: Float64Array, experts: IndexArray, shares: Float64Array) -> Float64Array:
    """Weighted sum (T, d) of the outputs of `experts` (T, k), and the shared expert's."""
    form, arrays = weights.form, weights.arrays()
    y = _shared(weights, x) if form.shared_d_ff else np.zeros_like(x)
    for e in range(weights.num_experts):
        tokens, slots = np.nonzero(experts == e)
        if len(tokens) == 0:
            continue
        share = shares[tokens, slots][:, None]
        rows = x[tokens] * share if form.weight_on == "input" else x[tokens]  # (n, d)
        out = _expert(form.expert, rows, {name: arrays[name][e] for name in EXPERT if name in arrays})
        y[tokens] += out if form.weight_on == "input" else share * out
    return y


def _shared(weights: Weights, x: Float64Array) -> Float64Array:
    """The output (T, d) of the expert that every token takes."""
    parts = {name.removeprefix("shared_"): array for name, array in weights.arrays().items() if "shared_" in name}
    out = _expert(weights.form.expert, x, parts)
    return out * _sigmoid(x @ parts["gate"].astype(np.float64)) if "gate" in parts else out


def _expert(kind: str, x: Float64Array, parts: Mapping[str, Float32Array]) -> Float64Array:
    """The output (n, d) for x (n, d) of an expert with these weights."""
    gate = _product(x, parts["w1"], parts.get("b1"))  # (n, f)
    up = _product(x, parts["w3"], parts.get("b3")) if "w3" in parts else gate
    return _product(_hidden(kind, gate, up), parts["w2"], parts.get("b2"))


def _product(x: Float64Array, w: Float32Array, bias: Float32Array | None) -> Float64Array:
    product: Float64Array = x @ w.astype(np.float64)
    return product if bias is None else product + bias


def _hidden(kind: str, gate: Float64Array, up: Float64Array) -> Float64Array:
    """What stands between an expert's products: of x·w1 + b1, and for a gated one of x·w3 + b3."""
    if kind == "relu":
        return np.maximum(gate, 0.0)
    if kind == "relu2":
        return np.maximum(gate, 0.0) ** 2
    if kind == "gelu":
        return _gelu(gate)
    if kind == "swiglu":
        return gate * _sigmoid(gate) * up
    if kind == "geglu":
        return _gelu(gate) * up
    low = np.minimum(gate, CLAMP)
    return low * _sigmoid(ALPHA * low) * (np.clip(up, -CLAMP, CLAMP) + 1)


def _sigmoid(z: Float64Array) -> Float64Array:
    found: Float64Array = 1 / (1 + np.exp(-z))
    return found


def _gelu(z: Float64Array) -> Float64Array:
    from scipy.special import erf  # takes longer to import than most problems to compute

    found: Float64Array = 0.5 * z * (1 + erf(z / 2**0.5))
    return found
