"""From a run to what it says: latency, throughput and speedup of each measurement, and what it can resolve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from moe.analysis.limits import Bound, Limits, bound_of, limits_of
from moe.analysis.pairing import grid, latency_of
from moe.analysis.statistics import Interval, Ratio, ratio_interval, resolve
from moe.implementations.registry import BASELINE
from moe.run import Measurement, Run, whose_weights

KERNEL = "mojo"  # what is held against the fastest of the others

Pair = tuple[int, int]  # the places of two rows that are compared


@dataclass(frozen=True)
class Row:
    """One measurement's results; the intervals are None where nothing was measured.

    latency in seconds a forward, throughput in tokens a second, speedup in tokens a second over the baseline's
    on as many threads of the same device; bound is what the machine itself would take, by its probes. A speedup
    is `resolved` where it differs from 1 by Holm's correction over all of its summary's comparisons.
    """

    measurement: Measurement
    latency: Interval | None = None
    throughput: Interval | None = None
    speedup: Ratio | None = None
    resolved: bool = False
    bound: Bound | None = None

    @property
    def share_of_limit(self) -> Interval | None:
        """The least possible time as a share of the latency: 1 would be the machine's limit."""
        return self.latency.inverse(self.bound.seconds) if self.latency and self.bound else None

    @property
    def label(self) -> str:
        """The variant's name."""
        return self.measurement.label

    @property
    def threads(self) -> int:
        """Threads that it ran on."""
        return self.measurement.threads


@dataclass(frozen=True)
class Ahead:
    """KERNEL's tokens a second over those of the fastest other row on the CPU, on as many threads.

    It is `resolved` by Holm's correction over all of its summary's comparisons.
    """

    mojo: Row
    other: Row
    ratio: Ratio
    resolved: bool


@dataclass(frozen=True)
class Summary:
    """A run's rows, in the order in which they were asked for; `every` has its controls too.

    By the number of threads, `controls` are the ratios between two measurements of the same implementation, and
    `ahead` says how far KERNEL is ahead of the others; a sweep, whose cells are compared one by one, has none.
    `compared` counts the speedups and these, over all of which Holm's correction is made.
    """

    run: Run
    every: tuple[Row, ...]
    controls: Mapping[int, tuple[Interval, ...]]
    baseline: str
    ahead: Mapping[int, Ahead]
    compared: int

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """All but controls."""
        return tuple(r for r in self.every if not r.measurement.control)

    @cached_property
    def measured(self) -> tuple[Row, ...]:
        """Rows with numbers, on the CPU."""
        return tuple(r for r in self.rows if r.latency and r.measurement.device == "cpu")

    @cached_property
    def missing(self) -> tuple[Row, ...]:
        """Rows without numbers, and controls that failed: not run, or ended by what went wrong."""
        failed = (r for r in self.every if r.measurement.control and r.measurement.status == "failed")
        return (*(r for r in self.rows if r.latency is None), *failed)

    @cached_property
    def thread_counts(self) -> tuple[int, ...]:
        """Numbers of threads that something was measured on, in rising order."""
        return tuple(sorted({r.threads for r in self.measured}))

    def row(self, label: str, threads: int) -> Row | None:
        """The measured row of a variant, or None."""
        return next((r for r in self.measured if r.label == label and r.threads == threads), None)

    @property
    def tokens(self) -> int:
        """Tokens of the whole problem, of which an implementation may have got fewer."""
        return max((row.measurement.config.tokens for row in self.rows), default=0)

    @property
    def config_label(self) -> str:
        """The sizes of the largest problem measured, and whose weights it has if they are a checkpoint's."""
        configs = [row.measurement.config for row in self.rows]
        label = max(configs, key=lambda c: c.tokens).label if configs else "nothing"
        return ", ".join([label, *whose_weights(self.run)])

    @property
    def controls_label(self) -> str:
        """What the controls measured again."""
        return ", ".join(sorted({m.variant for m in self.run.measurements if m.control}))

    @cached_property
    def resolution(self) -> Mapping[int, float | None]:
        """By the number of threads, the smallest difference that the run can tell from none, as a share.

        The far end of the interval of its control's ratio; None without a bounded one.
        """
        return {threads: _far_end(self.controls.get(threads, ())) for threads in self.thread_counts}


