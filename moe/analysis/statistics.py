"""Intervals, ratios and p-values from rounds.

A round's value is the median of its samples, NaN where a turn was disturbed or the run cut short. Rounds share a
process and are not independent, so the bootstrap resamples processes first and then the rounds of each. With three
processes that alone covers the truth in 75 % of cases only, so an interval is the wider of it and Student's t over
the processes' medians. One process says nothing of how much processes differ, and has no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from itertools import pairwise
from math import inf, isfinite, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 2000
FEWEST_ROUNDS = 4  # with fewer, neither resampling nor Student's t says anything of use
FEWEST_PROCESSES = 2
MOST = 0.75  # of a sum's weight, for a process that lacks some of its parts to say something of the sum
CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
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
    """A ratio with the p-value of 1, which is 1 less the confidence whose interval would end at 1."""

    p_value: float = 1.0


@dataclass(frozen=True)
class Spread:
    """Single forwards' percentiles in seconds, None where too few lie beyond, and standard deviation over mean."""

    p95: float | None
    p99: float | None
    variation: float


def spread_of(samples: Sequence[float]) -> Spread:
    """Percentiles and variation of single forwards."""
    values = np.asarray(samples, dtype=np.float64)

    def percentile(p: int) -> float | None:
        return float(np.percentile(values, p)) if len(values) >= 100 / (100 - p) else None

    return Spread(percentile(95), percentile(99), float(np.std(values) / np.mean(values)))


def median_interval(rounds: Sequence[float], processes: Sequence[int], *, sure: bool = True) -> Interval:
    """Median of rounds, with the interval of resampled processes and rounds; none where they are not `sure`."""
    # On logarithms, since a time has no symmetric error; the value itself is the plain median.
    _, low, high = np.exp(Estimate.of_median(np.log(rounds), processes, sure=sure).ends())
    value = float(np.median(rounds))
    return Interval(value, min(float(low), value), max(float(high), value))


def ratio_interval(
    above: ArrayLike, below: ArrayLike, processes: Sequence[int], scale: float = 1.0, *, sure: bool = True
) -> Ratio:
    """`scale` times the median of above/below over rounds that both have: what slows the machine falls on both."""
    # On logarithms, where a ratio and its inverse say the same.
    return Estimate.of_median(np.log(above) - np.log(below) + np.log(scale), processes, sure=sure).ratio()


def resolve(ratios: Sequence[Ratio]) -> list[bool]:
    """Which of several ratios differ from 1: by Holm's correction over all of them, and by their own intervals."""
    rejected = holm([ratio.p_value for ratio in ratios])
    return [differs and ratio.excludes(1.0) for differs, ratio in zip(rejected, ratios, strict=True)]


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

    Numbers made from the same rounds can be computed with, resample by resample and process by process. A resample
    or a process without any of a number's rounds is NaN; all resamples are where there is too little for an interval.
    """

    value: float
    resampled: NDArray[np.float64]
    of_processes: NDArray[np.float64]

    @classmethod
    def of_median(cls, values: NDArray[np.float64], processes: Sequence[int], *, sure: bool = True) -> Estimate:
        """The median of rounds' values, NaN where there is none; it has no interval if they are not `sure`.

        Raises ValueError where there are no values, or not one process for each round.
        """
        rounds = int(np.isfinite(values).sum())
        if rounds == 0 or len(values) != len(processes):
            raise ValueError(f"{rounds} rounds of {len(processes)} processes have no interval")
        places = tuple(processes)
        of_processes = row_medians(np.append(values, nan)[_of_each(places)])
        enough = rounds >= FEWEST_ROUNDS and np.isfinite(of_processes).sum() >= FEWEST_PROCESSES
        resampled = _resampled_medians(values, places) if sure and enough else np.full(RESAMPLES, nan)
        return cls(float(row_medians(values[None])[0]), resampled, of_processes)

    @classmethod
    def weighted_sum(cls, parts: Sequence[Estimate], weights: NDArray[np.float64]) -> Estimate:
        """A weighted sum of estimates from the same rounds; what counts nothing may lack any of them."""
        chosen = [part for part, weight in zip(parts, weights, strict=True) if weight]
        weights = weights[weights != 0]
        values = np.array([part.value for part in chosen])
        return cls(
            float(weights @ values),
            weights @ np.array([part.resampled for part in chosen]),
            _sums_of_processes(np.array([part.of_processes for part in chosen]), values, weights),
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
        if not self._enough:
            return self.value, -inf, inf
        low, high = _middle(self._finite)
        reach = _students_t(1 - TAIL, self._freedom) * self._standard_error
        return self.value, min(low, self.value - reach), max(high, self.value + reach)

    def p_value(self) -> float:
        """Of no difference from 0: the larger of the bootstrap's and Student's, as the interval is the wider.

        Student's alone where no resample lies beyond 0: how far away it is, RESAMPLES of them can't tell.
        """
        if not self._enough:
            return 1.0
        from scipy.special import stdtr  # which no worker needs, though all import this module

        beyond = min(np.count_nonzero(self._finite <= 0), np.count_nonzero(self._finite >= 0))
        bootstrap = min(1.0, 2 * (beyond + 1) / (len(self._finite) + 1)) if beyond else 0.0
        error = self._standard_error
        student = 2 * float(stdtr(self._freedom, -abs(self.value) / error)) if error else 0.0
        return max(bootstrap, student)

    @cached_property
    def _finite(self) -> NDArray[np.float64]:
        return self.resampled[np.isfinite(self.resampled)]

    @cached_property
    def _freedom(self) -> int:
        """Degrees of freedom of Student's t: the processes that have it, less one."""
        return int(np.count_nonzero(np.isfinite(self.of_processes))) - 1

    @property
    def _enough(self) -> bool:
        return len(self._finite) > 0 and self._freedom >= FEWEST_PROCESSES - 1

    @cached_property
    def _standard_error(self) -> float:
        """Of the mean of processes."""
        own = self.of_processes[np.isfinite(self.of_processes)]
        return sqrt(float(np.sum((own - np.sum(own) / len(own)) ** 2)) / (len(own) * self._freedom))

    def interval(self) -> Interval:
        """The number with its interval."""
        return Interval(*self.ends())

    def ratio(self) -> Ratio:
        """The ratio that this is the logarithm of."""
        value, low, high = np.exp(self.ends())
        return Ratio(float(value), float(low), float(high), self.p_value())


