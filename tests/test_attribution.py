"""Attribution against synthetic times whose factors are known."""

from __future__ import annotations

from math import log, prod

import numpy as np
import pytest

from moe.analysis.attribution import Attribution, attribute, chain
from moe.analysis.pairing import Grid
from moe.analysis.statistics import holm

PROCESSES, ROUNDS = 6, 8
OF_PROCESS = [p for p in range(PROCESSES) for _ in range(ROUNDS)]
NAMES = ("batch", "simd", "tile")


def synthetic(times: tuple[float, ...], together: float = 1.0, noise: float = 0.0, seed: int = 1) -> Grid:
    """Rounds of all combinations: factor i is `times[i]`, the first two together are `together` times as much."""
    random = np.random.default_rng(seed)
    drift = np.cumsum(random.normal(0, 0.1, len(OF_PROCESS)))
    found = []
    for combination in range(2 ** len(times)):
        gain = prod(value for i, value in enumerate(times) if combination >> i & 1)
        gain *= together if combination & 3 == 3 else 1.0
        offset = np.repeat(random.normal(0, noise, PROCESSES), ROUNDS)
        found.append(np.exp(drift + offset + random.normal(0, noise, len(OF_PROCESS))) / gain)
    return Grid(np.array(found), OF_PROCESS, [True] * len(found))


def split(measured: Grid) -> Attribution:
    return attribute(NAMES[: len(measured.seconds).bit_length() - 1], measured)


def test_factors_that_do_not_depend_on_each_other_come_back() -> None:
    found = split(synthetic((2.0, 8.0, 1.0)))
    assert found.total.value == pytest.approx(16)
    assert [f.times.value for f in found.factors] == pytest.approx([2, 8, 1])
    assert [f.share.value for f in found.factors if f.share] == pytest.approx([0.25, 0.75, 0.0])
    for factor, expected in zip(found.factors, (2, 8, 1), strict=True):
        assert (factor.least, factor.most) == pytest.approx((expected, expected))
    assert [i.times.value for i in found.interactions] == pytest.approx([1, 1, 1])


def test_what_two_give_only_together_is_split_between_them_and_named() -> None:
    found = split(synthetic((2.0, 2.0, 3.0), together=4.0, noise=0.01, seed=2))
    batch, simd, tile = found.factors
    assert batch.times.value == pytest.approx(4, rel=0.03)
    assert simd.times.value == pytest.approx(4, rel=0.03)
    assert tile.times.value == pytest.approx(3, rel=0.03)
    assert (batch.least, batch.most) == pytest.approx((2, 8), rel=0.05)
    assert {i.factors for i in found.interactions if i.resolved} == {("batch", "simd")}
    assert found.interactions[0].times.value == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_values_multiply_to_the_total(noise: float) -> None:
    found = split(synthetic((1.5, 7.0, 0.8), together=1.7, noise=noise))
    assert sum(log(f.times.value) for f in found.factors) == pytest.approx(log(found.total.value), rel=1e-12)
    assert sum(f.share.value for f in found.factors if f.share) == pytest.approx(1)


def test_intervals_cover_the_truth_and_a_factor_that_does_nothing_is_not_told_from_1() -> None:
    covered = {"total": 0, "batch": 0, "nothing": 0, "share": 0}
    runs = 200
    for seed in range(runs):
        found = split(synthetic((1.2, 5.0, 1.0), noise=0.02, seed=seed))
        batch, simd, nothing = found.factors
        assert simd.share is not None
        covered["total"] += not found.total.excludes(6.0)
        covered["batch"] += not batch.times.excludes(1.2)
        covered["nothing"] += not nothing.times.excludes(1.0)
        covered["share"] += not simd.share.excludes(log(5) / log(6))
    assert min(covered.values()) >= 0.93 * runs


def test_where_nothing_gives_anything_there_are_no_shares() -> None:
    assert [f.share for f in split(synthetic((1.0, 1.0, 1.0))).factors] == [None] * 3


def test_a_factor_is_resolved_by_holm_over_factors_and_whole_and_by_its_own_interval() -> None:
    """In some of these runs one by itself would call the factor that does nothing a difference."""
    seemed = 0
    for seed in range(100):
        found = split(synthetic((1.0, 1.03, 1.5), noise=0.03, seed=seed))
        ratios = [found.total, *(factor.times for factor in found.factors)]
        rejected = holm([ratio.p_value for ratio in ratios])
        resolved = [found.resolved, *(factor.resolved for factor in found.factors)]
        assert resolved == [r and ratio.excludes(1.0) for r, ratio in zip(rejected, ratios, strict=True)]
        seemed += found.factors[0].times.excludes(1.0) and not found.factors[0].resolved
    assert seemed


def test_a_round_that_only_some_have_is_no_faster_for_that() -> None:
    """In a slow round all but the two slowest are missing: beside the others, these are no slower than before."""
    measured = synthetic((2.0, 8.0, 1.0))
    measured.seconds[:, 5] *= 3
    measured.seconds[2:, 5] = np.nan
    measured.seconds[0, 11] = np.nan
    found = split(measured)
    assert found.total.value == pytest.approx(16)
    assert (found.total.low, found.total.high) == pytest.approx((16, 16))


def test_a_chains_links_are_resolved_together() -> None:
    measured = synthetic((1.5, 1.0), noise=0.01)
    links = chain(measured)
    assert [link.resolved for link in links] == [True, True, True]
    assert [link.so_far_resolved for link in links] == [True, False, True]
    assert prod(link.times.value for link in links) == pytest.approx(links[-1].so_far.value)
    measured.sure[2] = False
    assert [link.times.bounded for link in chain(measured)] == [True, False, False]
    assert [link.so_far_resolved for link in chain(measured)] == [True, False, True]


def test_one_factor_is_the_whole() -> None:
    found = split(synthetic((3.0,)))
    assert found.factors[0].times.value == pytest.approx(3)
    assert found.interactions == ()


def test_every_combination_must_be_there() -> None:
    measured = synthetic((2.0, 2.0))
    with pytest.raises(ValueError, match="3 factors have 8 combinations, not 4"):
        attribute(NAMES, measured)
