"""Which experts a token takes, in float64, and which others float32 might as well have given it.

Every value that decides lies in a range that float32 arithmetic can't leave, whatever the order of its sums. Values
whose ranges overlap at the edge of what is taken are open: either is right. u is float32's unit roundoff, 2⁻²⁴.
"""

from collections.abc import Mapping
from itertools import combinations
from math import comb
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moe.form import Form

Float64Array = NDArray[np.float64]
IndexArray = NDArray[np.intp]

U = 2.0**-24
U_BFLOAT16 = 2.0**-8  # bfloat16's unit roundoff
SIGMOID = 8 * U  # relative: exp, a sum and a division, each within a few roundings
SMALLEST = 2.0**-125  # what is below may be 0 in float32
MOST_GROUPINGS = 200  # a token with more admissible sets of groups than this is not searched


class Choice(NamedTuple):
    """Experts that a token takes for certain, and those among which the others of its k are, whichever."""

    certain: tuple[int, ...]
    open: tuple[int, ...]


class Ranges(NamedTuple):
    """Values (T, n) that decide, and the ends between which float32's lie; both alike where it has to agree."""

    value: Float64Array
    low: Float64Array
    high: Float64Array

    def row(self, token: int) -> "Ranges":
        """Those of one token."""
        return Ranges(*(array[token : token + 1] for array in self))

    def among(self, taken: NDArray[np.bool_]) -> "Ranges":
        """With everything else out of reach."""
        return Ranges(*(np.where(taken, array, -np.inf) for array in self))

    def best(self, count: int) -> IndexArray:
        """The places (T, count) of the largest values, a tie to the lower number."""
        return np.argsort(-self.value, axis=1, kind="stable")[:, :count]

    def loose(self, count: int) -> NDArray[np.bool_]:
        """Mark (T, n) what float32 may as well take among the `count` largest as leave.

        Something is certain if fewer than `count` others can reach it, excluded if as many surely exceed it. What has
        no range is not open: a tie of such goes to the lower number.
        """
        if count == self.high.shape[1]:
            return np.zeros(self.high.shape, dtype=bool)
        # `count` others can exceed it where the (count + 1)-th highest end reaches its low one: its own is one.
        reachable = self.low <= np.partition(self.high, -count - 1, axis=1)[:, -count - 1, None]
        not_exceeded = self.high >= np.partition(self.low, -count, axis=1)[:, -count, None]
        loose = (self.high > self.low) & reachable & not_exceeded
        return np.asarray(loose & (loose.sum(axis=1, keepdims=True) > 1))


@np.errstate(invalid="ignore", over="ignore")
def choose(
    form: Form, select_bias: Float64Array | None, logits: Float64Array, error: Float64Array, k: int
) -> tuple[IndexArray, Mapping[int, tuple[Choice, ...]]]:
    """The experts (T, k) of tokens, in order of what decides, and by token where it is open what it may be.

    `error` (T, E) bounds that of a float32 logit. A token with NaN among its logits has any experts.
    """
    if form.groups == 1 and select_bias is None:
        ranges = _of_logits(logits, error) if form.score == "softmax" else _of_scores(form, logits, error)
        # In order of logits, which tell apart what both saturate to 1.
        experts = Ranges(logits, logits, logits).best(k)
        return experts, _open_experts(ranges, experts, k)
    exact = error.max(axis=1, initial=0.0, keepdims=True) == 0
    ranges = _settled(_with_bias(_of_scores(form, logits, error), select_bias), exact)
    if form.groups == 1:
        experts = ranges.best(k)
        return experts, _open_experts(ranges, experts, k)
    ranks = _settled(_ranks(form, ranges), exact)
    taken = _members(ranks.best(form.groups_kept), form.groups, logits.shape[1])
    kept = ranges.among(taken)
    experts = kept.best(k)
    found = dict(_open_experts(kept, experts, k))
    for token in np.flatnonzero(ranks.loose(form.groups_kept).any(axis=1)).tolist():
        found[token] = _open_groups(form, ranges.row(token), ranks.row(token), k)
    return experts, found


def _of_logits(logits: Float64Array, error: Float64Array) -> Ranges:
    """Of a softmax's probabilities in terms of their logits: a logit's own rounding, and a few of its softmax's."""
    spread = np.abs(logits.max(axis=1, keepdims=True) - logits)
    margin = error + np.where(error > 0, 4 * U * (1 + spread), 0.0)
    return Ranges(logits, logits - margin, logits + margin)


