"""Statistics against simulated runs whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.signal import lfilter

from moe.analysis import Interval, median_interval, ratio_interval, statistics
from moe.analysis.attribution import attribute
from moe.analysis.pairing import Grid
from moe.analysis.statistics import Estimate, Ratio, holm, resolve, row_medians, spread_of
from moe.measure.protocol import Protocol

ROUNDS, PROCESSES = 30, 3
OF_PROCESS = [p for p in range(PROCESSES) for _ in range(ROUNDS // PROCESSES)]

RUNS = 1000
SAMPLES = 5  # of a turn
SLOW_SHARE, SLOW_TURNS, SLOW_TIMES = 0.2, 3, 2.0  # of turns; in one stretch of them on average; as long
PROBE_RIGHT = 0.95  # of its verdicts
PROFILES = Path(__file__).parent.parent / "notebooks" / "profiles"
World = Callable[..., NDArray[np.float64]]


def processes_of(page: str) -> set[int]:
    """In how many processes the profiles measure a page of which anything is to be concluded."""
    profiles = [yaml.safe_load((PROFILES / f"{name}.yaml").read_text()) for name in ("quick", "full")]
    return {profile[page]["processes"] for profile in profiles}


def plain(
    random: np.random.Generator, variants: int, processes: int, rounds: int, workers: tuple[int, ...] = ()
) -> NDArray[np.float64]:
    """(runs, variants, rounds): logarithms of rounds' values of variants whose true medians are all 1.

    Drift that all share, an offset of each process, and lognormal noise with 2 % outliers that lingers from one
    sample to the next; variants with the same of `workers` share another offset of each process.
    """
    drift = np.cumsum(random.normal(0, 0.05, (RUNS, 1, processes * rounds)), axis=2)
    shape = (RUNS, variants, processes, rounds * SAMPLES)
    noise = lfilter([1], [1, -0.5], random.normal(0, 0.03 * math.sqrt(0.75), shape), axis=3)
    noise += np.where(random.random(shape) < 0.02, random.uniform(0.3, 2, shape), 0)
    noise += random.normal(0, 0.02, (RUNS, variants, processes, 1))
    if workers:
        noise += random.normal(0, 0.02, (RUNS, max(workers) + 1, processes, 1))[:, workers]
    return drift + np.median(noise.reshape(RUNS, variants, processes * rounds, SAMPLES), axis=3)


def bimodal(
    random: np.random.Generator, variants: int, processes: int, rounds: int, workers: tuple[int, ...] = ()
) -> NDArray[np.float64]:
    """The same on a machine that is slow in stretches of turns; NaN where no turn seemed undisturbed."""
    values = plain(random, variants, processes, rounds, workers)
    return values + math.log(SLOW_TIMES) * slow_turns(random, variants, processes * rounds)


def slow_turns(random: np.random.Generator, variants: int, rounds: int) -> NDArray[np.float64]:
    """(runs, variants, rounds): 1 where the turn that counts was slow, 0 where it was not, NaN where none counts.

    Turns follow each other, and a probe says of each whether it was slow, mostly rightly: then it is repeated after
    the round's other turns.
    """
    ends = 1 / SLOW_TURNS
    begins = ends * SLOW_SHARE / (1 - SLOW_SHARE)
    slow = random.random(RUNS) < SLOW_SHARE
    found = np.full((RUNS, variants, rounds), np.nan)
    for number in range(rounds):
        for variant in list(range(variants)) * (1 + Protocol.repeats):
            turn = np.isnan(found[:, variant, number])
            chance = random.random(RUNS)
            slow = np.where(turn, np.where(slow, chance >= ends, chance < begins), slow)
            undisturbed = turn & (slow == (random.random(RUNS) >= PROBE_RIGHT))
            found[undisturbed, variant, number] = slow[undisturbed]
    return found


def of_process(processes: int, rounds: int) -> list[int]:
    return np.repeat(np.arange(processes), rounds).tolist()


@pytest.mark.parametrize("world", [plain, bimodal])
@pytest.mark.parametrize("rounds", [1, 2, 4, 12])
@pytest.mark.parametrize("processes", sorted(processes_of("comparison") | {Protocol.processes}))
def test_intervals_cover_the_truth_at_each_profiles_own_numbers(processes: int, rounds: int, world: World) -> None:
    """Where they do not cover a ratio of 1, a difference is seen that is none."""
    values = world(np.random.default_rng(1), 2, processes, rounds)
    ratios = [ratio_interval(above, below, of_process(processes, rounds)) for above, below in np.exp(values)]
    bounded = [ratio for ratio in ratios if ratio.bounded]
    wrong = sum(ratio.excludes(1.0) for ratio in bounded)
    assert len(bounded) >= 0.95 * RUNS
    assert wrong <= 0.07 * len(bounded)
    assert abs(sum(ratio.p_value <= 0.05 for ratio in ratios) - wrong) <= 0.01 * RUNS


@pytest.mark.long
@pytest.mark.parametrize("world", [plain, bimodal])
@pytest.mark.parametrize(("rounds", "processes"), [(2, p) for p in sorted(processes_of("breakdown"))])
def test_attribution_covers_the_truth_at_each_profiles_own_numbers(
    processes: int, rounds: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three switches, and threads, whose two workers differ for all of their variants alike."""
    monkeypatch.setattr("moe.analysis.attribution._interactions", lambda *_: ())  # which are not looked at
    names, truth = ("batch", "simd", "tile", "threads"), (1.3, 5.0, 1.0, 1.8)
    gains = np.array([sum(math.log(t) for i, t in enumerate(truth) if c >> i & 1) for c in range(16)])
    values = world(np.random.default_rng(2), 16, processes, rounds, tuple(c >> 3 for c in range(16)))
    missed = np.zeros(5)
    bounded = wrong = resolved = 0
    for run in values - gains[:, None]:
        found = attribute(names, Grid(np.exp(run), of_process(processes, rounds), [True] * 16))
        ratios = (found.total, *(factor.times for factor in found.factors))
        missed += [r.excludes(t) for r, t in zip(ratios, (math.prod(truth), *truth), strict=True)]
        bounded += all(ratio.bounded for ratio in ratios)
        wrong += found.factors[2].resolved
        resolved += all(factor.resolved for factor in found.factors if factor.name != "tile")
    assert bounded >= 0.95 * RUNS
    assert max(missed) <= 0.07 * bounded
    assert wrong <= 0.07 * RUNS
    assert resolved >= 0.9 * RUNS


