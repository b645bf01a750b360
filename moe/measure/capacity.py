"""What the machine reaches right now on as many threads as a turn has, and whether that is what it should.

A host that puts two virtual cores on one halves what a turn can do; processor time and load don't show it, arithmetic
does. Somebody else's work halves it too, and lets a brief probe go first: threads that wait for a core show that.
Neither looks at the time of what is measured.
"""

import time
from collections import defaultdict
from collections.abc import MutableMapping, Sequence
from math import inf
from typing import NamedTuple

import numpy as np

from moe.measure.child import LINUX, Child, WorkerFailedError
from moe.measure.conditions import Elsewhere, Watch, watched_cores
from moe.processor import usable_cores
from moe.run import Run

LEAST = 0.85  # of the capacity, before and after a turn
EXPECTED = 90  # percentile of a run's probes: their maximum would be luck
WAITED = 0.15  # of what is looked at, a turn's timed forwards or its warm-up: what a thread may wait for a core
NOTICED = 0.1  # of a core: what others use at least where it is because of them, not of its own threads
FREE = 0.5  # of a core: over 40 ms on two cores, counted in steps of 10 ms each, nothing finer can be told
CROWDED = 0.15  # of a core, beyond those that a turn leaves free: what others may use, where no waiting is known
FIRST = 10  # probes before anything is measured
LOOK_S = 0.04  # at who uses the cores, where others were seen to: the system counts in steps of 10 ms
AWAKE = 10  # probes beside a turn at most, of which the best counts: of 2 ms each, the first only wake cores
LASTS_S = 0.02  # that a probe after a turn holds for the next one on as many threads: less than a warm-up
TIMEOUT_S = 60.0


class Look(NamedTuple):
    """Whether the machine is ready for a turn, and the floating-point operations a second that a probe reached."""

    ready: bool
    reached: float | None


class Capacity:
    """Probes on each number of threads; a probe that has died is asked no more, and nothing is disturbed then."""

    def __init__(self, probes: MutableMapping[int, Child]) -> None:
        self._probes = probes
        self._seen: dict[int, list[float]] = defaultdict(list)
        self._left: tuple[int, float | None, float] = 0, None, -inf  # after the last turn: threads, reached, when
        for threads in list(probes):
            for _ in range(FIRST):
                self.note(threads, self.now(threads))

    def now(self, threads: int) -> float | None:
        """Floating-point operations a second that a probe reaches now.

        None where there is no probe, and for one whose threads waited for a core: that shows others, not the machine.
        """
        if threads not in self._probes:
            return None
        try:
            found = self._probes[threads].ask("capacity", timeout=TIMEOUT_S)
        except WorkerFailedError:
            del self._probes[threads]  # and no more limits either
            return None
        # More threads than cores wait for each other.
        known = threads <= watched_cores()
        return None if known and (found["waited"] or 0.0) > WAITED else float(found["flops_per_s"])

    def note(self, threads: int, *flops_per_s: float | None) -> None:
        """Count what was reached before and after a turn among what is expected."""
        self._seen[threads] += _known(flops_per_s)

    def enough(self, threads: int, *flops_per_s: float | None) -> bool:
        """Whether all of these are near what is expected, by what is known so far."""
        least = _least(self._seen[threads])
        return all(value >= least for value in _known(flops_per_s))

    def beside(self, threads: int) -> float | None:
        """What is reached beside a turn: as `now`, but for the time that cores take to wake up."""
        reached: list[float] = []
        for _ in range(AWAKE):
            if (now := self.now(threads)) is not None:
                reached.append(now)
            if now is not None and self.enough(threads, now):
                break
        # Without Mojo its threads are OpenBLAS's, which spin on into the turn; elsewhere `hold` would only sleep.
        if LINUX and threads in self._probes:
            self._probes[threads].hold()
        return max(reached, default=None)

    def after(self, threads: int) -> float | None:
        """What is reached `beside` a turn that has just ended."""
        reached = self.beside(threads)
        self._left = threads, reached, time.monotonic()
        return reached

    def wait(self, threads: int, most_s: float, *, look: bool = False) -> Look:
        """Keep the threads busy until their capacity is there, at most so long.

        With `look`, also until others leave them as many cores, which a brief probe does not show; without it, what
        was found after another turn just now does.
        """
        same, left, when = self._left
        known = not look and same == threads and left is not None and time.monotonic() < when + LASTS_S
        if known and self.enough(threads, left):
            return Look(True, left)
        end = time.monotonic() + most_s
        while True:
            free = not (look and self._sees_others(threads))
            reached = self.beside(threads)
            is_there = reached is not None and self.enough(threads, reached)
            if threads not in self._probes:
                return Look(True, reached)
            if (free and is_there) or time.monotonic() >= end:
                return Look(free and is_there, reached)

    def _sees_others(self, threads: int) -> bool:
        """Whether others are in the way of the threads, over LOOK_S in which they are kept busy."""
        if threads not in self._probes:
            return False
        child = self._probes[threads]
        watch, using, end = Watch(), child.usage(), time.monotonic() + LOOK_S
        while time.monotonic() < end and threads in self._probes:
            self.now(threads)
        used = using.stop()
        return is_crowded(threads, watch.stop(used.processor_s, used.waited))


def is_crowded(threads: int, elsewhere: Elsewhere) -> bool:
    """Whether others, here or on the same hardware, were in the way of a turn on as many threads.

    They were where a thread waited for a core that they used. Where that is not known, and for other systems, which
    no thread is seen to wait for: where they used more cores than the turn leaves free.
    """
    free = max(0, watched_cores() - threads)
    others, stolen, waited = elsewhere
    if waited is None or threads > watched_cores():
        return others + stolen > free + CROWDED
    return (waited > WAITED and others > NOTICED) or stolen > free + CROWDED


def is_huddled(threads: int, elsewhere: Elsewhere) -> bool:
    """Whether one of a layer's threads waited, though others left a core for each of them.

    A system was seen to wake a thread on its waker's core, where a hypervisor lets the others sleep, and to part the
    two only after 100 ms.
    """
    free = watched_cores() - threads
    alone = elsewhere.others_cores < free + FREE
    return 1 < threads <= usable_cores() and (elsewhere.waited or 0.0) > WAITED and alone


def mark_disturbed(run: Run) -> None:
    """Mark the turns of a finished run by all of its probes."""
    seen: dict[int, list[float]] = defaultdict(list)
    for m in run.measurements:
        seen[m.probed_threads] += [value for pair in m.capacities for value in _known(pair)]
    least = {threads: _least(values) for threads, values in seen.items()}
    for m in run.measurements:
        if m.capacities:
            bound = least[m.probed_threads]
            turns = zip(m.capacities, m.others_cores, m.stolen_cores, m.waited, strict=True)
            m.disturbed = [
                min(_known(pair), default=inf) < bound
                or is_crowded(m.probed_threads, Elsewhere(others, stolen, waited))
                for pair, others, stolen, waited in turns
            ]


def _least(seen: Sequence[float]) -> float:
    """What a probe reaches at least where nothing is wrong, by what others did; where none did, that is anything."""
    return LEAST * float(np.percentile(seen, EXPECTED)) if seen else -inf


def _known(rates: Sequence[float | None] | None) -> list[float]:
    return [value for value in rates or () if value is not None]
