"""What each of several optimisations gives of a speedup, when what one gives depends on which others are there.

Each is a factor, on or off; every combination of them is measured. The logarithm of the whole speedup is split by
the factors' Shapley values: what a factor adds, averaged over all orders in which factors could be turned on
(Shapley, A Value for n-Person Games, 1953). They sum to the whole, and no order is preferred.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial, nan

import numpy as np
from numpy.typing import NDArray

from moe.analysis.pairing import Grid
from moe.analysis.statistics import Estimate, Interval, Ratio, resolve, row_medians

SWEEPS = 3  # of medians over rounds and over measurements, after which they hardly move


@dataclass(frozen=True)
class Factor:
    """What one factor gives: how many times as fast, and the same with each set of the others on.

    `resolved` by Holm's correction over the factors and the whole. The share is of the whole's logarithm, and None
    where the whole is not resolved.
    """

    name: str
    times: Ratio
    resolved: bool
    share: Interval | None
    alone: tuple[Ratio, ...]

    @property
    def least(self) -> float:
        """The least that it gives with any set of the others on; NaN of what has no others."""
        return min((ratio.value for ratio in self.alone), default=nan)

    @property
    def most(self) -> float:
        """The most that it gives so."""
        return max((ratio.value for ratio in self.alone), default=nan)


@dataclass(frozen=True)
class Interaction:
    """How many times as much two factors give together as apart, and whether that differs from 1."""

    factors: tuple[str, str]
    times: Ratio
    resolved: bool


@dataclass(frozen=True)
class Attribution:
    """A speedup split among factors; the product of their `times` is the total, which may be `resolved`."""

    total: Ratio
    resolved: bool
    factors: tuple[Factor, ...]
    interactions: tuple[Interaction, ...]


def attribute(names: Sequence[str], measured: Grid) -> Attribution:
    """Split the speedup from no factor to all of them; raises ValueError where a combination is missing.

    The grid holds the 2ⁿ combinations in their order: bit i of a combination's number says whether factor i is on.
    """
    count = 2 ** len(names)
    if len(measured.seconds) != count:
        raise ValueError(f"{len(names)} factors have {count} combinations, not {len(measured.seconds)}")
    gains = _gains(measured)
    whole_weights = np.zeros(count)
    whole_weights[[0, -1]] = -1, 1
    total = Estimate.weighted_sum(gains, whole_weights)
    given = [Estimate.weighted_sum(gains, _weights(len(names), i)) for i in range(len(names))]
    times = [estimate.ratio() for estimate in given]
    whole, *resolved = resolve([total.ratio(), *times])
    factors = []
    for i, name in enumerate(names):
        alone = (gains[c].minus(gains[c ^ 1 << i]).ratio() for c in range(count) if c >> i & 1)
        share = given[i].over(total).interval() if whole else None
        factors.append(Factor(name, times[i], resolved[i], share, tuple(alone)))
    return Attribution(total.ratio(), whole, tuple(factors), _interactions(names, gains))


@dataclass(frozen=True)
class Link:
    """How many times as fast one of a chain is as the one before, and as the first; resolved over the whole chain."""

    times: Ratio
    resolved: bool
    so_far: Ratio
    so_far_resolved: bool


def chain(measured: Grid) -> list[Link]:
    """A link for each measurement of a grid but the first; those to the one before multiply to that to the first."""
    gains = _gains(measured)
    times = [gains[i].minus(gains[i - 1]).ratio() for i in range(1, len(gains))]
    so_far = [gains[i].minus(gains[0]).ratio() for i in range(1, len(gains))]
    resolved = resolve([*times, *so_far])
    return list(map(Link, times, resolved, so_far, resolved[len(times) :]))


def _gains(measured: Grid) -> list[Estimate]:
    """How fast each is, as a logarithm, but for what all have in common."""
    logs = np.log(measured.seconds)
    return measured.medians(-(logs - _of_rounds(logs)))


def _of_rounds(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each round did to all alike: the median of it beside each measurement's own, whichever of them lack it."""
    common = np.zeros(logs.shape[1])
    for _ in range(SWEEPS):
        common += row_medians((logs - common - row_medians(logs - common)[:, None]).T)
    return common


def _interactions(names: Sequence[str], gains: Sequence[Estimate]) -> tuple[Interaction, ...]:
    pairs = list(combinations(range(len(names)), 2))
    ratios = [Estimate.weighted_sum(gains, _weights(len(names), i, j)).ratio() for i, j in pairs]
    return tuple(
        Interaction((names[i], names[j]), ratio, resolved)
        for (i, j), ratio, resolved in zip(pairs, ratios, resolve(ratios), strict=True)
    )


def _weights(factors: int, *chosen: int) -> NDArray[np.float64]:
    """How much each combination counts in a factor's Shapley value, or in what two of them give together over apart.

    The latter is their interaction index (Grabisch and Roubens, International Journal of Game Theory 28, 1999).
    """
    on = sum(1 << i for i in chosen)
    rest = factors - len(chosen)
    weights = np.empty(2**factors)
    for combination in range(len(weights)):
        others = (combination & ~on).bit_count()
        orders = factorial(others) * factorial(rest - others) / factorial(rest + 1)
        weights[combination] = orders * (-1) ** (on & ~combination).bit_count()
    return weights
