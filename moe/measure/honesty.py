"""What a row's times must agree with, whoever gives them: the parent's clock, processor time, and arithmetic.

A layer is somebody else's code in a process of its own, and that process reads the clock. The rules look at a row's
undisturbed turns. docs/method.md lists what they catch and what not.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean, median
from typing import Any

import numpy as np

from moe.analysis.limits import limits_of
from moe.analysis.statistics import FEWEST_ROUNDS
from moe.measure.child import WorkerFailedError
from moe.measure.limits import Probes
from moe.run import Measurement, Run

ENOUGH_TURNS = 5  # for rules that an honest turn breaks now and then; once a run has ended, what gives an interval
FEWEST_TURNS = 3  # for rules that a busy machine could break in one turn
CLOCK_LEAST_S = 0.01  # what is shorter can't be told from the time that asking takes on a busy machine
CLOCK_SHARE, CLOCK_S, CLOCK_EACH_S = 0.1, 0.002, 1e-5  # that may pass outside forwards: of a turn, in all, each
COPIES = 5  # of an input: what converting one, or an output, may take
UNEVEN = 0.7  # of what forwards take on average: a row that is said to take less has a few that hide their time
EVEN = 25  # percentile of the turns' averages that this is of: honest rows were seen from 88 % on
# A running thread's processor time is brought up to date at ticks of 4 ms, as far as another process can see: on 16
# threads 20 ms of work were seen to read as 19 cores.
PROCESSOR_SHARE, PROCESSOR_EACH_S = 1.1, 0.004
# What to_native may take beside COPIES: in all, or of briefer forwards, and of any; JAX was seen to take half of it.
CONVERSION_S, CONVERSION_TIMES, CONVERSION_SHARE = 2e-4, 5, 0.1
RECORD = 1.25  # how much faster than the machine a row may seem before it is impossible
SLOWER = 75  # percentile of a row's rounds: a few honest ones don't make it possible


@dataclass(frozen=True)
class Turn:
    """A turn's timed forwards as the parent saw them; all times in seconds."""

    samples: list[float]
    flush: float  # emptying caches between forwards
    framed: float  # by the parent's clock, from the request to its reply
    processor: float
    threads: int
    converting: float  # its inputs into the layer's own form
    copy: float  # of an input

    @property
    def missing(self) -> float:
        """Seconds of the frame that nothing accounts for: forwards and conversions are all that it is made of."""
        if self.framed <= CLOCK_LEAST_S:
            return -inf
        framed = self.framed - self.flush
        outside = CLOCK_SHARE * framed + CLOCK_S + (CLOCK_EACH_S + COPIES * self.copy) * len(self.samples)
        return framed - self.converting - sum(self.samples) - outside

    @property
    def overused(self) -> float:
        """Seconds of processor time beyond those of the threads given."""
        return self.processor - self.threads * (PROCESSOR_SHARE * self.framed + PROCESSOR_EACH_S)

    @property
    def to_native(self) -> float:
        """Seconds that it takes to bring an input into the layer's own form."""
        return self.converting / len(self.samples)

    @property
    def left_out(self) -> float:
        """Seconds beyond those that this may take: work that belongs to the forward may not be done before it."""
        forward = median(self.samples)
        fixed = min(CONVERSION_S, CONVERSION_TIMES * forward)
        return self.to_native - fixed - CONVERSION_SHARE * forward - COPIES * self.copy


class Doubts:
    """What has been seen of each row, by its number, in its turns."""

    def __init__(self) -> None:
        self._turns: dict[int, dict[int, Turn]] = defaultdict(dict)

    def note(self, number: int, place: int, turn: Turn) -> None:
        """Count a turn, whose place among its row's is known."""
        self._turns[number][place] = turn

    def of(self, number: int, disturbed: Sequence[bool], *, ended: bool) -> str:
        """Why a row can't be believed, or nothing, by its turns that are undisturbed as far as is known by now.

        Some of it is only asked of a run that has `ended`.
        """
        undisturbed = [turn for place, turn in self._turns[number].items() if disturbed[place : place + 1] == [False]]
        return doubt(undisturbed, ended=ended)


