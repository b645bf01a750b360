"""Whether a run's machine was disturbed while it measured, and which of its rows that touched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from moe.analysis.limits import rates_of
from moe.run import Measurement, Run

# The system counts time in steps of 10 ms a core, a sixth of the shortest turns'.
DISTURBED_CORES = 0.25
DISTURBED_TURNS = 0.2  # of a row's turns; fewer do not move their median
SLOW = 0.8  # of the most that probes reached
SLOW_PROBES = 0.1  # of the probes on a number of threads
SHARED = 0.7  # of as many times what one thread reaches: what two hardware threads of one core stay below


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


@dataclass(frozen=True)
class Disturbed:
    """Turns of a measurement in which the machine fell short of its capacity, by the probes before and after them."""

    label: str
    threads: int
    turns: int
    of_turns: int


def by_disturbance(run: Run) -> list[Disturbed]:
    """Rows some of whose turns were disturbed."""
    return [_disturbed(m) for m in run.measurements if any(m.disturbed)]


def too_disturbed(run: Run) -> list[Disturbed]:
    """Rows of which too few turns were undisturbed for an interval."""
    return [_disturbed(m) for m in run.measurements if m.is_disturbed and m.status == "ok"]


def _disturbed(m: Measurement) -> Disturbed:
    return Disturbed(m.label, m.threads, sum(m.disturbed), len(m.samples_s))


def shared_cores(run: Run) -> list[int]:
    """Numbers of threads that the machine seems to run on fewer cores: then nothing looks disturbed.

    On them the best probe reached less than SHARED times as many of what the best one reached on one thread.
    """
    best = {threads: max(rates_of(run, threads), default=0.0) for threads in sorted(_thread_counts(run))}
    one = best.get(1, 0.0)
    return [threads for threads, most in best.items() if threads > 1 and 0 < most < SHARED * threads * one]


def _thread_counts(run: Run) -> set[int]:
    return {entry["threads"] for entry in run.limits} | {m.probed_threads for m in run.measurements}


def _disturbances(run: Run, cores: Callable[[Measurement], Sequence[float]]) -> list[Disturbance]:
    found = []
    for m in run.measurements:
        high = [value for value in cores(m) if value > DISTURBED_CORES]
        if high and len(high) > DISTURBED_TURNS * len(cores(m)):
            found.append(Disturbance(m.label, m.threads, len(high), len(cores(m)), mean(high)))
    return found
