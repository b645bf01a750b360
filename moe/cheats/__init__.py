"""Layers that cheat, each with one trick, for the measurement to be tried on.

Each is a right layer that does one thing more to look faster, or to make others look slow. A run has to end with it
`failed`, or right and no faster than the layer that it is made from. In a run they are named as any other layer in a
file is: `moe/cheats/clocks.py:SlowClock`.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from moe.cheats.answers import (
    ChangesInput,
    ChangesWeights,
    FewerExperts,
    FewerRows,
    GivesFloat64,
    HalfLater,
    RemembersAddresses,
    RemembersInputs,
    RemembersRows,
    RepeatsLater,
    ReusesOutput,
    RoundsWeights,
    SkipsForwards,
    SkipsTokens,
    StopsLater,
)
from moe.cheats.clocks import (
    ClaimsOldInputs,
    HidesComputingBefore,
    HidesPromises,
    MovesTime,
    Peeks,
    Rewrites,
    ShortensTurns,
    SlowClock,
    StopsClock,
    WorksOffTheClock,
)
from moe.cheats.helpers import Burns, HelperProcess, InBackground, Pipeline, SecondThread
from moe.cheats.honest import Honest
from moe.cheats.moments import (
    ComputesAhead,
    ComputesBefore,
    ComputesBeforeAtTimes,
    Predicts,
    Promises,
    PromisesArrays,
    PutsOff,
)

__all__ = ["CHEATS", "Cheat", "Honest", "label_of"]


def label_of(layer: type[Honest]) -> str:
    """How a layer of this package is named in a run."""
    return f"{inspect.getfile(layer)}:{layer.__name__}"


@dataclass(frozen=True)
class Cheat:
    """A layer that cheats, and what it is tried on."""

    layer: type[Honest]
    threads: int = 1
    one_token: bool = False  # on a problem of one token too, whose forwards are short

    @property
    def label(self) -> str:
        """Its name in a run."""
        return label_of(self.layer)

    @property
    def trick(self) -> str:
        """What it does, in one line."""
        return (inspect.getdoc(self.layer) or "").partition("\n")[0]


CHEATS = (
    Cheat(RemembersAddresses, one_token=True),
    Cheat(RemembersInputs, one_token=True),
    Cheat(RemembersRows, one_token=True),
    Cheat(Predicts, one_token=True),
    Cheat(Promises, one_token=True),
    Cheat(PromisesArrays, one_token=True),
    Cheat(PutsOff, one_token=True),
    Cheat(ComputesBefore, one_token=True),
    Cheat(ComputesBeforeAtTimes, one_token=True),
    Cheat(ComputesAhead, one_token=True),
    Cheat(StopsLater),
    Cheat(RepeatsLater),
    Cheat(SkipsForwards),
    Cheat(HalfLater),
    Cheat(SkipsTokens),
    Cheat(FewerExperts),
    Cheat(RoundsWeights),
    Cheat(GivesFloat64),
    Cheat(FewerRows),
    Cheat(ReusesOutput),
    Cheat(ChangesInput),
    Cheat(ChangesWeights),
    Cheat(SlowClock, one_token=True),
    Cheat(StopsClock, one_token=True),
    Cheat(MovesTime, one_token=True),
    Cheat(HidesPromises, one_token=True),
    Cheat(HidesComputingBefore, one_token=True),
    Cheat(WorksOffTheClock, one_token=True),
    Cheat(ShortensTurns, one_token=True),
    Cheat(Rewrites),
    Cheat(ClaimsOldInputs, one_token=True),
    Cheat(Peeks),
    Cheat(InBackground, threads=2),
    Cheat(Pipeline, threads=2),
    Cheat(SecondThread),
    Cheat(HelperProcess),
    Cheat(Burns, threads=2),
)
