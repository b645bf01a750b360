"""What threads waited for a core: counted by the system, and said to be unknown where it can't be known."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from moe.measure.waiting import Thread, share_waited, threads_of


def test_the_thread_that_waited_longest_counts() -> None:
    before = {"1": Thread(5.0, 1.0), "2": Thread(3.0, 2.0)}
    after = {"1": Thread(5.9, 1.1), "2": Thread(3.6, 2.4)}
    assert share_waited(before, after, used_s=1.5, seconds=1.0) == pytest.approx(0.4)


def test_a_thread_that_was_not_there_before_counts_from_its_start() -> None:
    after = {"1": Thread(5.5, 1.0), "9": Thread(0.5, 0.3)}
    assert share_waited({"1": Thread(5.0, 1.0)}, after, used_s=1.0, seconds=1.0) == pytest.approx(0.3)


def test_where_threads_came_and_went_their_waiting_is_unknown() -> None:
    before, after = {"1": Thread(5.0, 1.0)}, {"1": Thread(5.5, 1.0)}
    assert share_waited(before, after, used_s=0.5, seconds=0.5) == 0.0
    assert share_waited(before, after, used_s=1.0, seconds=0.5) is None


def test_where_the_system_does_not_count_it_is_unknown() -> None:
    assert share_waited({}, {}, used_s=0.0, seconds=1.0) is None


def test_threads_of_a_process_are_found_where_the_system_counts() -> None:
    counted = Path("/proc/self/schedstat").exists()
    assert (str(threading.get_native_id()) in threads_of(os.getpid())) == counted


def test_a_process_that_is_gone_has_no_threads() -> None:
    assert threads_of(2**22 + 1) == {}  # more than Linux numbers
