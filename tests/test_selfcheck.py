"""The self-check's verdicts and its busy processes; that it holds on a machine is for `make selfcheck` to show."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from math import nan
from typing import Any

import pytest

import moe
from cheats import CHEATS
from cheats.trial import CONFIG, Outcome
from moe import selfcheck
from moe.analysis import Interval
from moe.report.sentences import disturbances
from moe.run import Run

from .synthetic import synthetic_run


def test_intervals_that_miss_the_median_are_counted() -> None:
    right, wrong = Interval(2.0, 1.9, 2.1), Interval(2.2, 2.1, 2.3)
    assert selfcheck.coverage("mojo", [right] * 8 + [wrong] * 2, 10).holds  # as right ones do once in twelve tries
    finding = selfcheck.coverage("mojo", [right] * 7 + [wrong] * 3, 10)  # once in 87
    assert not finding.holds
    assert "7 of 10 intervals hold the median of all, 2.00 ×" in finding.text
    assert not selfcheck.coverage("mojo", [right] * 7, 10).holds  # three runs without it
    unknown = Interval(2.0, nan, nan)
    assert not selfcheck.coverage("mojo", [right] * 7 + [unknown] * 3, 10).holds  # what has no ends holds nothing
    assert not selfcheck.coverage("mojo", [], 1).holds  # a layer that no run measured
    assert not selfcheck.coverage("mojo", [right] * 89 + [wrong] * 11, 100).holds


def test_a_shift_that_is_told_must_be_less_than_half_of_that_one_after_the_other() -> None:
    def withstands(in_rounds: float, one_by_one: float, wide: float = 0.01) -> bool:
        quiet, ours = (Interval(v, v * (1 - wide), v * (1 + wide)) for v in (2.0, in_rounds))
        return selfcheck.withstands(quiet, ours, one_by_one).holds

    assert withstands(2.1, 1.0)
    assert withstands(2.0, 4.0)
    assert not withstands(1.4, 1.0)
    assert not withstands(2.1, 2.05)
    assert withstands(2.02, 2.0, wide=0.03)  # not told, and none worth telling
    assert not withstands(2.02, 2.0, wide=0.2)  # noise that would hide a shift shows none
    assert withstands(2.0, 2.0)
    assert not selfcheck.withstands(Interval(2.0, 0.0, float("inf")), Interval(2.1, 2.0, 2.2), 2.0).holds


def test_that_a_machine_was_busy_is_told_by_its_turns() -> None:
    assert not disturbances(synthetic_run({"numpy": 0.02}))
    run = synthetic_run({"numpy": 0.02})
    m = run.measurements[0]
    m.capacities = [[1e9, 1e9]] * len(m.samples_s)
    m.disturbed = [True] + [False] * (len(m.samples_s) - 1)
    (line,) = disturbances(run)
    assert line.startswith("Disturbed turns: 1 of ")


def test_the_machine_is_busy_only_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    begin = subprocess.Popen

    def record(*arguments: Any, **keywords: Any) -> subprocess.Popen[bytes]:
        started.append(begin(*arguments, **keywords))
        return started[-1]

    monkeypatch.setattr(selfcheck.subprocess, "Popen", record)
    monkeypatch.setattr(selfcheck, "usable_cores", lambda: 3)
    with selfcheck.busy_after(600):
        pass
    assert started == []
    with selfcheck.busy_after(0.01) as timer:
        timer.join()
        assert [process.poll() for process in started] == [None] * 3
    assert all(process.poll() is not None for process in started)


def test_everything_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With measurements that are known: nothing shifts in rounds, and mojo is slowed down one after the other."""
    asked: list[dict[str, Any]] = []

    def measured(
        names: tuple[str, ...], config: moe.MoEConfig, threads: Sequence[int] = (1,), **settings: Any
    ) -> Run:
        asked.append({"names": names, **settings})
        slow = names == (selfcheck.SECOND,)
        run = synthetic_run({name: 0.02 if name == "mojo" and slow else 0.01 for name in names}, noise=0.001)
        if len(asked) == 5:  # the busy one
            run.measurements[0].disturbed = [True] * len(run.measurements[0].samples_s)
        if len(asked) == 10:
            run.measurements[1].status, run.measurements[1].reason = "failed", "it hides"
        return run

    monkeypatch.setattr(selfcheck, "compare", measured)
    monkeypatch.setattr(selfcheck, "availability", lambda name: (True, ""))
    monkeypatch.setattr(selfcheck, "usable_cores", lambda: 1)
    monkeypatch.setattr(selfcheck, "installed_names", lambda: ["numpy", "mojo"])
    seen_through = [Outcome(CHEATS[0], CONFIG, beaten, "failed: it cheats") for beaten in (True, False)]
    monkeypatch.setattr(selfcheck, "trials", lambda: iter(seen_through))
    findings = list(selfcheck.selfcheck(3, 10.0))
    assert [finding.holds for finding in findings] == [True] * 5 + [False, True, True, False]
    assert findings[-2].text == "believed (tokens=16, 1 thread): numpy, mojo"
    assert findings[-1].text.endswith("numpy, mojo; but mojo on 1 thread failed, it hides")
    assert findings[4].text == "RemembersAddresses (tokens=256, 1 thread): failed: it cheats"
    assert [run["budget_s"] for run in asked] == [10.0] * 5 + [5.0] * 2 + [selfcheck.BELIEVED_S] * 3
    assert [run["seed"] for run in asked[:3]] == [0, 1, 2]


def test_one_run_can_not_be_compared() -> None:
    with pytest.raises(ValueError, match="runs must be a whole number of at least 2, at most 1000, got 1"):
        list(selfcheck.selfcheck(1, 1.0))