def _of_scores(form: Form, logits: Float64Array, error: Float64Array) -> Ranges:
    """Of scores: those of logits at either end of their own ranges, and the roundings on the way from them."""
    score = scores(form, logits)
    if form.score == "sigmoid":
        low, high = (scores(form, end) for end in (logits - error, logits + error))
        ranges = Ranges(score, low * (1 - SIGMOID) - SMALLEST, high * (1 + SIGMOID) + SMALLEST)
    else:
        spread = np.abs(logits.max(axis=1, keepdims=True) - logits)
        # exp(z) / Σ exp: an error of a logit is a relative one of its power, and of the sum at most the largest. The
        # powers round as their arguments do, their sum of E numbers by at most E roundings.
        relative = error + error.max(axis=1, initial=0.0, keepdims=True) + U * (4 * (1 + spread) + logits.shape[1])
        low, high = score * np.exp(-relative), np.minimum(score * np.exp(relative), 1 + 4 * U)
        ranges = Ranges(score, low - SMALLEST, high + SMALLEST)
    return _settled(ranges, error.max(axis=1, initial=0.0, keepdims=True) == 0)


def _with_bias(ranges: Ranges, select_bias: Float64Array | None) -> Ranges:
    """With the bias for the choice added, and the rounding of that sum."""
    if select_bias is None:
        return ranges
    value, low, high = (array + select_bias for array in ranges)
    return Ranges(value, low - U * np.abs(low), high + U * np.abs(high))


def _ranks(form: Form, ranges: Ranges) -> Ranges:
    """Of groups (T, groups): their best, or the sum of their two best, with the rounding of that sum."""
    tokens, experts = ranges.value.shape
    best = min(2 if form.group_score == "top2" else 1, experts // form.groups)

    def ranked(array: Float64Array) -> Float64Array:
        grouped = np.sort(array.reshape(tokens, form.groups, experts // form.groups), axis=2)
        total: Float64Array = grouped[:, :, -best:].sum(axis=2)
        return total

    value, low, high = map(ranked, ranges)
    rounding = U * (best - 1)
    return Ranges(value, low - rounding * np.abs(low), high + rounding * np.abs(high))


def _settled(ranges: Ranges, exact: NDArray[np.bool_]) -> Ranges:
    """Without ranges for tokens (T, 1) of `exact` logits whose values are either equal or farther apart than those.

    What is computed alike from equal numbers is equal in any precision, so a tie of such goes to the lower number.
    """
    value = ranges.value
    apart = np.diff(np.sort(value, axis=1), axis=1)
    widest = (ranges.high - ranges.low).max(axis=1, initial=0.0, keepdims=True)
    settled = exact & ((apart == 0) | (apart > widest)).all(axis=1, keepdims=True)
    return Ranges(value, np.where(settled, value, ranges.low), np.where(settled, value, ranges.high))


def _open_experts(ranges: Ranges, experts: IndexArray, k: int) -> Mapping[int, tuple[Choice, ...]]:
    """By token where the choice of experts is open, what it may be."""
    loose = ranges.loose(k)
    found = np.flatnonzero(loose.any(axis=1)).tolist()
    return {token: (_choice(loose[token], experts[token]),) for token in found}


def _choice(loose: NDArray[np.bool_], experts: IndexArray) -> Choice:
    certain = tuple(e for e in sorted(experts.tolist()) if not loose[e])
    return Choice(certain, tuple(np.flatnonzero(loose).tolist()))


def _open_groups(form: Form, ranges: Ranges, ranks: Ranges, k: int) -> tuple[Choice, ...]:
    """What one token may take where the choice of its groups is open; nothing where that is too much to list."""
    groups = _choice(ranks.loose(form.groups_kept)[0], ranks.best(form.groups_kept)[0])
    count = form.groups_kept - len(groups.certain)
    if comb(len(groups.open), count) > MOST_GROUPINGS:
        return ()
    found = []
    for others in combinations(groups.open, count):
        kept = np.array([[*groups.certain, *others]])
        among = ranges.among(_members(kept, form.groups, ranges.value.shape[1]))
        found.append(_choice(among.loose(k)[0], among.best(k)[0]))
    return tuple(found)


def _members(kept: IndexArray, groups: int, experts: int) -> NDArray[np.bool_]:
    """Mark (T, E) the experts of the groups (T, groups_kept)."""
    marks = np.zeros((len(kept), groups), dtype=bool)
    np.put_along_axis(marks, kept, True, axis=1)
    return np.repeat(marks, experts // groups, axis=1)


def scores(form: Form, logits: Float64Array) -> Float64Array:
    """What the router makes of logits (T, E): a softmax over all experts, or the sigmoid of each."""
    if form.score == "sigmoid":
        found: Float64Array = 1 / (1 + np.exp(-logits))
        return found
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Float64Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