def doubt(turns: Sequence[Turn], *, ended: bool = True) -> str:
    """Why a row's times can't be believed, or nothing.

    What is new to a process takes some honest turns long to convert. So before a run has `ended`, when it is asked
    again after every round, a few turns tell nothing of that.
    """
    if len(turns) < FEWEST_TURNS:
        return ""
    many = len(turns) >= (FEWEST_ROUNDS if ended else ENOUGH_TURNS)
    rules = [_processor, _clock]
    if ended or many:
        rules.append(_to_native)
    if many:
        rules.append(_in_turn)
    if ended and many:
        rules.append(_uneven)
    return next(filter(None, (rule(turns) for rule in rules)), "")


def _clock(turns: Sequence[Turn]) -> str:
    longer = [turn for turn in turns if turn.missing > -inf]
    if len(longer) < FEWEST_TURNS or (typical := median(turn.missing for turn in longer)) <= 0:
        return ""
    said = median(sum(turn.samples) for turn in longer)
    return (
        f"its forwards are said to take {1e3 * said:.3g} ms a turn, and {1e3 * typical:.3g} ms more passed by the "
        "clock of the process that asked for them: its clock is wrong, or work is left to to_numpy"
    )


def _processor(turns: Sequence[Turn]) -> str:
    if median(turn.overused for turn in turns) <= 0:
        return ""
    used = median(turn.processor / turn.framed for turn in turns)
    return f"it used the processor time of {used:.3g} cores where {turns[0].threads} were to be used"


def _to_native(turns: Sequence[Turn]) -> str:
    if median(turn.left_out for turn in turns) <= 0:
        return ""
    took, forward = median(turn.to_native for turn in turns), median(median(turn.samples) for turn in turns)
    return f"to_native takes {1e3 * took:.3g} ms, a forward {1e3 * forward:.3g} ms: work is left out of it"


def _in_turn(turns: Sequence[Turn]) -> str:
    """Another rule broken in another turn: the middle of each alone would be as it should be."""
    kinds = ("missing", "overused", "left_out")
    broken = [[kind for kind in kinds if getattr(turn, kind) > 0] for turn in turns]
    if 2 * sum(map(bool, broken)) <= len(turns):
        return ""
    counts = Counter(kind for own in broken for kind in own)
    return (
        f"most of its {len(turns)} turns can't be believed: time is missing in {counts['missing']}, processor time "
        f"beyond its threads' was used in {counts['overused']}, and to_native took long in {counts['left_out']}"
    )


def _uneven(turns: Sequence[Turn]) -> str:
    """What a row says, the middle of its forwards, is what they take only where a few don't take the time of many."""
    said = median(median(turn.samples) for turn in turns)
    average = float(np.percentile([fmean(turn.samples) for turn in turns], EVEN))
    if said >= UNEVEN * average:
        return ""
    return (
        f"most of its forwards are said to take {1e3 * said:.3g} ms or less, and in three of four turns they take "
        f"{1e3 * average:.3g} ms or more on average: a few take the time of many"
    )


def checked(reply: dict[str, Any], count: int) -> dict[str, Any]:
    """What a worker says of a turn; raises WorkerFailedError unless it has as many times as were asked for."""
    samples, beside = reply["samples"], (reply["converting_s"], reply["flush_s"])
    if len(samples) != count or not all(isinstance(s, float) and 0 < s < inf for s in samples):
        raise WorkerFailedError(f"gave no {count} times for {count} forwards")
    if not all(isinstance(s, float) and 0 <= s < inf for s in beside):
        raise WorkerFailedError(f"gave no times for what is beside its forwards: {beside}")
    return reply


def impossible(run: Run, m: Measurement) -> str:
    """Why a row is no record but an error: the arithmetic of its definition can't be done here in its time."""
    limits = limits_of(run, m.threads)
    if m.device != "cpu" or not m.samples_s or limits is None or limits.by != Probes.by:
        return ""
    alone = limits_of(run, 1)
    peak = max(limits.flops_per_s, m.threads * alone.flops_per_s if alone else 0.0) * limits.times(m.config.precision)
    slowest = float(np.percentile(list(m.values_s.values()), SLOWER))
    least = m.config.flops / peak
    if least <= RECORD * slowest:
        return ""
    return (
        f"not possible: the layer's {m.config.flops / 1e6:.3g} million operations take {1e6 * least:.3g} µs at the "
        f"{peak / 1e9:.3g} GFLOP/s that {m.threads} threads reach here, and it says {1e6 * slowest:.3g} µs"
    )
