"""Statistics against simulated samples whose truth is known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.signal import lfilter

from moe.analysis import Interval, median_interval, ratio_interval, statistics
from moe.analysis.statistics import holm, spread_of
from moe.measure.plan import Protocol

ROUNDS, PROCESSES = 30, 3
OF_PROCESS = [p for p in range(PROCESSES) for _ in range(ROUNDS // PROCESSES)]

RUNS = 1000
SAMPLES = 5  # of a turn
PROFILES = Path(__file__).parent.parent / "notebooks" / "profiles"


class Simulated:
    """A run's rounds: drift that all variants share, an offset of each process, and noise that lingers."""

    def __init__(self, random: np.random.Generator, processes: int, rounds: int, lingering: float) -> None:
        self.random, self.processes, self.rounds, self.lingering = random, processes, rounds, lingering
        self.drift = np.cumsum(random.normal(0, 0.05, (processes, rounds)))
        self.of_process = np.repeat(np.arange(processes), rounds).tolist()

    def variant(self, truth: float) -> list[float]:
        """Rounds of a variant whose true median is `truth`: lognormal AR(1) noise with 2 % outliers."""
        shape = (self.processes, self.rounds * SAMPLES)
        innovation = self.random.normal(0, 0.03 * math.sqrt(1 - self.lingering**2), shape)
        noise = lfilter([1], [1, -self.lingering], innovation, axis=1)
        offset = self.random.normal(0, 0.02, (self.processes, 1))
        outliers = np.where(self.random.random(shape) < 0.02, self.random.uniform(0.3, 2, shape), 0)
        samples = np.exp(noise + offset + outliers).reshape(-1, SAMPLES)
        return (truth * np.exp(self.drift) * np.median(samples, axis=1)).tolist()


@pytest.mark.parametrize("lingering", [0.0, 0.5])
@pytest.mark.parametrize("rounds", [4, 12], ids=["few rounds", "many rounds"])
@pytest.mark.parametrize("profile", ["quick", "full", "bench"])
def test_intervals_cover_the_truth_at_each_profiles_own_numbers(profile: str, rounds: int, lingering: float) -> None:
    if profile == "bench":
        processes = Protocol.processes
    else:
        processes = yaml.safe_load((PROFILES / f"{profile}.yaml").read_text())["comparison"]["processes"]
    random = np.random.default_rng(1)
    covered = called_different = resolved = 0
    for _ in range(RUNS):
        run = Simulated(random, processes, rounds, lingering)
        a, b, same = (run.variant(truth) for truth in (2e-3, 1e-3, 1e-3))
        covered += not ratio_interval(a, b, run.of_process).excludes(2.0)
        ratio = ratio_interval(same, b, run.of_process)
        called_different += ratio.excludes(1.0)
        resolved += ratio.p_value <= 0.05
    assert covered >= 0.93 * RUNS
    assert called_different <= 0.07 * RUNS
    assert abs(resolved - called_different) <= 0.01 * RUNS


def test_an_interval_is_no_wider_than_it_must_be() -> None:
    """One that held everything would cover the truth too."""
    random = np.random.default_rng(6)
    found = 0
    for _ in range(200):
        run = Simulated(random, 6, 12, 0.5)
        found += ratio_interval(run.variant(1.15e-3), run.variant(1e-3), run.of_process).excludes(1.0)
    assert found >= 190


def test_holms_correction_keeps_a_table_from_finding_differences() -> None:
    random = np.random.default_rng(7)
    tables = 300
    wrong = {"corrected": 0, "each by itself": 0}
    for _ in range(tables):
        run = Simulated(random, 6, 6, 0.0)
        base = run.variant(1.0)
        p_values = [ratio_interval(run.variant(1.0), base, run.of_process).p_value for _ in range(8)]
        wrong["corrected"] += any(holm(p_values))
        wrong["each by itself"] += any(p <= 0.05 for p in p_values)
    assert wrong["corrected"] <= 0.07 * tables
    assert wrong["each by itself"] > 0.1 * tables


def test_a_difference_that_is_plain_is_one_among_many() -> None:
    """Of hundreds of ratios each must have a p-value that resamples alone can't reach."""
    run = Simulated(np.random.default_rng(5), 10, 10, 0.0)
    base = run.variant(1.0)
    p_values = [ratio_interval(run.variant(0.5), base, run.of_process).p_value for _ in range(200)]
    assert all(holm(p_values))


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.04, 0.001, 0.02]) == [True, True, True]
    assert holm([0.5, 0.016]) == [False, True]
    assert holm([]) == []


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
    interval = median_interval([1.0, 2.0, 3.0], [0, 0, 1])
    assert interval.value == pytest.approx(2.0)
    assert not interval.bounded
    assert not interval.excludes(1e6)
    assert math.isinf(interval.half_width)


def test_one_process_has_no_interval() -> None:
    """It says nothing of how much processes differ."""
    assert not median_interval([1.0, 1.1] * 10, [0] * 20).bounded
    ratio = ratio_interval([2.0] * 20, [1.0] * 20, [0] * 20)
    assert (ratio.value, ratio.p_value, ratio.bounded) == (pytest.approx(2), 1.0, False)


@pytest.mark.parametrize("rounds", [5, 6, 31])
def test_resampled_medians_are_medians(rounds: int) -> None:
    processes = tuple(i * 3 // rounds for i in range(rounds))
    values = np.random.default_rng(3).permutation(rounds).astype(float)
    counts = statistics._resamples(processes)
    expected = [np.median(np.repeat(values, count)) for count in counts[:50]]
    assert statistics._resampled_medians(values, processes)[:50].tolist() == expected
    assert (counts.sum(axis=1) >= 3).all()
    assert {len(set(np.asarray(processes)[count > 0])) for count in counts} == {1, 2, 3}


def test_spread() -> None:
    spread = spread_of([1.0] * 95 + [2.0] * 5)
    assert (spread.p95, spread.p99) == (pytest.approx(1.05), 2.0)
    assert spread.variation == pytest.approx(0.2076, abs=1e-4)
    assert (spread_of([1.0] * 99).p99, spread_of([1.0] * 19).p95) == (None, None)


def test_a_ratio_of_independent_estimates() -> None:
    ratio = Interval(4.0, 3.0, 5.0).over(Interval(2.0, 2.0, 2.0))
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 1.5, 2.5))
    both = Interval(4.0, 3.0, 5.0).over(Interval(2.0, 1.5, 2.5))
    assert both.low < ratio.low
    assert both.high > ratio.high
    assert not Interval(4.0, 3.0, 5.0).over(Interval(2.0, 0.0, math.inf)).bounded


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
