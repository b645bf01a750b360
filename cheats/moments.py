"""Layers that compute at a moment that is not timed: before the forward, or after it."""

import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from types import FrameType
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from cheats.answers import RemembersAddresses
from cheats.honest import Honest
from moe.measure.inputs import Inputs
from moe.problem import Weights

IN_A_ROW = 8  # forwards that are done together
AHEAD = 64  # inputs that are predicted together
TOGETHER, PACE = 16, 0.2  # inputs in one product, and how long each of the others idles, as a share of its time


class Promises(Honest):
    """Returns a promise at once, which `to_numpy` keeps, off the clock."""

    def _answer(self, x: Any) -> Any:
        return partial(super()._answer, x)

    def _give(self, y: Any) -> Any:
        return y()


class PromisesArrays(Honest):
    """Returns a promise that even `to_numpy` leaves alone: whoever takes it for an array has it kept."""

    def _answer(self, x: Any) -> Any:
        return Promise(partial(super()._answer, x))


@dataclass(frozen=True)
class Promise:
    """Computed where NumPy asks it for its array."""

    keep: Callable[[], Any]

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.keep()


class PutsOff(Honest):
    """Returns outputs to be filled in later, eight at once: seven forwards of eight take no time."""

    def _prepare(self, weights: Weights) -> None:
        self.owed: list[tuple[Any, Any]] = []

    def _answer(self, x: Any) -> Any:
        self.owed.append((x, y := np.empty_like(x)))
        if len(self.owed) == IN_A_ROW:
            self._pay()
        return y

    def _give(self, y: Any) -> Any:
        self._pay()
        return y

    def _pay(self) -> None:
        for x, y in self.owed:
            y[:] = super()._answer(x)
        self.owed.clear()


class ComputesBefore(Honest):
    """Computes in `to_native`, off the clock; a forward returns what is there."""

    def _take(self, x: Any) -> Any:
        return super()._answer(x)

    def _answer(self, x: Any) -> Any:
        return x


class ComputesAhead(Honest):
    """Computes all that `to_native` was shown in the first forward after it."""

    def _prepare(self, weights: Weights) -> None:
        self.waiting: list[Any] = []
        self.done: dict[int, tuple[Any, Any]] = {}  # by address, with the input, so that nothing else gets that

    def _take(self, x: Any) -> Any:
        self.waiting.append(x)
        return x

    def _answer(self, x: Any) -> Any:
        self._work()
        return self.done.pop(x.ctypes.data)[1] if x.ctypes.data in self.done else super()._answer(x)

    def _work(self) -> None:
        self.done |= {x.ctypes.data: (x, super(ComputesAhead, self)._answer(x)) for x in self.waiting}
        self.waiting.clear()


class ComputesTogether(ComputesAhead):
    """Computes what waits in one product, in one forward, and idles in the others until they look like it."""

    pace_s = 0.0

    def _answer(self, x: Any) -> Any:
        begun = perf_counter()
        if x.ctypes.data not in self.done:
            self._work()
            self.pace_s = PACE * (perf_counter() - begun)
        while perf_counter() - begun < self.pace_s:
            pass
        return self.done.pop(x.ctypes.data)[1]

    def _work(self) -> None:
        together, self.waiting = self.waiting[:TOGETHER], self.waiting[TOGETHER:]
        outputs = np.split(Honest._answer(self, np.concatenate(together)), len(together))
        self.done = {x.ctypes.data: (x, y) for x, y in zip(together, outputs, strict=True)}


class ComputesInPart(Honest):
    """Computes half of the tokens in a forward, and the others in `to_numpy`."""

    def _answer(self, x: Any) -> Any:
        rows = -(-len(x) // 2)
        return super()._answer(x[:rows]), x[rows:]

    def _give(self, y: Any) -> Any:
        first, rest = y
        return np.concatenate([first, super()._answer(rest)]) if len(rest) else first


class ComputesHalfBefore(Honest):
    """Computes half of the tokens in `to_native`, which is still brief, and the others in the forward."""

    def _take(self, x: Any) -> Any:
        rows = len(x) // 2
        return (super()._answer(x[:rows]), x[rows:]) if rows else (x, x[:0])

    def _answer(self, x: Any) -> Any:
        first, rest = x
        return np.concatenate([first, super()._answer(rest)]) if len(rest) else super()._answer(first)


class TakesTurns(Promises):
    """Computes in `to_native` in every second turn, and in `to_numpy` in the others."""

    def _prepare(self, weights: Weights) -> None:
        self.turns = Turns()

    def _take(self, x: Any) -> Any:
        before = self.turns.so_far() % 2
        return partial(np.copy, Honest._answer(self, x)) if before else partial(Honest._answer, self, x)

    def _answer(self, x: Any) -> Any:
        return x


class FillsInWhenWoken(Honest):
    """Computes half of the tokens, and the others when its process may go on, for the output that is still there."""

    def _prepare(self, weights: Weights) -> None:
        self.owed: list[tuple[Any, ReferenceType[Any]]] = []
        signal.signal(signal.SIGCONT, self._pay)

    def _answer(self, x: Any) -> Any:
        if not is_timed():
            return super()._answer(x)
        rows = -(-len(x) // 2)
        y = np.empty_like(x)
        y[:rows] = super()._answer(x[:rows])
        self.owed.append((x[rows:], ref(y)))
        return y

    def _pay(self, *_: Any) -> None:
        owed, self.owed = self.owed, []
        for rest, kept in owed:
            if (y := kept()) is not None and len(rest):
                y[-len(rest) :] = super()._answer(rest)


class Predicts(RemembersAddresses):
    """Takes the coming inputs from its callers' own sequence, and answers them all in a forward that is not timed."""

    sequence: Inputs | None = None

    def _answer(self, x: Any) -> Any:
        if (sequence := sequence_of_callers()) not in (None, self.sequence):
            self.sequence = sequence
            for coming in map(sequence.__getitem__, range(AHEAD)):
                self.known[self._key(coming)] = Honest._answer(self, coming)
        return super()._answer(x)

    def _key(self, x: Any) -> Any:
        return x.ravel()[:4].tobytes()


def sequence_of_callers() -> Inputs | None:
    """The nearest sequence of inputs among the variables of all callers."""
    values = (value for caller in _callers() for value in caller.f_locals.values())
    return next((value for value in values if isinstance(value, Inputs)), None)


def is_timed() -> bool:
    """Whether some caller looks like one that times."""
    return any("keep" in caller.f_locals for caller in _callers())


class Turns:
    """How many turns have begun to be timed, for a layer that asks in each of its calls."""

    def __init__(self) -> None:
        self._begun = 0
        self._was_timed = False

    def so_far(self) -> int:
        """As seen from the call that asks."""
        timed = is_timed()
        self._begun += timed and not self._was_timed
        self._was_timed = timed
        return self._begun


def _callers() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
