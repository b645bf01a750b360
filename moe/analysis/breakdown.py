"""Where a speedup comes from: the variants that are measured for that, and what a run of them says.

Two sets of factors, every combination of each a variant: from NumPy to PyTorch, and inside Mojo. A ladder takes the
Mojo factors one after the other, a bridge goes from NumPy over PyTorch to Mojo. Precision is an experiment apart: the
kernel's switches are of float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from moe.analysis.attribution import Attribution, attribute
from moe.analysis.pairing import grid
from moe.analysis.statistics import Ratio
from moe.analysis.summary import Summary, summarise, tokens_ratio
from moe.config import MoEConfig, require_known
from moe.run import Measurement, Run

THREADS = "threads"
SWITCHES = ("batch", "simd", "tile", "specialize", "pool")  # in the order of the ladder
FRAMEWORK_FACTORS = ("batch", "float32", THREADS, "framework")  # in the order of the bridge
AUTOGRAD = ("torch-loop", "torch-loop[grad=on]")  # the same forward, and recorded
IN_BOTH = ("mojo", "torch")  # what is measured in float32 and in bfloat16
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
    """The kernel's switches, and its threads; a switch that is no factor is on. ValueError for any other name."""
    require_known("switch", switches, SWITCHES)

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


def variants_of(experiments: Sequence[Experiment]) -> list[str]:
    """The names of all variants of experiments, what a run measures twice before them."""
    found = (place.variant for experiment in experiments for place in experiment.places())
    return list(dict.fromkeys([CONTROLLED, *found]))


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
        others = [id(m) for pair in self.in_both() for m in pair]
        same = [m for m in self.run.measurements if m.config == size and id(m) not in others]
        return summarise(replace(self.run, measurements=same), CONTROLLED)

    def in_both(self) -> list[tuple[Measurement, Measurement]]:
        """What was to be measured in float32 and in bfloat16 of the same layer; either may have no results."""
        planned = [m for m in self.run.measurements if m.label in IN_BOTH]
        return [
            (first, second)
            for second in planned
            for first in planned
            if second.config.precision == "bfloat16"
            and (first.label, first.threads) == (second.label, second.threads)
            and first.config == replace(second.config, precision="float32")
        ]

    def autograd(self) -> tuple[MoEConfig, Ratio] | None:
        """The smallest problem that AUTOGRAD was measured on, and how many times as long a recorded forward takes."""
        without, recorded = ([m for m in self.run.measurements if (m.label, m.status) == (n, "ok")] for n in AUTOGRAD)
        pairs = [(a, b) for a in without for b in recorded if a.config == b.config]
        if not pairs:
            return None
        first, second = min(pairs, key=lambda pair: pair[0].config.tokens)
        ratio = tokens_ratio(first, second)
        return (first.config, ratio) if ratio else None

    def asked_for(self, experiment: Experiment) -> bool:
        """Whether the run has any variant of an experiment beyond the one that is measured as a control anyway."""
        return any(self._find(place) for place in experiment.places() if place.variant != CONTROLLED)

    def missing(self, experiment: Experiment) -> list[str]:
        """What keeps an experiment from being attributed: each variant without results, and why."""
        found = []
        for place in experiment.places():
            m = self._find(place)
            if m is None or m.status != "ok":
                found.append(f"{place.variant}: {m.reason if m else 'not measured'}")
        return found

    def least_measured(self, experiment: Experiment) -> Measurement:
        """The variant of an experiment with the fewest rounds to be used."""
        return min(self.measured(experiment.places()), key=lambda m: (not m.is_disturbed, len(m.values_s)))

    def attribution(self, experiment: Experiment) -> Attribution:
        """An experiment's speedup split among its factors; raises ValueError where a variant is missing."""
        if missing := self.missing(experiment):
            raise ValueError(f"what is missing {experiment.name}: {'; '.join(missing)}")
        return attribute(experiment.factors, grid(self.measured(experiment.places())))

    def measured(self, places: Sequence[Place]) -> list[Measurement]:
        """Of these, what has results."""
        return [m for place in places if (m := self._find(place)) and m.status == "ok"]

    def _find(self, place: Place) -> Measurement | None:
        threads = self.threads[-1 if place.all_threads else 0]
        found = (
            m
            for m in self.run.measurements
            if (m.variant, m.threads, m.control, m.device) == (place.variant, threads, False, "cpu")
        )
        return next(found, None)
