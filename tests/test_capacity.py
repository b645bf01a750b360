"""Probes before and after turns: what is disturbed, what is waited for, and what is repeated."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest

from moe.measure import capacity as capacity_module
from moe.measure.capacity import AWAKE, LASTS_S, Capacity, Look, is_crowded, is_huddled, mark_disturbed
from moe.measure.child import WorkerFailedError
from moe.measure.conditions import Elsewhere

from .synthetic import synthetic_run


class Probe:
    """A probe that gives what it is told to, and 100 when it is told no more."""

    def __init__(self, *rates: float) -> None:
        self.rates = deque(rates)
        self.waits: deque[float] = deque()
        self.asked = 0
        self.held = False

    def hold(self) -> None:
        self.held = True

    def ask(self, operation: str, **_: Any) -> dict[str, float | None]:
        assert operation == "capacity"
        self.asked += 1
        self.held = False
        rate = self.rates.popleft() if self.rates else 100.0
        return {"flops_per_s": rate, "waited": self.waits.popleft() if self.waits else None}


class Dead(Probe):
    def ask(self, operation: str, **_: Any) -> dict[str, float | None]:
        raise WorkerFailedError("gone")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_module, "watched_cores", lambda: 2)
    monkeypatch.setattr(capacity_module, "usable_cores", lambda: 2)


def capacity(probe: Any) -> Capacity:
    return Capacity({2: probe})


def test_enough_is_near_what_the_run_s_probes_reach() -> None:
    seen = capacity(Probe())
    assert seen.enough(2, 86.0, 100.0)
    assert not seen.enough(2, 84.0, 100.0)
    assert not seen.enough(2, 100.0, 84.0)
    assert seen.enough(2, None)


def test_a_machine_that_is_slow_most_of_the_time_is_known_by_its_best() -> None:
    seen = capacity(Probe())
    seen.note(2, *[50.0] * 40)
    assert not seen.enough(2, 50.0)


def test_a_turn_waits_for_the_capacity_and_no_longer() -> None:
    probe = Probe(*[100.0] * 10, *[50.0] * 2 * AWAKE, 95.0)
    seen = capacity(probe)
    assert seen.wait(2, 60.0) == Look(True, 95.0)
    assert not probe.rates
    probe.rates.extend([50.0] * AWAKE + [95.0])
    assert seen.wait(2, 0.0) == Look(False, 50.0)
    assert list(probe.rates) == [95.0]


def test_a_probe_is_held_still_as_long_as_a_turn_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_module, "LINUX", True)
    probe = Probe()
    seen = capacity(probe)
    for look in (lambda: seen.wait(2, 0.0), lambda: seen.after(2), lambda: seen.beside(2)):
        probe.held = False
        look()
        assert probe.held


def test_what_a_turn_left_holds_for_the_next_one_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(capacity_module.time, "monotonic", lambda: now[0])
    one, two = Probe(), Probe()
    seen = Capacity({1: one, 2: two})
    monkeypatch.setattr(seen, "_sees_others", lambda threads: False)

    def asks(probe: Probe, *, look: bool = False) -> float | None:
        """What the next turn begins with, where that is not what was known."""
        before = probe.asked
        reached = seen.wait(2 if probe is two else 1, 0.0, look=look).reached
        return reached if probe.asked > before else None

    two.rates.append(99.0)
    assert seen.after(2) == 99.0
    now[0] += 0.9 * LASTS_S
    assert seen.wait(2, 0.0) == Look(True, 99.0)
    assert asks(two) is None
    assert asks(two, look=True) == 100.0, "it does not say that nobody else is there"
    assert asks(one) == 100.0, "on another number of threads"
    now[0] += 0.2 * LASTS_S
    assert asks(two) == 100.0, "too long ago"
    assert seen.after(2) == 100.0
    assert asks(two) is None
    assert seen.after(1) == 100.0
    assert asks(two) == 100.0, "another turn has ended since"
    two.rates.extend([50.0] * AWAKE)
    assert seen.after(2) == 50.0
    assert asks(two) == 100.0, "it was too little"


def test_beside_a_turn_cores_get_time_to_wake_up() -> None:
    probe = Probe(*[100.0] * 10, 50.0, 96.0)
    seen = capacity(probe)
    assert seen.beside(2) == 96.0
    probe.rates.extend([50.0] * AWAKE)
    asked = probe.asked
    assert seen.beside(2) == 50.0
    assert probe.asked == asked + AWAKE


def test_a_probe_that_waited_for_others_says_nothing_of_the_machine() -> None:
    probe = Probe()
    seen = capacity(probe)
    probe.rates.extend([50.0, 60.0, 99.0])
    probe.waits.extend([0.5, 0.5])
    assert seen.wait(2, 60.0) == Look(True, 99.0)
    assert not probe.rates
    probe.rates.extend([50.0, 60.0])
    probe.waits.extend([0.5, 0.0])
    assert seen.beside(2) == 100.0
    probe.waits.extend([0.5] * AWAKE)
    assert seen.beside(2) is None
    assert seen.enough(2, 100.0, None)
    probe.rates.extend([50.0, 99.0, 98.0])
    probe.waits.extend([0.0, 0.5])
    assert seen.beside(2) == 98.0, "the first only woke a core"


def test_more_threads_than_cores_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capacity_module, "watched_cores", lambda: 1)
    probe = Probe()
    seen = capacity(probe)
    probe.waits.append(0.5)
    assert seen.now(2) == 100.0
    assert not is_crowded(2, Elsewhere(0.1, 0.0, 0.5))
    assert is_crowded(2, Elsewhere(0.2, 0.0, 0.0))


def test_threads_are_huddled_where_one_waits_and_others_leave_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting = Elsewhere(0.3, 0.0, 0.4)
    assert is_huddled(2, waiting)
    assert not is_huddled(2, Elsewhere(0.9, 0.0, 0.4)), "others hold one of the two"
    assert not is_huddled(2, Elsewhere(0.0, 0.0, 0.1))
    assert not is_huddled(2, Elsewhere(0.0, 0.0, None)), "where nobody counts"
    assert not is_huddled(1, waiting)
    assert not is_huddled(3, waiting), "of more threads than cores some must wait"
    monkeypatch.setattr(capacity_module, "watched_cores", lambda: 4)
    assert is_huddled(2, Elsewhere(1.9, 0.0, 0.4)), "two others leave two of four"
    monkeypatch.setattr(capacity_module, "usable_cores", lambda: 1)
    assert not is_huddled(2, waiting), "a quota makes threads wait"


def test_where_others_were_seen_a_turn_waits_until_they_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, looks = capacity(Probe()), deque([True, True, False])
    monkeypatch.setattr(seen, "_sees_others", lambda _: looks.popleft())
    assert seen.wait(2, 0.0, look=True) == Look(False, 100.0)
    assert seen.wait(2, 60.0, look=True) == Look(True, 100.0)
    assert not looks
    assert seen.wait(2, 60.0).ready  # and does not look where there is no reason


def test_a_probe_that_has_died_is_asked_no_more() -> None:
    probes: dict[int, Any] = {2: Probe()}
    seen = Capacity(probes)
    probes[2] = Dead()
    assert seen.now(2) is None
    assert 2 not in probes


@pytest.mark.parametrize("probes", [{}, {2: Dead()}])
def test_without_a_probe_nothing_is_disturbed(probes: dict[int, Any]) -> None:
    seen = Capacity(probes)
    assert seen.now(2) is None
    assert seen.beside(2) is None
    assert seen.wait(2, 60.0, look=True) == Look(True, None)
    assert seen.enough(2, None, None)


def test_turns_are_marked_anew_by_all_of_a_run_s_probes() -> None:
    run = synthetic_run({"numpy": 1.0, "mojo": 1.0}, (1, 2))
    for m in run.measurements:
        m.capacities = [[100.0 * m.threads] * 2 for _ in m.samples_s]
        m.disturbed = [True] * len(m.samples_s)
    one = next(m for m in run.measurements if (m.label, m.threads) == ("mojo", 2))
    one.capacities[:3] = [[200.0, 160.0], [160.0, 200.0], None]
    mark_disturbed(run)
    assert one.disturbed == [True, True] + [False] * (len(one.samples_s) - 2)
    assert not any(any(m.disturbed) for m in run.measurements if m is not one)


def test_turns_in_which_others_used_more_than_was_free_are_marked() -> None:
    """On a machine of two cores one thread leaves one free."""
    run = synthetic_run({"numpy": 1.0, "mojo": 1.0}, (1, 2))
    for m in run.measurements:
        m.capacities = [[1.0, 1.0] for _ in m.samples_s]
        m.others_cores[:4] = [0.1, 0.5, 1.1, 1.5]
    for m in run.measurements:
        m.stolen_cores[4] = 1.4
    mark_disturbed(run)
    for m in run.measurements:
        expected = [False, m.threads == 2, m.threads == 2, True, True]
        assert m.disturbed == expected + [False] * (len(m.samples_s) - 5)


def test_turns_in_which_a_thread_waited_for_others_are_marked() -> None:
    """Not where none waited, however much others used, and not where it was for the worker's own threads."""
    run = synthetic_run({"numpy": 1.0, "mojo": 1.0}, (1, 2))
    for m in run.measurements:
        m.capacities = [[1.0, 1.0] for _ in m.samples_s]
        m.waited[:4] = [0.5, 0.5, 0.1, 0.0]
        m.others_cores[:4] = [0.3, 0.0, 1.5, 1.5]
    mark_disturbed(run)
    for m in run.measurements:
        assert m.disturbed == [True] + [False] * (len(m.samples_s) - 1)
