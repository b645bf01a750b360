"""Where a speedup comes from: the variants that are measured for that, and what a run of them says.

Two sets of factors, every combination of each a variant: from NumPy to PyTorch, and inside Mojo. A ladder takes the
Mojo factors one after the other, a bridge goes from NumPy over PyTorch to Mojo.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from moe.analysis.attribution import Attribution, attribute, chain
from moe.analysis.overhead import Line, lines_of
from moe.analysis.pairing import common_rounds
from moe.analysis.statistics import Ratio
from moe.analysis.summary import Summary, summarise
from moe.config import unknown_name
from moe.implementations import names
from moe.run import Measurement, Run

THREADS = "threads"
SWITCHES = ("batch", "simd", "tile", "specialize", "pool")  # in the order of the ladder
FRAMEWORK_FACTORS = ("batch", "float32", THREADS, "framework")  # in the order of the bridge
CONTROLLED = "numpy[dtype=float32,batch=on]"  # what a run measures twice


@dataclass(frozen=True)
class Place:
    """A variant on one thread, or on all that the run has."""

    variant: str
    all_threads: bool


@dataclass(frozen=True)
class Experiment:
    """Factors, and which variant each combination of them is."""

    name: str
    factors: tuple[str, ...]
    place: Callable[[set[str]], Place]

    def places(self) -> list[Place]:
        """The variants of all combinations, in their order."""
        return [
            self.place({name for i, name in enumerate(self.factors) if combination >> i & 1})
            for combination in range(2 ** len(self.factors))
        ]

    def one_by_one(self) -> list[Place]:
        """The variants that turning one factor on after the other goes through."""
        return [self.place(set(self.factors[:i])) for i in range(len(self.factors) + 1)]


def inside_mojo(switches: Sequence[str], *, with_threads: bool) -> Experiment:
    """The kernel's switches, and its threads; a switch that is no factor is on. Raises ValueError for any other."""
    for name in switches:
        if name not in SWITCHES:
            raise ValueError(unknown_name("switch", name, list(SWITCHES)))

    def place(on: set[str]) -> Place:
        options = ",".join(f"{s}={'on' if s in on or s not in switches else 'off'}" for s in SWITCHES)
        return Place(f"mojo[{options}]", THREADS in on or not with_threads)

    factors = tuple(name for name in SWITCHES if name in switches)
    return Experiment("inside Mojo", (*factors, THREADS) if with_threads else factors, place)


def to_pytorch(*, with_threads: bool) -> Experiment:
    """From NumPy in double precision, one token after the other, to PyTorch as it should be written."""

    def place(on: set[str]) -> Place:
        dtype = "float32" if "float32" in on else "float64"
        batched = "batch" in on
        all_threads = THREADS in on or not with_threads
        if "framework" in on:
            return Place(f"{'torch' if batched else 'torch-naive'}[dtype={dtype}]", all_threads)
        return Place(f"numpy[dtype={dtype},batch={'on' if batched else 'off'}]", all_threads)

    factors = tuple(name for name in FRAMEWORK_FACTORS if with_threads or name != THREADS)
    return Experiment("from NumPy to PyTorch", factors, place)


@dataclass(frozen=True)
class Step:
    """One step of a ladder or bridge: what it turned on, what it leads to, and how many times as fast that is.

    `times` is over the step before and None for the first, `so_far` over the first; they multiply to it.
    """

    turned_on: str
    measurement: Measurement
    times: Ratio | None
    so_far: Ratio | None


def variants_of(experiments: Sequence[Experiment]) -> list[str]:
    """The names of all variants of experiments, what a run measures twice before them."""
    places = [place for experiment in experiments for place in experiment.places()]
    return list(dict.fromkeys([CONTROLLED, *(place.variant for place in places)]))


class Breakdown:
    """What a run of both experiments' variants says; its factors are what differs among them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.threads: list[int] = sorted(run.protocol["threads"])
        several = len(self.threads) > 1
        kernels = [m for m in run.measurements if m.implementation == "mojo"]
        off = {name for m in kernels for name, value in m.options.items() if value == "off"}
        self.mojo = inside_mojo([name for name in SWITCHES if name in off], with_threads=several)
        self.framework = to_pytorch(with_threads=several)

    @cached_property
    def summary(self) -> Summary:
        """The rows of the size that the experiments have."""
        size = self.run.measurements[0].config
        same = [m for m in self.run.measurements if m.config == size]
        return summarise(replace(self.run, measurements=same), CONTROLLED)

    def overheads(self) -> list[Line]:
        """Time against tokens of the implementations as they are measured everywhere, on the fewest threads."""
        return lines_of(self.run, names(), self.threads[0])

    def missing(self, experiment: Experiment) -> list[str]:
        """What keeps an experiment from being attributed: each variant without samples, and why."""
        found = []
        for place in experiment.places():
            m = self._find(place)
            if m is None or not m.samples_s:
                found.append(f"{place.variant}: {m.reason if m else 'not measured'}")
        return found

    def attribution(self, experiment: Experiment) -> Attribution:
        """An experiment's speedup split among its factors; raises ValueError where a variant is missing."""
        if missing := self.missing(experiment):
            raise ValueError(f"what is missing {experiment.name}: {'; '.join(missing)}")
        measured = [m for place in experiment.places() if (m := self._find(place))]
        seconds, processes = common_rounds(measured)
        return attribute(experiment.factors, dict(enumerate(seconds)), processes)

    def ladder(self) -> list[Step]:
        """The Mojo factors turned on one after another."""
        return self._steps(["nothing", *self.mojo.factors], self.mojo.one_by_one())

    def bridge(self) -> list[Step]:
        """From NumPy over PyTorch to Mojo with everything on."""
        places = [*self.framework.one_by_one(), self.mojo.one_by_one()[-1]]
        return self._steps(["nothing", *self.framework.factors, "Mojo"], places)

    def _steps(self, names: Sequence[str], places: Sequence[Place]) -> list[Step]:
        found = [
            (name, m) for name, place in zip(names, places, strict=True) if (m := self._find(place)) and m.samples_s
        ]
        if len(found) < 2:
            return [Step(name, m, None, None) for name, m in found]
        seconds, processes = common_rounds([m for _, m in found])
        times, so_far = chain(seconds, processes)
        return [Step(name, m, t, f) for (name, m), t, f in zip(found, [None, *times], [None, *so_far], strict=True)]

    def _find(self, place: Place) -> Measurement | None:
        threads = self.threads[-1 if place.all_threads else 0]
        found = (
            m
            for m in self.run.measurements
            if (m.variant, m.threads, m.control, m.device) == (place.variant, threads, False, "cpu")
        )
        return next(found, None)
