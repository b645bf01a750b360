"""Whether a run's machine was disturbed while it measured, and which of its rows that touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from moe.run import Measurement, Run

# The system counts time in steps of 10 ms a core, a sixth of the shortest turns'.
DISTURBED_CORES = 0.25
DISTURBED_TURNS = 0.2  # of a row's turns; fewer do not move their median
SLOW = 0.8  # of the most that probes reached
SLOW_PROBES = 0.1  # of the probes on a number of threads


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


@dataclass(frozen=True)
class Slowness:
    """Probes on a number of threads that reached far less than the most, and how many FLOP/s on average."""

    threads: int
    probes: int
    of_probes: int
    flops_per_s: float
    most: float


def by_the_machine(run: Run) -> list[Slowness]:
    """Numbers of threads on which the machine itself was slower for some of the time, whoever used it."""
    found = []
    for threads in sorted({entry["threads"] for entry in run.limits}):
        rates = [e["flops_per_s"] for e in run.limits if e["threads"] == threads and "flops_per_s" in e]
        slow = [rate for rate in rates if rate < SLOW * max(rates)]
        if len(slow) > SLOW_PROBES * len(rates):
            found.append(Slowness(threads, len(slow), len(rates), mean(slow), max(rates)))
    return found


def _disturbances(run: Run, cores: Callable[[Measurement], Sequence[float]]) -> list[Disturbance]:
    found = []
    for m in run.measurements:
        high = [value for value in cores(m) if value > DISTURBED_CORES]
        if high and len(high) > DISTURBED_TURNS * len(cores(m)):
            found.append(Disturbance(m.label, m.threads, len(high), len(cores(m)), mean(high)))
    return found
