"""Whether something else ran while a run was measured, and which of its rows that touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from moe.run import Measurement, Run

# The system counts time in steps of 10 ms a core, a sixth of the shortest turns'.
DISTURBED_CORES = 0.25
DISTURBED_TURNS = 0.2  # of a row's turns; fewer do not move their median


@dataclass(frozen=True)
class Disturbance:
    """Turns of a measurement in which others took `cores` cores' worth of time on average."""

    label: str
    threads: int
    turns: int
    of_turns: int
    cores: float


def by_others(run: Run) -> list[Disturbance]:
    """Rows that shared the machine with other processes."""
    return _disturbances(run, lambda m: m.others_cores)


def by_hypervisor(run: Run) -> list[Disturbance]:
    """Rows from which a hypervisor took time for other systems."""
    return _disturbances(run, lambda m: m.stolen_cores)


def _disturbances(run: Run, cores: Callable[[Measurement], Sequence[float]]) -> list[Disturbance]:
    found = []
    for m in run.measurements:
        high = [value for value in cores(m) if value > DISTURBED_CORES]
        if high and len(high) > DISTURBED_TURNS * len(cores(m)):
            found.append(Disturbance(m.label, m.threads, len(high), len(cores(m)), mean(high)))
    return found