@pytest.mark.parametrize("world", [plain, bimodal])
def test_an_interval_is_no_wider_than_it_must_be(world: World) -> None:
    """One that held everything would cover the truth too."""
    values = np.exp(world(np.random.default_rng(6), 2, 5, 4))
    found = sum(ratio_interval(1.15 * above, below, of_process(5, 4)).excludes(1.0) for above, below in values)
    assert found >= 0.95 * RUNS


@pytest.mark.parametrize("world", [plain, bimodal])
def test_holms_correction_keeps_a_table_from_finding_differences(world: World) -> None:
    processes = of_process(5, 2)
    wrong = {"corrected": 0, "each by itself": 0}
    for base, *others in np.exp(world(np.random.default_rng(7), 9, 5, 2)):
        ratios = [ratio_interval(other, base, processes) for other in others]
        wrong["corrected"] += any(resolve(ratios))
        wrong["each by itself"] += any(ratio.excludes(1.0) for ratio in ratios)
    assert wrong["corrected"] <= 0.07 * RUNS
    assert wrong["each by itself"] > 0.1 * RUNS


def test_a_difference_that_is_plain_is_one_among_many() -> None:
    """Of hundreds of ratios each must have a p-value that resamples alone can't reach."""
    values = np.exp(plain(np.random.default_rng(5), 2, 10, 10)[:200])
    ratios = [ratio_interval(0.5 * above, below, of_process(10, 10)) for above, below in values]
    assert all(resolve(ratios))


def test_what_is_resolved_survives_holm_and_lies_outside_its_own_interval() -> None:
    outside, unbounded = Ratio(2.0, 1.5, 3.0, 0.001), Ratio(2.0, 0.0, math.inf, 1.0)
    assert resolve([outside, unbounded, Ratio(2.0, 0.9, 3.0, 0.001)]) == [True, False, False]
    assert resolve([Ratio(2.0, 1.5, 3.0, 0.03)] * 2) == [False, False]
    assert resolve([]) == []


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


