"""Runs on the layers that cheat, and whether each was seen through."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from cheats import CHEATS, Honest, answers, clocks, label_of, moments
from moe.config import MoEConfig
from moe.measure.compare import compare
from moe.processor import usable_cores
from moe.run import Measurement, Run

CONFIG = MoEConfig(tokens=256, d_model=128, d_ff=512, num_experts=4, top_k=2)  # forwards of a few milliseconds
TRIALS = {(CONFIG, 1): 75.0, (CONFIG.with_tokens(1), 1): 60.0, (CONFIG, 2): 20.0}  # on so many threads: seconds
# Turns as short and as many as will do: nobody is after an interval.
SETTINGS: dict[str, Any] = {"processes": 1, "rounds": 6, "repeats": 2, "warm_up_s": 0.02, "warm_up_most_s": 0.1}
# Whose tricks, and those made from them, are for short forwards as well.
ON_ONE_TOKEN = (
    *(answers.RemembersAddresses, clocks.ClaimsOldInputs, clocks.SlowClock, clocks.StopsClock, moments.ComputesAhead),
    *(moments.ComputesBefore, moments.Promises, moments.PromisesArrays, moments.PutsOff, moments.ComputesTogether),
)
SHARE = 0.75  # of the honest layer's fastest round: what is no faster than this may be chance


@dataclass(frozen=True)
class Outcome:
    """How a run ended for a layer that cheats."""

    cheat: type[Honest]
    config: MoEConfig
    beaten: bool
    text: str


def trials() -> Iterator[Outcome]:
    """Outcomes as they come, a run after the other; what needs more cores than there are is left out."""
    for config, threads in TRIALS:
        if threads <= usable_cores():
            run = trial(config, threads)
            yield from (outcome(cheat, run) for cheat in tried_on(config, threads))


def tried_on(config: MoEConfig, threads: int) -> list[type[Honest]]:
    """The layers that are tried on a problem and number of threads."""
    wanted = [cheat for cheat in CHEATS if cheat.tried_threads == threads]
    return [cheat for cheat in wanted if config.tokens > 1 or issubclass(cheat, ON_ONE_TOKEN)]


def trial(config: MoEConfig, threads: int) -> Run:
    """A run of the layers that cheat beside the honest one."""
    names = [label_of(Honest), *map(label_of, tried_on(config, threads))]
    return compare(names, config, [threads], budget_s=TRIALS[config, threads], progress=False, **SETTINGS)


def outcome(cheat: type[Honest], run: Run) -> Outcome:
    """Whether a run sees through a cheat: it failed, or it is right and no faster than the honest layer was."""
    found, honest = (_row(run, label_of(layer)) for layer in (cheat, Honest))
    if found.status == "failed":
        return Outcome(cheat, found.config, True, f"failed: {found.reason}")
    for which, m in (("", found), ("the honest layer ", honest)):
        if m.status != "ok":
            return Outcome(cheat, found.config, False, f"{which}{m.status.replace('_', ' ')}: {m.reason}")
    fastest, middle = min(honest.values_s.values()), median(found.values_s.values())
    text = f"right, in {1e3 * middle:.3g} ms, and the honest layer in {1e3 * fastest:.3g} ms at its fastest"
    return Outcome(cheat, found.config, middle >= SHARE * fastest, text)


def _row(run: Run, label: str) -> Measurement:
    return next(m for m in run.measurements if m.label == label)
