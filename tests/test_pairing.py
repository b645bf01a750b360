from __future__ import annotations

import numpy as np
import pytest

from moe.analysis.pairing import forwards_of, grid, latency_of
from moe.run import Measurement

from .synthetic import synthetic_run

NAN = np.nan


def two() -> list[Measurement]:
    first, second, _ = synthetic_run({"numpy": 1.0, "mojo": 1.0}).measurements
    first.processes, first.rounds = [0, 0, 1, 1], [0, 1, 10, 11]
    first.samples_s = [[1.0], [2.0], [3.0], [4.0, 5.0, 6.0]]
    second.processes, second.rounds = [1, 0, 2], [11, 1, 20]
    second.samples_s = [[10.0], [20.0], [30.0]]
    return [first, second]


def test_a_grid_has_every_round_that_any_has() -> None:
    found = grid(two())
    expected = [[1, 2, 3, 5, NAN], [NAN, 20, NAN, 10, 30]]
    np.testing.assert_array_equal(found.seconds, expected)
    assert (found.processes, found.sure) == ([0, 0, 1, 1, 2], [True, True])


def test_rounds_that_are_not_the_same_stand_together_by_their_order_in_a_process() -> None:
    found = grid(two(), same_rounds=False)
    np.testing.assert_array_equal(found.seconds, [[1, 2, 3, 5, NAN], [20, NAN, 10, NAN, 30]])
    assert found.processes == [0, 0, 1, 1, 2]


def test_a_disturbed_turn_is_a_gap_and_a_disturbed_row_is_not_sure() -> None:
    first, second = two()
    first.disturbed = [False, True, False, False]
    second.disturbed = [True, False, False]
    found = grid([first, second])
    np.testing.assert_array_equal(found.seconds, [[1, NAN, 3, 5, NAN], [NAN, 20, NAN, 10, 30]])
    assert found.sure == [True, False]
    assert forwards_of(first) == [(0, 1.0), (1, 3.0), (1, 4.0), (1, 5.0), (1, 6.0)]
    assert [seconds for _, seconds in forwards_of(second)] == [10.0, 20.0, 30.0]
    assert latency_of(second).value == 20.0


def test_what_has_no_rounds_is_named() -> None:
    first, second = two()
    second.samples_s, second.processes, second.rounds = [], [], []
    with pytest.raises(ValueError, match="no rounds of mojo"):
        grid([first, second])
