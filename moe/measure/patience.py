"""What disturbances may cost a run: turns that wait for the machine, are put off, and are repeated."""

import time
from math import inf

from moe.measure.capacity import Capacity, Look
from moe.run import Measurement

PUT_OFF = 3  # times that others go before a turn that the machine is not ready for; then it waits
WAIT_S = 1.5  # and is taken after that, whatever the machine can do
WAKING_S = 0.03  # that probes before a turn may take without anything being wrong
LOOKS = 20  # turns: others who were in the way of two within so many are looked for before as many more


class Patience:
    """How much of a run went to disturbances, and whether there is more to give."""

    def __init__(self) -> None:
        self.lost_s = 0.0  # to waiting for the machine, and to turns that it disturbed
        self.most_s = inf  # before turns no more wait, and none is repeated
        self._looks = 0

    def now(self) -> float:
        """Seconds by a clock that stood still for what was lost."""
        return time.monotonic() - self.lost_s

    @property
    def is_left(self) -> bool:
        """Whether more may be lost."""
        return self.lost_s < self.most_s

    def note(self, *, crowded: bool) -> None:
        """Whether others were in the way of a turn."""
        self._looks = min(2 * LOOKS, self._looks + LOOKS) if crowded else max(0, self._looks - 1)

    def look(self, m: Measurement, put_off: int, capacity: Capacity) -> Look:
        """Whether a measurement takes its turn now, which was put off so often, or another one goes first.

        It does once the machine has its capacity and others, where they were seen lately, are out of its way. Letting
        others go first costs a look, and goes on when there is no time left to wait.
        """
        if put_off > PUT_OFF or (put_off == PUT_OFF and not self.is_left):
            return Look(True, capacity.beside(m.probed_threads))
        started = time.monotonic()
        look = self._looks > LOOKS and m.probed_threads > 1
        found = capacity.wait(m.probed_threads, WAIT_S if put_off == PUT_OFF else 0.0, look=look)
        self.lost_s += max(0.0, time.monotonic() - started - WAKING_S)
        return found
