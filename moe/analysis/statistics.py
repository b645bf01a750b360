"""Intervals, ratios and p-values from rounds.

A round's value is the median of its samples. Rounds share a process, and samples that follow each other are
not independent, so the bootstrap resamples processes first and then the rounds of each. Of three processes that is
hardly more than their range, which holds the truth in 75 % of cases: an interval therefore also reaches as far as
Student's t does over the medians of the processes. One process says nothing of how much processes differ, and has
no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
FEWEST_ROUNDS = 5  # with fewer, resampling says next to nothing
FEWEST_PROCESSES = 2
CONFIDENCE = 0.95
SEED = 20


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval: infinite, or a ratio's lower one 0, where there is none."""

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

    def over(self, other: Interval) -> Interval:
        """The ratio to an estimate that was made independently of this one.

        Its ends are as far off as both intervals' nearest to them together, on logarithms and in squares (MOVER:
        Zou and Donner, Statistics in Medicine 27, 2008).
        """
        value = self.value / other.value
        if not (self.bounded and other.bounded):
            return Interval(value, 0.0, inf)
        down = np.hypot(np.log(self.value / self.low), np.log(other.high / other.value))
        up = np.hypot(np.log(self.high / self.value), np.log(other.value / other.low))
        return Interval(value, value * float(np.exp(-down)), value * float(np.exp(up)))

    @property
    def half_width(self) -> float:
        """The farther end's distance from the value, as a share of the value."""
        return max(self.high - self.value, self.value - self.low) / self.value

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the interval."""
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class Ratio(Interval):
    """A ratio with the p-value of 1: how likely one this far from it is if there is no difference.

    The p-value is 1 less the confidence whose interval would end at 1.
    """

    p_value: float = 1.0


@dataclass(frozen=True)
class Spread:
    """How single forwards vary, in seconds; a percentile is None where too few lie beyond it to tell.

    variation is their standard deviation over their mean.
    """

    p95: float | None
    p99: float | None
    variation: float


def spread_of(samples: Sequence[float]) -> Spread:
    """Percentiles and variation of single forwards."""
    values = np.asarray(samples, dtype=np.float64)

    def percentile(p: int) -> float | None:
        return float(np.percentile(values, p)) if len(values) >= 100 / (100 - p) else None

    return Spread(percentile(95), percentile(99), float(np.std(values) / np.mean(values)))


def median_interval(rounds: Sequence[float], processes: Sequence[int]) -> Interval:
    """Median of rounds, with the interval of resampled processes and rounds."""
    # On logarithms, since a time has no symmetric error; the value itself is the plain median.
    _, low, high = np.exp(Estimate.of_median(np.log(rounds), processes).ends())
    value = float(np.median(rounds))
    return Interval(value, min(float(low), value), max(float(high), value))


def ratio_interval(
    above: Sequence[float], below: Sequence[float], processes: Sequence[int], scale: float = 1.0
) -> Ratio:
    """`scale` times the median of above/below over paired rounds: what slows the machine in one falls on both."""
    # On logarithms, where a ratio and its inverse say the same.
    return Estimate.of_median(np.log(above) - np.log(below) + np.log(scale), processes).ratio()


def holm(p_values: Sequence[float], alpha: float = 1 - CONFIDENCE) -> list[bool]:
    """Which of several hypotheses are rejected if not even one may be rejected wrongly more often than `alpha`.

    Holm, Scandinavian Journal of Statistics 6, 1979: the smallest is compared with alpha over their number, the
    next with alpha over one less, and the first that is too large ends it.
    """
    rejected = [False] * len(p_values)
    for place, i in enumerate(np.argsort(p_values, kind="stable")):
        if p_values[i] > alpha / (len(p_values) - place):
            break
        rejected[i] = True
    return rejected


@dataclass(frozen=True)
class Estimate:
    """A number made from rounds: what it is, in each resampled run, and in each process by itself.

    Numbers made from the same rounds can be computed with, resample by resample and process by process. resampled
    is empty where there are too few rounds or processes for an interval.
    """

    value: float
    resampled: NDArray[np.float64]
    of_processes: NDArray[np.float64]

    @classmethod
    def of_median(cls, values: NDArray[np.float64], processes: Sequence[int]) -> Estimate:
        """The median of rounds' values; raises ValueError where there are none, or not one process for each."""
        if len(values) == 0 or len(values) != len(processes):
            raise ValueError(f"{len(values)} rounds of {len(processes)} processes have no interval")
        numbers = np.asarray(processes)
        medians = np.array([np.median(values[numbers == p]) for p in sorted(set(processes))])
        enough = len(values) >= FEWEST_ROUNDS and len(medians) >= FEWEST_PROCESSES
        resampled = _resampled_medians(values, tuple(processes)) if enough else np.empty(0)
        return cls(float(np.median(values)), resampled, medians)

    @classmethod
    def weighted_sum(cls, parts: Sequence[Estimate], weights: NDArray[np.float64]) -> Estimate:
        """A weighted sum of estimates from the same rounds."""
        return cls(
            float(weights @ [part.value for part in parts]),
            weights @ np.array([part.resampled for part in parts]),
            weights @ np.array([part.of_processes for part in parts]),
        )

    def minus(self, other: Estimate) -> Estimate:
        """The difference to another estimate from the same rounds."""
        return Estimate(
            self.value - other.value, self.resampled - other.resampled, self.of_processes - other.of_processes
        )

    def over(self, whole: Estimate) -> Estimate:
        """This divided by another estimate from the same rounds."""
        return Estimate(
            self.value / whole.value, self.resampled / whole.resampled, self.of_processes / whole.of_processes
        )

    def ends(self) -> tuple[float, float, float]:
        """The value and the ends of its interval, infinite where there is too little."""
        if not len(self.resampled):
            return self.value, -inf, inf
        from scipy.stats import sem, t  # which no worker needs, though all import this module

        tail = (1 - CONFIDENCE) / 2
        low, high = np.percentile(self.resampled, [100 * tail, 100 * (1 - tail)])
        reach = float(t.ppf(1 - tail, len(self.of_processes) - 1) * sem(self.of_processes))
        return self.value, min(float(low), self.value - reach), max(float(high), self.value + reach)

    def p_value(self) -> float:
        """Of no difference from 0: the larger of the bootstrap's and Student's, as the interval is the wider.

        Student's alone where no resample lies beyond 0: how far away it is, RESAMPLES of them can't tell.
        """
        if not len(self.resampled):
            return 1.0
        from scipy.stats import sem, t

        beyond = min(np.sum(self.resampled <= 0), np.sum(self.resampled >= 0))
        bootstrap = min(1.0, 2 * (int(beyond) + 1) / (RESAMPLES + 1)) if beyond else 0.0
        error = float(sem(self.of_processes))
        student = 2 * float(t.sf(abs(self.value) / error, len(self.of_processes) - 1)) if error else 0.0
        return max(bootstrap, student)

    def interval(self) -> Interval:
        """The number with its interval."""
        return Interval(*self.ends())

    def ratio(self) -> Ratio:
        """The ratio that this is the logarithm of."""
        value, low, high = np.exp(self.ends())
        return Ratio(float(value), float(low), float(high), self.p_value())


def _resampled_medians(values: NDArray[np.float64], processes: tuple[int, ...]) -> NDArray[np.float64]:
    """The median of each resampled run, from how often each round is in it."""
    order = np.argsort(values)
    seen = np.cumsum(_resamples(processes)[:, order], axis=1)
    total = seen[:, -1:]
    below, above = (np.argmax(seen > half, axis=1) for half in ((total - 1) // 2, total // 2))
    medians: NDArray[np.float64] = (values[order[below]] + values[order[above]]) / 2
    return medians


@cache
def _resamples(processes: tuple[int, ...]) -> NDArray[np.int32]:
    """(RESAMPLES, rounds): how often each is in a run of resampled processes, and resampled rounds of each."""
    random = np.random.default_rng(SEED)
    of_process = [np.flatnonzero(np.asarray(processes) == p) for p in sorted(set(processes))]
    counts = np.zeros((RESAMPLES, len(processes)), dtype=np.int32)
    for count in counts:
        for p in random.integers(len(of_process), size=len(of_process)):
            np.add.at(count, random.choice(of_process[p], len(of_process[p])), 1)
    return counts
