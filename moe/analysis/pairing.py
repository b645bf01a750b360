"""Rounds that belong together: what slowed the machine in one of them slowed all of its measurements."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moe.analysis.statistics import Estimate, Interval, median_interval
from moe.run import Measurement, Place


class Grid(NamedTuple):
    """Measurements side by side in every round that any of them had.

    seconds is (measurements, rounds), NaN where one lacks the round; processes has each round's process; sure says of
    each measurement whether its turns were undisturbed, without which it has no interval.
    """

    seconds: NDArray[np.float64]
    processes: list[int]
    sure: list[bool]

    def medians(self, values: NDArray[np.float64]) -> list[Estimate]:
        """The median of each measurement's `values`, which are made from its seconds."""
        return [
            Estimate.of_median(own, self.processes, sure=sure) for own, sure in zip(values, self.sure, strict=True)
        ]


def grid(measured: Sequence[Measurement], *, same_rounds: bool = True) -> Grid:
    """Measurements by process and round; raises ValueError where one has no rounds.

    Of measurements that did not run in the `same_rounds`, as the cells of a sweep, the first rounds in a process
    stand together, the second ones, and so on.
    """
    values = [m.values_s if same_rounds else _counted(m.values_s) for m in measured]
    if lacking := [m.label for m, own in zip(measured, values, strict=True) if not own]:
        raise ValueError(f"no rounds of {', '.join(lacking)}")
    places = sorted({place for own in values for place in own})
    seconds = np.array([[own.get(place, np.nan) for place in places] for own in values])
    return Grid(seconds, [process for process, _ in places], [not m.is_disturbed for m in measured])


def latency_of(m: Measurement) -> Interval:
    """Seconds of a forward: the median of its rounds."""
    values = m.values_s
    return median_interval(list(values.values()), [process for process, _ in values], sure=not m.is_disturbed)


def forwards_of(m: Measurement) -> list[tuple[int, float]]:
    """The process and seconds of every single forward in the turns that its values are made from."""
    return [(process, seconds) for (process, _), turn in m.counted for seconds in turn]


def _counted(values: Mapping[Place, float]) -> dict[Place, float]:
    """Rounds numbered from 0 in each process."""
    counted = Counter[int]()
    found = {}
    for process, number in sorted(values):
        found[process, counted[process]] = values[process, number]
        counted[process] += 1
    return found
