"""How many rounds each process gets."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from types import SimpleNamespace
from typing import Any

import pytest

from moe.analysis import Interval, Row
from moe.measure import schedule
from moe.measure.protocol import Protocol
from moe.measure.schedule import ROUNDS_OF_A_PROCESS, _affordable, is_lacking, until_budget


@pytest.mark.parametrize(
    ("ready_s", "round_s", "share_s", "rounds"),
    [
        (4, 2, 16, 6),  # as many as fit
        (4, 14, 16, 2),  # two at least, where that does not take twice as long
        (4, 15, 16, 1),
        (4, 100, 16, 1),  # one in any case
        (0, 1e-9, 16, ROUNDS_OF_A_PROCESS),
    ],
)
def test_a_process_makes_as_many_rounds_as_fit(ready_s: float, round_s: float, share_s: float, rounds: int) -> None:
    assert _affordable(Protocol(), ready_s, round_s, share_s) == rounds


def test_with_a_target_rounds_last_as_long_as_starting() -> None:
    assert _affordable(Protocol(target=0.01), 4, 1, 100) == 4
    assert _affordable(Protocol(target=0.01), 4, 8, 100) == 2


@pytest.mark.parametrize(
    ("generations", "rounds", "lacking"),
    [(4, 2, True), (5, 2, False), (5, 3, False), (5, 1, True), (9, 1, True), (10, 1, False)],
)
def test_more_generations_make_up_for_rounds_that_a_busy_machine_took(
    generations: int, rounds: int, lacking: bool
) -> None:
    assert is_lacking(Protocol(processes=5), generations, rounds) == lacking


def test_what_was_asked_for_is_enough_with_a_target_and_in_one_process() -> None:
    assert not is_lacking(Protocol(processes=5, target=0.01), 5, 1)
    assert not is_lacking(Protocol(processes=1), 1, 1)


class Pretended:
    """A bench whose generations only pass time."""

    def __init__(self, settings: Protocol, measurements: Sequence[Any] = ()) -> None:
        self.settings, self.patience, self.seconds = settings, self, 0.0
        self.run = SimpleNamespace(measurements=measurements)
        self.alive: dict[int, Any] = dict(enumerate(measurements)) or {0: None}

    @property
    def left_s(self) -> float:
        return self.settings.budget_s - self.seconds

    def now(self) -> float:
        return self.seconds


def generations_of(bench: Pretended, each_s: float, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What is measured in each of the processes that a budget is spent on, of which each takes as long."""
    made: list[list[int]] = []

    def generation(bench: Pretended, process: int, rounds: int, left: int) -> int:
        assert process == len(made)
        made.append(sorted(bench.alive))
        bench.seconds += each_s
        return 2

    monkeypatch.setattr(schedule, "_generation", generation)
    until_budget(bench)
    return made


