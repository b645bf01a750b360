"""What each of several optimisations gives of a speedup, when what one gives depends on which others are there.

Each is a factor, on or off; every combination of them is measured. The logarithm of the whole speedup is split by
the factors' Shapley values: what a factor adds, averaged over all orders in which factors could be turned on
(Shapley, A Value for n-Person Games, 1953). They sum to the whole, and no order is preferred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
from numpy.typing import NDArray

from moe.analysis.statistics import Estimate, Interval, Ratio, holm

# A combination of factors is a number whose bit i says whether factor i is on.
Combination = int


@dataclass(frozen=True)
class Factor:
    """What one factor gives: how many times as fast, its share of the whole, and that with each set of others on.

    The share is of the whole's logarithm, and None where the whole is not told from 1.
    """

    name: str
    times: Ratio
    share: Interval | None
    alone: tuple[Ratio, ...]

    @property
    def least(self) -> float:
        """The least that it gives in any order."""
        return min(ratio.value for ratio in self.alone)

    @property
    def most(self) -> float:
        """The most that it gives in any order."""
        return max(ratio.value for ratio in self.alone)


@dataclass(frozen=True)
class Interaction:
    """How many times as much two factors give together as apart, and whether that differs from 1."""

    factors: tuple[str, str]
    times: Ratio
    resolved: bool


@dataclass(frozen=True)
class Attribution:
    """A speedup split among factors; the product of their `times` is the total."""

    total: Ratio
    factors: tuple[Factor, ...]
    interactions: tuple[Interaction, ...]


def attribute(
    names: Sequence[str], seconds: Mapping[Combination, Sequence[float]], processes: Sequence[int]
) -> Attribution:
    """Split the speedup from no factor to all of them.

    `seconds` holds the rounds of each of the 2ⁿ combinations, paired: round r of all of them ran in processes[r].
    Raises ValueError where a combination is missing.
    """
    count = 2 ** len(names)
    if missing := sorted(set(range(count)) - set(seconds)):
        raise ValueError(f"not measured with: {', '.join(combination_text(names, c) for c in missing)}")
    gains = _gains([seconds[c] for c in range(count)], processes)
    total = Estimate.weighted_sum(gains, _difference(count, count - 1, 0))
    factors = []
    for i, name in enumerate(names):
        given = Estimate.weighted_sum(gains, _shapley_weights(len(names), i))
        alone = (gains[c].minus(gains[c ^ 1 << i]).ratio() for c in range(count) if c >> i & 1)
        share = given.over(total).interval() if total.ratio().excludes(1.0) else None
        factors.append(Factor(name, given.ratio(), share, tuple(alone)))
    return Attribution(total.ratio(), tuple(factors), _interactions(names, gains))


def chain(seconds: Sequence[Sequence[float]], processes: Sequence[int]) -> tuple[list[Ratio], list[Ratio]]:
    """How many times as fast each is as the one before, and as the first; the former multiply to the latter."""
    gains = _gains(seconds, processes)
    places = range(1, len(gains))
    return (
        [Estimate.weighted_sum(gains, _difference(len(gains), i, i - 1)).ratio() for i in places],
        [Estimate.weighted_sum(gains, _difference(len(gains), i, 0)).ratio() for i in places],
    )


def _gains(seconds: Sequence[Sequence[float]], processes: Sequence[int]) -> list[Estimate]:
    """How fast each is, as a logarithm, but for what all have in common."""
    logs = np.log(np.array(seconds, dtype=np.float64))
    # What a round did to all alike is in no difference between them, and need not be in their medians.
    logs -= np.median(logs, axis=0)
    return [Estimate.of_median(-rounds, processes) for rounds in logs]


def combination_text(names: Sequence[str], combination: Combination) -> str:
    """The factors that are on, for a person."""
    return " + ".join(name for i, name in enumerate(names) if combination >> i & 1) or "none"


def _interactions(names: Sequence[str], gains: Sequence[Estimate]) -> tuple[Interaction, ...]:
    pairs = list(combinations(range(len(names)), 2))
    ratios = [Estimate.weighted_sum(gains, _interaction_weights(len(names), i, j)).ratio() for i, j in pairs]
    resolved = holm([ratio.p_value for ratio in ratios])
    return tuple(
        Interaction((names[i], names[j]), ratio, differs)
        for (i, j), ratio, differs in zip(pairs, ratios, resolved, strict=True)
    )


def _difference(count: int, above: Combination, below: Combination) -> NDArray[np.float64]:
    weights = np.zeros(count)
    weights[above] += 1
    weights[below] -= 1
    return weights


def _shapley_weights(factors: int, i: int) -> NDArray[np.float64]:
    """How much each combination counts in factor i's value."""
    weights = np.zeros(2**factors)
    for without in range(2**factors):
        if not without >> i & 1:
            others = without.bit_count()
            orders = factorial(others) * factorial(factors - others - 1) / factorial(factors)
            weights += orders * _difference(2**factors, without | 1 << i, without)
    return weights


def _interaction_weights(factors: int, i: int, j: int) -> NDArray[np.float64]:
    """How much each combination counts in the interaction index of i and j (Grabisch and Roubens, 1999)."""
    weights = np.zeros(2**factors)
    both = 1 << i | 1 << j
    for without in range(2**factors):
        if not without & both:
            others = without.bit_count()
            orders = factorial(others) * factorial(factors - others - 2) / factorial(factors - 1)
            together = _difference(2**factors, without | both, without | 1 << i)
            weights += orders * (together - _difference(2**factors, without | 1 << j, without))
    return weights
