"""The measurement measured: whether its intervals hold, and whether it withstands a busy machine."""

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import log, nan
from statistics import median

from scipy.stats import binom

from cheats.trial import trials
from moe.analysis import Interval, summarise
from moe.analysis.frames import interval_of, records, rows
from moe.analysis.statistics import CONFIDENCE
from moe.config import PRESETS
from moe.implementations import availability, installed_names
from moe.measure.busy import wait_until_quiet
from moe.measure.compare import compare
from moe.processor import usable_cores
from moe.ranges import RUNS
from moe.report.sentences import disturbances
from moe.report.text import significant, threads_text, times
from moe.run import Run

COMPARED = ("numpy", "torch", "mojo")
FIRST, SECOND = "numpy", "mojo"  # the two that are also measured one after the other
CONFIG = PRESETS["seed"]
CHANCE = 0.02  # what intervals that are right would do less often than this, they are not: 8 of 10 is once in 12
SHIFT_ALLOWED = 0.5  # of what measuring one after the other shifts, where a shift is told from noise
KEPT_WITHIN = 1.1  # times: as near both ends of a shift must be to none where it is not told; noise proves nothing
BELIEVED_AT = (1, 16, 1024)  # tokens
BELIEVED_S = 40.0  # of measuring: what is installed may be a dozen


@dataclass(frozen=True)
class Finding:
    """Something that the measurement claims of itself, and whether it holds here."""

    text: str
    holds: bool


def selfcheck(runs: int, budget_s: float, *, wait: bool = False) -> Iterator[Finding]:
    """Findings as they come: `runs` runs of `budget_s` seconds, then for the busy machine, on cheats, on the honest.

    With `wait` a machine that is busy before the first gets some seconds to come to rest. Raises ValueError for a
    number that makes no sense.
    """
    RUNS.check("runs", runs)
    for name in COMPARED:
        available, reason = availability(name)
        if not available:
            raise ValueError(f"the self-check needs {name}: {reason}")
    if wait:
        wait_until_quiet()
    yield from repeats(runs, budget_s)
    yield from busy_half_way(budget_s)
    yield from cheats_are_beaten()
    yield from honest_are_believed()


def repeats(runs: int, budget_s: float) -> Iterator[Finding]:
    """For every ratio, how many runs' intervals hold the median of all runs."""
    found: dict[str, list[Interval]] = {label: [] for label in COMPARED[1:]}  # over the first
    for number in range(runs):
        for row in summarise(compare(COMPARED, CONFIG, budget_s=budget_s, seed=number)).measured:
            if row.speedup:
                found[row.label].append(row.speedup)
    for label, ratios in found.items():
        yield coverage(label, ratios, runs)


def coverage(label: str, ratios: Sequence[Interval], runs: int) -> Finding:
    """Whether as many runs' intervals hold the median of their values as where each is as sure as it says."""
    middle = median(ratio.value for ratio in ratios) if ratios else nan
    covered = sum(ratio.bounded and not ratio.excludes(middle) for ratio in ratios)
    text = f"{label} over numpy: {covered} of {runs} intervals hold the median of all, {significant(middle)} ×"
    enough = covered > 0 and bool(binom.cdf(covered, runs, CONFIDENCE) >= CHANCE)
    return Finding(f"{text} ({', '.join(map(times, ratios))})", enough)


def busy_half_way(budget_s: float) -> Iterator[Finding]:
    """How far a ratio shifts when every core gets a busy process half-way, in rounds and one after the other."""
    half_s = budget_s / 2
    quiet = _measured(compare((FIRST, SECOND), CONFIG, budget_s=budget_s), SECOND, "speedup")
    with busy_after(half_s):
        run = compare((FIRST, SECOND), CONFIG, budget_s=budget_s)
    in_rounds = _measured(run, SECOND, "speedup")
    first = compare((FIRST,), CONFIG, budget_s=half_s)
    with busy_after(0):
        second = compare((SECOND,), CONFIG, budget_s=half_s)
    one_by_one = _measured(first, FIRST, "latency_s").value / _measured(second, SECOND, "latency_s").value
    yield withstands(quiet, in_rounds, one_by_one)
    said = disturbances(run)
    yield Finding(f"warned: {' '.join(said) or 'no'}", bool(said))


def cheats_are_beaten() -> Iterator[Finding]:
    """For every layer that cheats, whether a run sees through it: two minutes for all."""
    for found in trials():
        where = f"tokens={found.config.tokens}, {threads_text(found.cheat.tried_threads)}"
        yield Finding(f"{found.cheat.__name__} ({where}): {found.text}", found.beaten)


def honest_are_believed() -> Iterator[Finding]:
    """Whether the rules that cheats fail let every layer pass that is installed, with few tokens and with many."""
    names, counts = installed_names(), sorted({1, usable_cores()})
    for tokens in BELIEVED_AT:
        run = compare(names, CONFIG.with_tokens(tokens), counts, budget_s=BELIEVED_S, processes=1)
        other = [
            f"{m.label} on {threads_text(m.threads)} {m.status.replace('_', ' ')}, {m.reason}"
            for m in run.measurements
            if m.status != "ok"
        ]
        where = f"tokens={tokens}, {' and '.join(map(threads_text, counts))}"
        text = "; but ".join(filter(None, (", ".join(names), "; ".join(other))))
        yield Finding(f"believed ({where}): {text}", not other)


def withstands(quiet: Interval, in_rounds: Interval, one_by_one: float) -> Finding:
    """Whether rounds keep a ratio: its shift from the quiet one is surely next to none, or small by its logarithm."""
    ours, theirs = abs(log(in_rounds.value / quiet.value)), abs(log(one_by_one / quiet.value))
    text = (
        f"{SECOND} over {FIRST} with every core busy from half-way on: {times(in_rounds)} in rounds, "
        f"{significant(one_by_one)} × one after the other, {times(quiet)} when quiet; "
        f"the logarithm shifts by {ours:.3f} and {theirs:.3f}"
    )
    shift = in_rounds.over(quiet)
    kept = 1 / KEPT_WITHIN <= shift.low <= 1 <= shift.high <= KEPT_WITHIN
    return Finding(text, kept or ours < SHIFT_ALLOWED * theirs)


@contextmanager
def busy_after(seconds: float) -> Iterator[threading.Timer]:
    """One busy process a core, once the timer that it gives has waited for `seconds`."""
    busy: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        # Each in a session of its own, like a worker: Linux shares cores among sessions first.
        command = [sys.executable, "-c", "while True: pass"]
        busy.extend(subprocess.Popen(command, start_new_session=True) for _ in range(usable_cores()))

    timer = threading.Timer(seconds, start)
    timer.start()
    try:
        yield timer
    finally:
        timer.cancel()
        timer.join()
        for process in busy:
            process.kill()
            process.wait()


def _measured(run: Run, label: str, column: str) -> Interval:
    """What a run says of a layer, by its column in the run's frame."""
    row = next(row for row in records(rows(run)) if row["label"] == label)
    if row["status"] != "ok":
        raise ValueError(f"{label} was not measured: {row['reason']}")
    return interval_of(row, column)
