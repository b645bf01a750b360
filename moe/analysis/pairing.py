"""Rounds that belong together: what slowed the machine in one of them slowed all of its measurements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from moe.run import Measurement


def common_rounds(measured: Sequence[Measurement]) -> tuple[list[list[float]], list[int]]:
    """Seconds of each measurement in the rounds that all of them had, and the rounds' processes.

    A run that was cut short has given some variants one round more than others.
    """
    rounds = [_by_place(m) for m in measured]
    common = [place for place in rounds[0] if all(place in other for other in rounds)]
    return [[own[place] for place in common] for own in rounds], [process for process, _ in common]


def _by_place(m: Measurement) -> dict[tuple[int, int], float]:
    """Rounds by their process and by their place among its rounds."""
    places = Counter[int]()
    rounds = {}
    for process, seconds in zip(m.processes, m.rounds_s, strict=True):
        rounds[process, places[process]] = seconds
        places[process] += 1
    return rounds
