"""Statistics against simulated samples whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moe.analysis import Interval, median_interval, ratio_interval

ROUNDS, PROCESSES = 30, 3
OF_PROCESS = [p for p in range(PROCESSES) for _ in range(ROUNDS // PROCESSES)]


def simulated(random: np.random.Generator, truth: float, drift: np.ndarray) -> np.ndarray:
    """Rounds of a variant whose true value is `truth`, under a drift that all variants share."""
    return truth * np.exp(drift + random.normal(0, 0.02, ROUNDS))


def test_intervals_cover_the_truth_under_common_drift() -> None:
    random = np.random.default_rng(1)
    covered = called_different = 0
    runs = 200
    for _ in range(runs):
        drift = np.cumsum(random.normal(0, 0.05, ROUNDS))
        a, b, same = (simulated(random, truth, drift) for truth in (2e-3, 1e-3, 1e-3))
        covered += not ratio_interval(a, b, OF_PROCESS).excludes(2.0)
        called_different += ratio_interval(same, b, OF_PROCESS).excludes(1.0)
    assert covered >= 0.9 * runs
    assert called_different <= 0.1 * runs


@pytest.mark.parametrize("processes", [3, 6])
def test_intervals_cover_the_truth_where_processes_differ(processes: int) -> None:
    """An offset of each process, and much less noise within: what few processes know least about."""
    random = np.random.default_rng(4)
    of_process = [p for p in range(processes) for _ in range(8)]
    runs = 200
    covered = 0
    for _ in range(runs):
        offsets = random.normal(0, 0.03, processes)
        rounds = np.exp([offsets[p] + random.normal(0, 0.01) for p in of_process])
        covered += not median_interval(rounds, of_process).excludes(1.0)
    assert covered >= 0.93 * runs


def test_a_ratio_is_paired() -> None:
    drift = np.exp(np.linspace(0, 2, ROUNDS))
    ratio = ratio_interval(3 * drift, drift, OF_PROCESS)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((3, 3, 3))


def test_processes_are_resampled() -> None:
    """A process that differs widens the interval to it, however many rounds agree within."""
    rounds = [1.0] * 10 + [1.0] * 10 + [2.0] * 10
    interval = median_interval(rounds, OF_PROCESS)
    assert interval.value == 1.0
    assert interval.high >= 2.0


def test_few_rounds_have_no_interval() -> None:
    interval = median_interval([1.0, 2.0, 3.0], [0, 0, 0])
    assert interval.value == pytest.approx(2.0)
    assert not interval.bounded
    assert not interval.excludes(1e6)
    assert math.isinf(interval.half_width)


@pytest.mark.parametrize(("rounds", "processes"), [([], []), ([1.0, 2.0], [0])])
def test_rounds_without_processes_are_refused(rounds: list[float], processes: list[int]) -> None:
    with pytest.raises(ValueError, match="have no interval"):
        median_interval(rounds, processes)


def test_same_rounds_same_interval() -> None:
    rounds = np.random.default_rng(2).lognormal(size=ROUNDS)
    assert median_interval(rounds, OF_PROCESS) == median_interval(rounds, OF_PROCESS)


def test_interval_arithmetic() -> None:
    interval = Interval(2.0, 1.0, 4.0)
    assert interval.scaled(10) == Interval(20, 10, 40)
    assert interval.inverse(8) == Interval(4, 2, 8)
    assert interval.half_width == 1.0
    assert interval.excludes(0.5)
    assert not interval.excludes(4.0)