def row_medians(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each row's numbers, leaving out NaN; NaN of a row that has nothing else."""
    ordered = np.sort(table, axis=1)  # NaN comes last
    count = np.isfinite(table).sum(axis=1)
    rows = np.arange(len(table))
    medians: NDArray[np.float64] = (ordered[rows, np.maximum(count - 1, 0) // 2] + ordered[rows, count // 2]) / 2
    return medians


def _sums_of_processes(
    of_processes: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The weighted sum of `values` as each process has it, from `of_processes` (parts, processes).

    A process that lacks a few parts is as far off as the others of its parts say, in proportion to their weight: of
    dozens of parts some lack a process wherever turns were disturbed. NaN where less than MOST of the weight is
    there, and everywhere if of a part too few processes say how much it differs between them.
    """
    there = np.isfinite(of_processes)
    share = np.abs(weights) @ there / np.abs(weights).sum()
    counted = share >= MOST
    if (there[:, counted].sum(axis=1) < FEWEST_PROCESSES).any():
        return np.full(len(share), nan)
    off = weights @ np.where(there, of_processes - values[:, None], 0.0)
    return np.where(counted, weights @ values + off / np.maximum(share, MOST), nan)


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """Between what most of the values lie: np.percentile's linear interpolation, in a third of its time."""
    places = [end * (len(values) - 1) for end in (TAIL, 1 - TAIL)]
    nearest = {min(int(place) + i, len(values) - 1) for place in places for i in (0, 1)}
    ordered = np.partition(values, sorted(nearest))
    low, high = (
        float(ordered[int(place)] + place % 1 * (ordered[min(int(place) + 1, len(values) - 1)] - ordered[int(place)]))
        for place in places
    )
    return low, high


@cache
def _students_t(probability: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def _resampled_medians(values: NDArray[np.float64], processes: tuple[int, ...]) -> NDArray[np.float64]:
    """The median of each resampled run, from how often each round is in it; NaN where none of the values is."""
    order = np.argsort(values)[: np.isfinite(values).sum()]  # NaN comes last
    seen = _resamples(processes)[order]
    for before, rounds in pairwise(seen):  # several times as fast as cumsum along this axis
        rounds += before
    below, above = (np.sum(seen <= half, axis=0, dtype=np.int32) for half in ((seen[-1] - 1) // 2, seen[-1] // 2))
    ordered = np.append(values[order], nan)
    medians: NDArray[np.float64] = (ordered[below] + ordered[above]) / 2
    return medians


@lru_cache(maxsize=256)
def _of_each(processes: tuple[int, ...]) -> NDArray[np.intp]:
    """(processes, most rounds of one): the rounds of each, and the place after the last where it has fewer."""
    numbers = np.asarray(processes)
    rounds = [np.flatnonzero(numbers == p) for p in sorted(set(processes))]
    places = np.full((len(rounds), max(map(len, rounds))), len(processes))
    for row, own in zip(places, rounds, strict=True):
        row[: len(own)] = own
    return places


@lru_cache(maxsize=256)
def _resamples(processes: tuple[int, ...]) -> NDArray[np.int32]:
    """(rounds, RESAMPLES): how often each is in a run of resampled processes, and resampled rounds of each."""
    random = np.random.default_rng(SEED)
    of_process = [own[own < len(processes)] for own in _of_each(processes)]
    chosen = random.integers(len(of_process), size=(RESAMPLES, len(of_process)))
    counts = np.zeros((len(processes), RESAMPLES), dtype=np.int32)
    for p, rounds in enumerate(of_process):
        drawn = np.sum(chosen == p, axis=1) * len(rounds)
        counts[rounds] = random.multinomial(drawn, np.full(len(rounds), 1 / len(rounds))).T
    return counts
