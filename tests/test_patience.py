"""Turns that the machine is not ready for: others go first, then they wait, and there is an end to it."""

from __future__ import annotations

from typing import Any

from moe.measure.capacity import Look
from moe.measure.patience import LOOKS, PUT_OFF, WAIT_S, Patience

from .synthetic import synthetic_run


class Busy:
    """A machine that never has its capacity; it notes how it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float, bool]] = []

    def wait(self, threads: int, most_s: float, *, look: bool) -> Look:
        self.asked.append((threads, most_s, look))
        return Look(False, 0.5)

    def beside(self, threads: int) -> float:
        return 0.25 * threads


def two_threads() -> Any:
    return next(m for m in synthetic_run({"numpy": 1.0}, (1, 2)).measurements if m.threads == 2)


def test_others_go_first_some_times_then_it_waits_and_then_it_is_taken() -> None:
    patience = Patience()
    machine: Any = Busy()
    looks = [patience.look(two_threads(), put_off, machine) for put_off in range(PUT_OFF + 2)]
    assert looks == [Look(False, 0.5)] * (PUT_OFF + 1) + [Look(True, 0.5)]
    assert machine.asked == [(2, 0.0, False)] * PUT_OFF + [(2, WAIT_S, False)]


def test_nothing_waits_once_a_run_has_lost_what_it_may() -> None:
    patience = Patience()
    machine: Any = Busy()
    patience.lost_s = patience.most_s = 1.0
    looks = [patience.look(two_threads(), put_off, machine) for put_off in range(PUT_OFF + 1)]
    assert [look.ready for look in looks] == [False] * PUT_OFF + [True]
    assert machine.asked == [(2, 0.0, False)] * PUT_OFF


def test_only_turns_on_several_threads_look_for_others_and_only_after_two_of_them_met_some() -> None:
    patience = Patience()
    machine: Any = Busy()
    one = next(m for m in synthetic_run({"numpy": 1.0}, (1, 2)).measurements if m.threads == 1)
    patience.note(crowded=True)
    patience.look(two_threads(), 0, machine)
    patience.note(crowded=False)
    patience.note(crowded=True)
    patience.look(one, 0, machine)
    patience.look(two_threads(), 0, machine)
    for _ in range(LOOKS):
        patience.note(crowded=False)
    patience.look(two_threads(), 0, machine)
    assert machine.asked == [(2, 0.0, False), (1, 0.0, False), (2, 0.0, True), (2, 0.0, False)]
