"""Whether a run's machine was disturbed while it measured, and which of its rows that touched."""

from collections.abc import Callable, Sequence

from moe.analysis.limits import rates_of
from moe.run import Measurement, Run

# The system counts time in steps of 10 ms a core, a sixth of the shortest turns'.
DISTURBED_CORES = 0.25
DISTURBED_TURNS = 0.2  # of a row's turns; fewer do not move their median
SLOW = 0.8  # of the most that probes reached
SLOW_PROBES = 0.1  # of the probes on a number of threads
SHARED = 0.7  # of as many times what one thread reaches: what two hardware threads of one core stay below


def taken(run: Run, cores: Callable[[Measurement], Sequence[float]]) -> list[tuple[Measurement, list[float]]]:
    """Rows from more than a few of whose turns others took time, each with how many `cores`' worth, turn by turn."""
    found = []
    for m in run.measurements:
        high = [value for value in cores(m) if value > DISTURBED_CORES]
        if len(high) > DISTURBED_TURNS * len(cores(m)):
            found.append((m, high))
    return found


def slow_probes(run: Run) -> dict[int, tuple[list[float], list[float]]]:
    """FLOP/s of slow and of all probes, by the numbers of threads on which the machine was slower at times."""
    found = {}
    for threads in sorted({entry["threads"] for entry in run.limits}):
        rates = [e["flops_per_s"] for e in run.limits if e["threads"] == threads and "flops_per_s" in e]
        slow = [rate for rate in rates if rate < SLOW * max(rates)]
        if len(slow) > SLOW_PROBES * len(rates):
            found[threads] = slow, rates
    return found


def shared_cores(run: Run) -> list[int]:
    """Numbers of threads that the machine seems to run on fewer cores: then nothing looks disturbed.

    On them the best probe reached less than SHARED times as many of what the best one reached on one thread.
    """
    counts = {entry["threads"] for entry in run.limits} | {m.probed_threads for m in run.measurements}
    best = {threads: max(rates_of(run, threads), default=0.0) for threads in sorted(counts)}
    one = best.get(1, 0.0)
    return [threads for threads, most in best.items() if threads > 1 and 0 < most < SHARED * threads * one]
