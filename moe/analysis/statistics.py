"""Intervals and ratios from rounds.

A round's value is the median of its samples. Rounds share a process, and samples that follow each other are
not independent, so the bootstrap resamples processes first and then the rounds of each. Of three processes that is
hardly more than their range, which holds the truth in 75 % of cases: an interval therefore also reaches as far as
Student's t does over the medians of the processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray
from scipy.stats import sem, t

RESAMPLES = 2000
FEWEST_ROUNDS = 5  # with fewer, resampling says next to nothing
CONFIDENCE = 0.95
SEED = 20


@dataclass(frozen=True)
class Interval:
    """A positive estimate with the ends of its 95 % interval, 0 and infinity where too few rounds bound it."""

    value: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        """Whether there were enough rounds for an interval."""
        return isfinite(self.high)

    def scaled(self, factor: float) -> Interval:
        """The same in another unit."""
        return Interval(self.value * factor, self.low * factor, self.high * factor)

    def inverse(self, numerator: float = 1.0) -> Interval:
        """`numerator` divided by it."""
        high = numerator / self.low if self.bounded else inf
        return Interval(numerator / self.value, numerator / self.high, high)

    @property
    def half_width(self) -> float:
        """The farther end's distance from the value, as a share of the value."""
        return max(self.high - self.value, self.value - self.low) / self.value

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


def median_interval(rounds: Sequence[float], processes: Sequence[int]) -> Interval:
    """Median of rounds, with the interval of resampled processes and rounds."""
    # On logarithms, since a time has no symmetric error; the value itself is the plain median.
    _, low, high = np.exp(_median(np.log(np.asarray(rounds, dtype=np.float64)), tuple(processes)))
    value = float(np.median(rounds))
    return Interval(value, min(float(low), value), max(float(high), value))


def ratio_interval(above: Sequence[float], below: Sequence[float], processes: Sequence[int]) -> Interval:
    """Median of above/below over paired rounds: what slows the machine in one round falls on both."""
    # On logarithms, where a ratio and its inverse say the same.
    logs = np.log(np.asarray(above, dtype=np.float64)) - np.log(np.asarray(below, dtype=np.float64))
    value, low, high = np.exp(_median(logs, tuple(processes)))
    return Interval(float(value), float(low), float(high))


def _median(values: NDArray[np.float64], processes: tuple[int, ...]) -> tuple[float, float, float]:
    """Median of rounds and the ends of its interval, infinite where there are too few."""
    if len(values) == 0 or len(values) != len(processes):
        raise ValueError(f"{len(values)} rounds of {len(processes)} processes have no interval")
    if len(values) < FEWEST_ROUNDS:
        return float(np.median(values)), -inf, inf
    value = float(np.median(values))
    resampled = [np.median(values[index]) for index in _resamples(processes)]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, [100 * tail, 100 * (1 - tail)])
    reach = _reach_over_processes(values, processes, 1 - tail)
    return value, min(float(low), value - reach), max(float(high), value + reach)


def _reach_over_processes(values: NDArray[np.float64], processes: tuple[int, ...], quantile: float) -> float:
    """Student's t times the standard error of the processes' medians; 0 for one process, which can't know."""
    numbers = np.asarray(processes)
    medians = [np.median(values[numbers == p]) for p in sorted(set(processes))]
    if len(medians) < 2:
        return 0.0
    return float(t.ppf(quantile, len(medians) - 1) * sem(medians))


@cache
def _resamples(processes: tuple[int, ...]) -> list[NDArray[np.intp]]:
    """Indices of RESAMPLES resampled runs: processes with replacement, then rounds of each."""
    random = np.random.default_rng(SEED)
    of_process = [np.flatnonzero(np.asarray(processes) == p) for p in sorted(set(processes))]
    return [
        np.concatenate(
            [
                random.choice(of_process[p], len(of_process[p]))
                for p in random.integers(len(of_process), size=len(of_process))
            ]
        )
        for _ in range(RESAMPLES)
    ]
