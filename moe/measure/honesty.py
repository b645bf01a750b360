"""What a row's times must agree with, whoever gives them: the parent's clock, processor time, and arithmetic.

A layer is somebody else's code in a process of its own, and that process reads the clock. Each rule takes the
middle of a row's turns, so that a disturbed one costs nothing. docs/method.md lists what they catch and what not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from moe.analysis.limits import limits_of
from moe.analysis.statistics import median_interval
from moe.measure.limits import Probes
from moe.run import Measurement, Run

FEWEST_TURNS = 3  # for rules that a busy machine could break in one turn
CLOCK_SHARE, CLOCK_S, CLOCK_EACH_S = 0.1, 0.002, 5e-6  # that may pass outside forwards: of a turn, in all, each
PROCESSOR_SHARE, PROCESSOR_S = 1.1, 0.002
CONVERSION_S, CONVERSION_SHARE, CONVERSION_COPIES = 1e-3, 0.1, 5
RECORD = 1.25  # how much faster than the machine a row may seem before it is impossible
RESTLESS_SHARE = 0.1  # of a core, in turns of others


@dataclass(frozen=True)
class Turn:
    """A turn's timed forwards as the parent saw them; all times in seconds."""

    samples: Sequence[float]
    flush: float  # emptying caches between forwards
    framed: float  # by the parent's clock, from the request to its reply
    processor: float
    threads: int
    to_native: float
    to_numpy: float
    copy: float  # of an input


def doubt(turns: Sequence[Turn]) -> str:
    """Why a row's times can't be believed, or nothing."""
    for least, rule in ((1, _processor), (FEWEST_TURNS, _clock), (FEWEST_TURNS, _conversions)):
        if len(turns) >= least and (reason := rule(turns)):
            return reason
    return ""


def _clock(turns: Sequence[Turn]) -> str:
    """Forwards are all that a turn's timed part is made of: their times must add up to it."""

    def missing(turn: Turn) -> float:
        outside = CLOCK_SHARE * turn.framed + CLOCK_S + CLOCK_EACH_S * len(turn.samples)
        return turn.framed - turn.flush - sum(turn.samples) - outside

    if (typical := _typical(turns, missing)) > 0:
        middle = median(sum(turn.samples) for turn in turns)
        return (
            f"its forwards say that they took {1e3 * middle:.3g} ms a turn; by the clock of the process that asked "
            f"for them {1e3 * typical:.3g} ms more passed than anything explains"
        )
    return ""


def _processor(turns: Sequence[Turn]) -> str:
    def above(turn: Turn) -> float:
        return turn.processor - PROCESSOR_SHARE * turn.threads * turn.framed - PROCESSOR_S

    if _typical(turns, above) > 0:
        used = median(turn.processor / turn.framed for turn in turns)
        threads = turns[0].threads
        return (
            f"it used the processor time of {used:.3g} cores on {threads} {'thread' if threads == 1 else 'threads'}"
        )
    return ""


def _conversions(turns: Sequence[Turn]) -> str:
    """Work that belongs to the forward may not be done before or after it."""
    for name, seconds in (("to_native", lambda t: t.to_native), ("to_numpy", lambda t: t.to_numpy)):

        def above(turn: Turn, seconds: Callable[[Turn], float] = seconds) -> float:
            allowed = (CONVERSION_S, CONVERSION_SHARE * median(turn.samples), CONVERSION_COPIES * turn.copy)
            return seconds(turn) - max(allowed)

        if _typical(turns, above) > 0:
            took, forward = median(map(seconds, turns)), median(median(turn.samples) for turn in turns)
            return (
                f"{name} takes {1e3 * took:.3g} ms beside forwards of {1e3 * forward:.3g} ms: work left out of them"
            )
    return ""


def _typical(turns: Sequence[Turn], value: Callable[[Turn], float]) -> float:
    return median(map(value, turns))


def impossible(run: Run, m: Measurement) -> str:
    """Why a row is no record but an error: the arithmetic of its definition can't be done here in its time."""
    limits = limits_of(run, m.threads)
    if m.device != "cpu" or not m.samples_s or limits is None or limits.by != Probes.by:
        return ""
    alone = limits_of(run, 1)
    peak = max(limits.flops_per_s, m.threads * alone.flops_per_s if alone else 0.0)
    values = m.values_s
    interval = median_interval(list(values.values()), [process for process, _ in values])
    slowest = interval.high if interval.bounded else max(values.values())
    least = m.config.flops / peak
    if least <= RECORD * slowest:
        return ""
    return (
        f"not possible: the layer's {m.config.flops / 1e6:.3g} million operations take {1e6 * least:.3g} µs at the "
        f"{peak / 1e9:.3g} GFLOP/s that {m.threads} threads reach here, and it says {1e6 * slowest:.3g} µs"
    )
