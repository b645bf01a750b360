"""What the machine reaches right now on as many threads as a turn has, and whether that is what it should.

A host that puts two virtual cores on one halves what a turn can do; processor time and load don't show it, arithmetic
does. Somebody else's work halves it too, and lets a brief probe go first: processor time shows that. Neither looks at
the time of what is measured.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import MutableMapping
from math import inf

import numpy as np

from moe.measure.child import Child, WorkerFailedError
from moe.measure.conditions import Elsewhere, Watch, watched_cores
from moe.run import Run

LEAST = 0.85  # of the capacity, before and after a turn
EXPECTED = 90  # percentile of a run's probes: their maximum would be luck
CROWDED = 0.15  # of a core, beyond those that a turn leaves free: what others may use meanwhile
FIRST = 10  # probes before anything is measured
LOOK_S = 0.06  # at who uses the cores, where others were seen to: the system counts in steps of 10 ms
AWAKE = 3  # probes after a turn, of which the best counts: the first wakes cores that the turn left idle
TIMEOUT_S = 60.0


class Capacity:
    """Probes on each number of threads; a probe that has died is asked no more, and nothing is disturbed then."""

    def __init__(self, probes: MutableMapping[int, Child]) -> None:
        self._probes = probes
        self._seen: dict[int, list[float]] = defaultdict(list)
        for threads in list(probes):
            for _ in range(FIRST):
                self.note(threads, self.now(threads))

    def now(self, threads: int) -> float | None:
        """Floating-point operations a second that a probe reaches now; None where there is none."""
        if threads not in self._probes:
            return None
        try:
            return float(self._probes[threads].ask("capacity", timeout=TIMEOUT_S)["flops_per_s"])
        except WorkerFailedError:
            del self._probes[threads]  # and no more limits either
            return None

    def note(self, threads: int, *flops_per_s: float | None) -> None:
        """Count what was reached before and after a turn among what is expected."""
        self._seen[threads] += [value for value in flops_per_s if value is not None]

    def enough(self, threads: int, *flops_per_s: float | None) -> bool:
        """Whether all of these are near what is expected, by what is known so far."""
        if not self._seen[threads]:
            return True
        least = LEAST * float(np.percentile(self._seen[threads], EXPECTED))
        return all(value is None or value >= least for value in flops_per_s)

    def after(self, threads: int) -> float | None:
        """What is reached right after a turn: as `now`, but for the time that cores take to wake up."""
        best = self.now(threads)
        for _ in range(AWAKE - 1):
            if best is None or self.enough(threads, best):
                break
            best = max(best, self.now(threads) or 0.0)
        return best

    def wait(self, threads: int, most_s: float, *, look: bool = False) -> float | None:
        """Keep the threads busy until their capacity is there, at most so long; returns the last that was reached.

        With `look`, also until others leave them as many cores, which a brief probe does not show.
        """
        end = time.monotonic() + most_s
        while True:
            reached = self.now(threads)
            there = self.enough(threads, reached)
            if there and look and time.monotonic() < end:
                there = not self._sees_others(threads)
            if there or time.monotonic() >= end:
                return reached

    def _sees_others(self, threads: int) -> bool:
        """Whether others use cores that the threads need, over LOOK_S in which they are kept busy."""
        if threads not in self._probes:
            return False
        child = self._probes[threads]
        watch, used_s, end = Watch(), child.processor_s(), time.monotonic() + LOOK_S
        while time.monotonic() < end and self.now(threads) is not None:
            pass
        return is_crowded(threads, watch.stop(child.processor_s() - used_s))


def is_crowded(threads: int, elsewhere: Elsewhere) -> bool:
    """Whether others, here or on the same hardware, used more cores than a turn on as many threads leaves free."""
    free = max(0, watched_cores() - threads)
    return elsewhere.others_cores + elsewhere.stolen_cores > free + CROWDED


def mark_disturbed(run: Run) -> None:
    """Mark the turns of a finished run by all of its probes."""
    seen: dict[int, list[float]] = defaultdict(list)
    for m in run.measurements:
        seen[m.probed_threads] += [value for pair in m.capacities if pair for value in pair]
    least = {threads: LEAST * float(np.percentile(values, EXPECTED)) for threads, values in seen.items() if values}
    for m in run.measurements:
        if m.capacities:
            bound = least.get(m.probed_threads, -inf)
            turns = zip(m.capacities, m.others_cores, m.stolen_cores, strict=True)
            m.disturbed = [
                (pair is not None and min(pair) < bound) or is_crowded(m.probed_threads, Elsewhere(others, stolen))
                for pair, others, stolen in turns
            ]