def _far_end(ratios: Sequence[Interval]) -> float | None:
    if not ratios or not all(ratio.bounded for ratio in ratios):
        return None
    return max(max(ratio.high, 1 / ratio.low) - 1 for ratio in ratios)


def summarise(run: Run, baseline: str = BASELINE) -> Summary:
    """Compute every row of a run against `baseline`."""
    limits = {threads: limits_of(run, threads) for threads in {m.threads for m in run.measurements}}
    rows = [_row(m, limits[m.threads]) for m in run.measurements]
    beside = [_find(run, baseline, row.measurement) if row.latency else None for row in rows]
    over_baseline = [(i, j) for i, j in enumerate(beside) if j is not None and j != i]
    fastest = _kernel_and_fastest(run, rows)
    pairs = dict.fromkeys([*over_baseline, *fastest])
    ratios = {(i, j): ratio for i, j in pairs if (ratio := tokens_ratio(rows[i].measurement, rows[j].measurement))}
    # One family: a table seems to show a difference the more easily the more it compares. Controls are no part of it.
    compared = {pair: ratio for pair, ratio in ratios.items() if not rows[pair[0]].measurement.control}
    resolved = dict(zip(compared, resolve(list(compared.values())), strict=True))
    for i, j in over_baseline:
        rows[i] = replace(rows[i], speedup=ratios.get((i, j)), resolved=resolved.get((i, j), False))
    ahead = {
        rows[i].threads: Ahead(rows[i], rows[j], ratios[i, j], resolved[i, j]) for i, j in fastest if (i, j) in ratios
    }
    return Summary(run, tuple(rows), _controls(run), baseline, ahead, len(compared))


def _row(m: Measurement, limits: Limits | None) -> Row:
    """A measurement's row, compared with nothing yet."""
    if m.status != "ok" or not m.samples_s:
        return Row(m)
    latency = latency_of(m)
    # A forward of no tokens has a latency and neither a throughput nor a speedup.
    throughput = latency.inverse(m.config.tokens) if m.config.tokens else None
    return Row(m, latency, throughput, bound=bound_of(m, limits) if limits and m.device == "cpu" else None)


def _kernel_and_fastest(run: Run, rows: Sequence[Row]) -> list[Pair]:
    """KERNEL's row on each number of threads, and the fastest other one."""
    names = {row.measurement.variant for row in rows} - {KERNEL}
    rates = [row.throughput.value if row.throughput else 0.0 for row in rows]
    found: dict[int, Pair] = {}
    for i, row in enumerate(rows):
        kernel = row.measurement
        if row.label == KERNEL and row.throughput and kernel.device == "cpu" and "cell" not in kernel.details:
            others = [j for name in names if (j := _find(run, name, kernel)) is not None]
            if others:
                found.setdefault(row.threads, (i, max(others, key=lambda j: (rates[j], -j))))
    return list(found.values())


def _controls(run: Run) -> dict[int, tuple[Interval, ...]]:
    found: dict[int, tuple[Interval, ...]] = {}
    for m in run.measurements:
        first = _find(run, m.variant, m) if m.control and m.status == "ok" else None
        ratio = None if first is None else tokens_ratio(m, run.measurements[first])
        if ratio is not None:
            found[m.threads] = (*found.get(m.threads, ()), ratio)
    return found


def tokens_ratio(above: Measurement, below: Measurement) -> Ratio | None:
    """Tokens a second of one measurement over another's, from paired rounds; None where there are none."""
    both = grid([above, below])
    if not (np.isfinite(both.seconds).all(axis=0).any() and above.config.tokens and below.config.tokens):
        return None
    ours, theirs = both.seconds
    return ratio_interval(
        theirs, ours, both.processes, above.config.tokens / below.config.tokens, sure=all(both.sure)
    )


def _find(run: Run, variant: str, beside: Measurement) -> int | None:
    """The place of a variant on the threads, device and layer of another measurement, with its tokens or the most.

    In a sweep it is one of the same cell.
    """

    def place(m: Measurement) -> tuple[object, ...]:
        return m.threads, m.device, m.config.with_tokens(1), m.details.get("cell")

    found = {
        i: m.config
        for i, m in enumerate(run.measurements)
        if not m.control and m.status == "ok" and m.samples_s and m.variant == variant and place(m) == place(beside)
    }
    return max(found, key=lambda i: (found[i] == beside.config, found[i].tokens), default=None)