@pytest.mark.parametrize("missing", [0, 1, 3])
@pytest.mark.parametrize("rounds", [8, 9, 31])
def test_resampled_medians_are_medians(rounds: int, missing: int) -> None:
    processes = tuple(i * 3 // rounds for i in range(rounds))
    random = np.random.default_rng(3)
    values = random.permutation(rounds).astype(float)
    values[random.choice(rounds, missing, replace=False)] = np.nan
    counts = statistics._resamples(processes).T
    drawn = [np.repeat(values, count) for count in counts]
    there = [own[np.isfinite(own)] for own in drawn]
    expected = [np.median(own) if len(own) else np.nan for own in there]
    np.testing.assert_array_equal(statistics._resampled_medians(values, processes), expected)
    assert {len(set(np.asarray(processes)[count > 0])) for count in counts} == {1, 2, 3}


def test_a_resample_has_as_many_rounds_of_a_process_as_there_are() -> None:
    counts = statistics._resamples((0, 0, 0, 1, 1))
    of_first, of_second = counts[:3].sum(axis=0), counts[3:].sum(axis=0)
    assert set(zip(of_first.tolist(), of_second.tolist(), strict=True)) == {(6, 0), (3, 2), (0, 4)}
    assert counts.mean(axis=1) == pytest.approx(1, abs=0.1)


def test_medians_of_rows_leave_out_what_is_missing() -> None:
    nan = np.nan
    table = np.array([[3.0, nan, 1.0, 2.0], [4.0, 1.0, 2.0, 3.0], [nan, nan, nan, 5.0], [nan] * 4])
    np.testing.assert_array_equal(row_medians(table), [2.0, 2.5, 5.0, nan])


def test_estimates_with_gaps_are_computed_with_where_both_are() -> None:
    """Resample by resample on the whole grid, and by the processes that both have."""
    processes = of_process(4, 3)
    drift = np.linspace(0, 3, 12)
    first, second = drift + 1, drift.copy()
    first[9:] = second[:1] = np.nan
    one, other = (Estimate.of_median(values, processes) for values in (first, second))
    assert np.isnan(one.of_processes).tolist() == [False, False, False, True]
    assert np.isnan(one.resampled).any()
    difference = one.minus(other)
    assert np.isnan(difference.of_processes).tolist() == [False, False, False, True]
    assert difference.interval().bounded
    only = Estimate.of_median(np.where(np.arange(12) >= 6, drift, np.nan), processes)
    assert only.interval().bounded
    assert not only.minus(one).interval().bounded  # one process in common
    assert only.minus(one).p_value() == 1.0


def test_what_counts_nothing_in_a_sum_may_lack_anything() -> None:
    values = np.random.default_rng(1).normal(size=12)
    sure, unsure = (Estimate.of_median(values, of_process(4, 3), sure=sure) for sure in (True, False))
    assert Estimate.weighted_sum([sure, unsure], np.array([2.0, 0.0])).interval().bounded
    both = Estimate.weighted_sum([sure, unsure], np.array([2.0, 1.0]))
    assert both.value == pytest.approx(3 * float(np.median(values)))
    assert not both.interval().bounded
    assert both.ratio().p_value == 1.0


def test_a_process_that_lacks_a_few_of_many_parts_says_what_the_others_say() -> None:
    processes = of_process(3, 2)
    rounds = [np.array([0.0, 0.0, 0.1, 0.1, 0.2, 0.2]) + part for part in range(8)]
    for part in rounds[:2]:
        part[:2] = math.nan  # both rounds of the first process
    weights = np.ones(8)
    found = Estimate.weighted_sum([Estimate.of_median(part, processes) for part in rounds], weights)
    assert found.of_processes[2] - found.of_processes[1] == pytest.approx(8 * 0.1)
    # The six that it has are 0.1 off their medians, and the medians of the two that it lacks are 0.05 higher.
    assert found.of_processes[1] - found.of_processes[0] == pytest.approx(8 * 0.1 - 2 * 0.05)
    rounds[2][:2] = math.nan  # three of eight are too many
    lacking = Estimate.weighted_sum([Estimate.of_median(part, processes) for part in rounds], weights)
    assert np.isnan(lacking.of_processes).tolist() == [True, False, False]
    rounds[0][2:] = math.nan  # and one that a single process has says nothing of how processes differ
    rounds[0][4:] = 0.2
    alone = Estimate.weighted_sum([Estimate.of_median(part, processes) for part in rounds], weights)
    assert np.isnan(alone.of_processes).all()


def test_what_is_not_sure_has_a_value_alone() -> None:
    assert median_interval([1.0, 1.1] * 6, of_process(4, 3), sure=False) == Interval(1.05, 0.0, math.inf)
    ratio = ratio_interval([2.0] * 12, [1.0] * 12, of_process(4, 3), sure=False)
    assert (ratio.value, ratio.low, ratio.high, ratio.p_value) == (pytest.approx(2), 0.0, math.inf, 1.0)


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
