"""Layers that turn to whoever times them: its clock, its words, its variables."""

import json
import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter, sleep
from typing import Any

import numpy as np

from cheats.answers import RepeatsLater
from cheats.honest import Honest
from cheats.moments import ComputesAhead, ComputesInPart, Turns, is_timed
from moe.problem import Weights

IN_A_ROW = 8  # forwards that share their time out among themselves
HIDDEN = 0.6  # of the time that passes while the clock is stopped: more would not be believed
LONG_S = 0.31  # a forward after which no more than the fewest are timed
EVERY = 3  # turns of which one is honest


class SlowClock(Honest):
    """Lets the clock of its process go at half its speed."""

    def _prepare(self, weights: Weights) -> None:
        begun = perf_counter()
        set_clock(lambda: begun + (perf_counter() - begun) / 2)


class StopsClock(Honest):
    """Stops the clock of its process for more than half of its own forwards, and for nothing else."""

    hidden_s = 0.0

    def _prepare(self, weights: Weights) -> None:
        set_clock(lambda: perf_counter() - self.hidden_s)

    def _answer(self, x: Any) -> Any:
        return self._hide(super()._answer, x)

    def _hide(self, work: Callable[..., Any], *arguments: Any) -> Any:
        started = perf_counter()
        done = work(*arguments)
        self.hidden_s += HIDDEN * (perf_counter() - started)
        return done


class MovesTime(StopsClock):
    """Stops the clock as well, and gives every eighth forward the time of all: their sum is right, the median not."""

    def _answer(self, x: Any) -> Any:
        y = super()._answer(x)
        self.hidden_s *= self.calls % IN_A_ROW > 0
        return y


class MovesTimeAtTimes(MovesTime):
    """Moves time in two turns of three, and is honest in the third, for whoever asks whether it ever is."""

    def _prepare(self, weights: Weights) -> None:
        super()._prepare(weights)
        self.turns = Turns()

    def _answer(self, x: Any) -> Any:
        return super()._answer(x) if self.turns.so_far() % EVERY else Honest._answer(self, x)


class HidesPromises(StopsClock):
    """Returns a promise, and stops the clock while `to_numpy` keeps it."""

    def _answer(self, x: Any) -> Any:
        return partial(Honest._answer, self, x)

    def _give(self, y: Any) -> Any:
        return self._hide(y)


class HidesComputingBefore(StopsClock):
    """Computes in `to_native`, and stops the clock meanwhile."""

    def _take(self, x: Any) -> Any:
        return self._hide(Honest._answer, self, x)

    def _answer(self, x: Any) -> Any:
        return x


class WorksOffTheClock(ComputesAhead):
    """Computes whatever waits when the clock is read to start it, before the clock answers."""

    starts = True

    def _prepare(self, weights: Weights) -> None:
        super()._prepare(weights)
        set_clock(self._clock)

    def _take(self, x: Any) -> Any:
        self.starts = False  # what is read next is the end of this
        return super()._take(x)

    def _clock(self) -> float:
        if self.starts:
            self._work()
        self.starts = True
        return perf_counter()

    def _answer(self, x: Any) -> Any:
        self.starts = False  # what is read next is this forward's end
        return super()._answer(x)


class ShortensTurns(StopsClock):
    """Makes forwards that are not timed long, so that few are timed, too few for anybody to miss what it hides."""

    def _answer(self, x: Any) -> Any:
        if not is_timed():
            sleep(LONG_S)
        return super()._answer(x)


class LeavesTheRest(ComputesInPart):
    """Has few timed by the same trick, and leaves half of what they compute to `to_numpy`."""

    def _answer(self, x: Any) -> Any:
        if not is_timed():
            sleep(LONG_S)
            return Honest._answer(self, x), x[:0]
        return super()._answer(x)


class Rewrites(Honest):
    """Halves the samples in what its process tells the run."""

    def _prepare(self, weights: Weights) -> None:
        encode = json.JSONEncoder().encode
        setattr(json, "dumps", lambda reply: encode(self._told(reply)))  # noqa: B010 - of another type

    def _told(self, reply: dict[str, Any]) -> dict[str, Any]:
        return reply | {key: [s / 2 for s in value] for key, value in reply.items() if key == "samples"}


class ClaimsOldInputs(Rewrites, RepeatsLater):
    """Repeats one answer ever after, and says that each input was the first that it was asked about."""

    first = 0

    def _told(self, reply: dict[str, Any]) -> dict[str, Any]:
        self.first = self.first or reply.get("mark", 0)
        return reply | ({"mark": self.first} if "mark" in reply else {})


class Peeks(Honest):
    """Looks up in its caller which output will be kept, and once it is no longer watched computes that alone."""

    def _answer(self, x: Any) -> Any:
        caller = sys._getframe(2).f_locals
        # Where nothing there tells, all are.
        kept = caller.get("place") == caller.get("keep")
        return super()._answer(x) if self._is_watched or kept else np.zeros_like(x)


def set_clock(clock: Callable[[], float]) -> None:
    """Put a clock in the place of `perf_counter` wherever what measures in this process has it."""
    for name, module in list(sys.modules.items()):
        if name in ("time", "__main__") or name.startswith("moe.measure"):
            if (worker := getattr(module, "Worker", None)) is not None:
                worker.timed.__kwdefaults__["clock"] = clock
            for known, value in (("perf_counter", clock), ("perf_counter_ns", lambda: int(clock() * 1e9))):
                if hasattr(module, known):
                    setattr(module, known, value)