@pytest.mark.parametrize(("each_s", "processes"), [(20.0, 5), (30.0, 3), (34.0, 3), (50.0, 3)])
def test_what_is_left_of_a_budget_goes_to_more_processes(
    each_s: float, processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_uncertain", lambda bench: set())
    bench = Pretended(Protocol(budget_s=100.0, processes=3))
    assert generations_of(bench, each_s, monkeypatch) == [[0]] * processes


def row_of(low: float, high: float, **measurement: Any) -> Row:
    """A row of the layer on one thread, by its interval of latency."""
    given = {"config": "the layer", "threads": 1, "device": "cpu", "control": False, "processes": [], "rounds": []}
    m: Any = SimpleNamespace(**{**given, "disturbed": [False] * 4, **measurement})
    latency = Interval((low + min(high, 3)) / 2, low, high)
    return Row(m, latency, latency.inverse(1.0))


OURS, NEXT, ALMOST, SLOWER, CONTROL = range(5)
ALL = [OURS, NEXT, ALMOST, SLOWER, CONTROL]
FAST = [OURS, NEXT, ALMOST, CONTROL]
TWO = [OURS, NEXT, CONTROL]


@pytest.mark.parametrize(
    ("half", "settings", "further"),
    [
        (0.08, {}, []),
        (0.12, {}, [FAST] * 5),  # of 20 s each in 200
        (inf, {}, [FAST] * 5),
        (0.12, {"ours": (4.0, 5.0)}, [FAST] * 5),  # also where the kernel is behind by far
        (0.12, {"target": 0.01}, []),  # who names a target has said what is enough
        (inf, {"processes": 1}, []),  # so has who wants a single process, which gives no interval
        (0.12, {"disturbed": 3}, []),  # of 20 turns: more of them would tell little more
        (0.12, {"disturbed": 2}, [FAST] * 5),
        (0.12, {"lead_at": "another"}, []),  # a lead on a layer that is measured beside the run's own
        (0.12, {"almost": {"config": "another"}}, [TWO] * 5),
        (0.12, {"almost": {"threads": 2}}, [TWO] * 5),  # where the lead is known, or there is none
        (0.12, {"almost": {"device": "cuda"}}, [TWO] * 5),
        (0.12, {"gone": OURS}, []),  # it has failed since: nobody can say more of the lead
        (0.12, {"gone": NEXT}, []),
        (0.12, {"gone": ALMOST}, [TWO] * 5),
        (0.08, {"slower": inf}, [ALL] * 5),  # some row has no interval
        (0.12, {"slower": inf, "disturbed": 20}, [ALL] * 5),
    ],
)
def test_what_is_uncertain_gets_more_than_the_budget(
    half: float, settings: dict[str, Any], further: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the width of its interval alone: the lead is none here."""
    disturbed = [place < settings.get("disturbed", 0) for place in range(4)]
    rows = [
        row_of(*settings.get("ours", (0.9, 1.1)), config=settings.get("lead_at", "the layer"), disturbed=disturbed),
        row_of(0.9, 1.5),
        row_of(1.5, 1.7, **settings.get("almost", {})),
        row_of(1.6, settings.get("slower", 1.8)),
        row_of(1.0, 1.4, control=True, disturbed=[False] * 4 if settings.get("disturbed", 0) < 20 else [True] * 4),
    ]
    bench = pretended(rows, half, monkeypatch, **settings)
    gone = settings.get("gone")
    bench.alive.pop(gone, None)
    alive = [number for number in ALL if number != gone]
    assert generations_of(bench, 20.0, monkeypatch) == [alive] * 5 + further


def pretended(rows: list[Row], half: float, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Pretended:
    """A bench of these rows, of which the first leads the second by about nothing."""
    lead = SimpleNamespace(ratio=Interval(1.0, 1 - min(half, 1), 1 + half), mojo=rows[OURS], other=rows[NEXT])
    summary = SimpleNamespace(ahead={1: lead}, every=rows, measured=rows)
    monkeypatch.setattr(schedule, "summarise", lambda run: summary)
    monkeypatch.setattr(schedule, "mark_disturbed", lambda run: None)
    asked = {"processes": settings.get("processes", 3), "target": settings.get("target")}
    return Pretended(Protocol(budget_s=100.0, **asked), [row.measurement for row in rows])


def test_what_was_set_aside_comes_back_where_it_lost_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row_of(0.9, 1.1), row_of(0.9, 1.5), row_of(1.6, 1.8), row_of(1.6, 1.8), row_of(1.0, 1.4, control=True)]
    bench = pretended(rows, 0.12, monkeypatch)
    made = [ALL] * 5 + [TWO] * 2 + [ALL] * 3

    def marked(run: Any) -> None:
        """What probes find in the seventh process has the turns of earlier ones disturbed."""
        if bench.seconds > 6.5 * 20.0:
            rows[SLOWER] = row_of(1.6, inf)

    monkeypatch.setattr(schedule, "mark_disturbed", marked)
    assert generations_of(bench, 20.0, monkeypatch) == made
