"""From a run to what it says: latency, throughput and speedup of each measurement, and what it can resolve."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from moe.analysis.limits import Bound, bound_of, limits_of
from moe.analysis.pairing import common_rounds
from moe.analysis.statistics import Interval, Ratio, Spread, holm, median_interval, ratio_interval, spread_of
from moe.implementations.registry import BASELINE
from moe.run import Measurement, Run


@dataclass(frozen=True)
class Row:
    """One measurement's results; the intervals are None where nothing was measured.

    latency in seconds a forward, throughput in tokens a second, speedup in tokens a second over the baseline's
    on as many threads of the same device; bound is what the machine itself would take, by its probes. A speedup
    is `resolved` where it differs from 1 by Holm's correction over all of the run.
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

    @property
    def spread(self) -> Spread | None:
        """How its single forwards vary."""
        samples = [s for turn in self.measurement.samples_s for s in turn]
        return spread_of(samples) if self.latency else None

    @property
    def flops_per_s(self) -> float | None:
        """Floating-point operations a second, counted from the layer's definition."""
        return self.measurement.config.flops / self.latency.value if self.latency else None


@dataclass(frozen=True)
class Summary:
    """A run's rows, controls apart, in the order in which they were asked for."""

    run: Run
    rows: tuple[Row, ...]
    controls: tuple[Interval, ...]
    baseline: str = BASELINE

    @cached_property
    def measured(self) -> tuple[Row, ...]:
        """Rows with numbers, on the CPU."""
        return tuple(r for r in self.rows if r.latency and r.measurement.device == "cpu")

    @cached_property
    def missing(self) -> tuple[Row, ...]:
        """Rows without numbers, and controls that failed: not run, or ended by what went wrong."""
        failed = (Row(m) for m in self.run.measurements if m.control and m.status == "failed")
        return (*(r for r in self.rows if r.latency is None), *failed)

    @cached_property
    def thread_counts(self) -> tuple[int, ...]:
        """Numbers of threads that something was measured on, in rising order."""
        return tuple(sorted({r.threads for r in self.measured}))

    def row(self, label: str, threads: int) -> Row | None:
        """The measured row of a variant, or None."""
        return next((r for r in self.measured if r.label == label and r.threads == threads), None)

    @property
    def share_in_forwards(self) -> float | None:
        """How much of the run's time passed inside forwards, timed or warming up; None where it is not known."""
        inside = sum(m.warm_up_s + sum(map(sum, m.samples_s)) for m in self.run.measurements)
        return inside / self.run.elapsed_s if self.run.elapsed_s else None

    @property
    def tokens(self) -> int:
        """Tokens of the whole problem, of which an implementation may have got fewer."""
        return max((row.measurement.config.tokens for row in self.rows), default=0)

    @property
    def config_label(self) -> str:
        """The sizes of the largest problem measured."""
        configs = [row.measurement.config for row in self.rows]
        return max(configs, key=lambda c: c.tokens).label if configs else "nothing"

    @property
    def controls_label(self) -> str:
        """What the controls measured again."""
        return ", ".join(sorted({m.variant for m in self.run.measurements if m.control}))

    @cached_property
    def resolution(self) -> float | None:
        """The smallest difference that this run can tell from none, as a share; None without a bounded control.

        The far end of the interval of the ratio between two measurements of the same implementation, and never
        less than the widest half-interval shown.
        """
        control = self.control_difference
        if control is None:
            return None
        shown = (i for r in self.measured for i in (r.latency, r.speedup) if i and i.bounded)
        return max([control, *(i.half_width for i in shown)])

    @cached_property
    def control_difference(self) -> float | None:
        """The far end of the interval of the controls' ratios, as a share; None without a bounded control."""
        if not self.controls or not all(c.bounded for c in self.controls):
            return None
        return max(max(c.high, 1 / c.low) - 1 for c in self.controls)


def summarise(run: Run, baseline: str = BASELINE) -> Summary:
    """Compute every row of a run against `baseline`."""
    rows = _with_resolved([_row(m, run, baseline) for m in run.measurements if not m.control])
    controls = []
    for m in run.measurements:
        first = _find(run, m.variant, m)
        ratio = tokens_ratio(m, first) if m.control and m.status == "ok" and first is not None else None
        if ratio is not None:
            controls.append(ratio)
    return Summary(run, rows, tuple(controls), baseline)


def _with_resolved(rows: list[Row]) -> tuple[Row, ...]:
    """Rows that say whether their speedup is a difference, which the more easily seems so the more rows there are."""
    p_values = {i: row.speedup.p_value for i, row in enumerate(rows) if row.speedup}
    resolved = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return tuple(replace(row, resolved=resolved.get(i, False)) for i, row in enumerate(rows))


def _row(m: Measurement, run: Run, baseline: str) -> Row:
    if m.status != "ok" or not m.samples_s:
        return Row(m)
    latency = median_interval(m.rounds_s, m.processes)
    # A forward of no tokens has a latency and neither a throughput nor a speedup.
    throughput = latency.inverse(m.config.tokens) if m.config.tokens else None
    base = _find(run, baseline, m)
    speedup = tokens_ratio(m, base) if base is not None and base is not m else None
    limits = limits_of(run, m.threads) if m.device == "cpu" else None
    return Row(m, latency, throughput, speedup, bound=bound_of(m, limits) if limits else None)


def tokens_ratio(above: Measurement, below: Measurement) -> Ratio | None:
    """Tokens a second of one measurement over another's, from paired rounds; None where there are none."""
    (ours, theirs), processes = common_rounds([above, below])
    if not processes or not (above.config.tokens and below.config.tokens):
        return None
    return ratio_interval(theirs, ours, processes, above.config.tokens / below.config.tokens)


def _find(run: Run, variant: str, beside: Measurement) -> Measurement | None:
    """A variant on the threads, device and layer of another measurement, with its tokens or else the most.

    In a sweep it is one of the same cell.
    """

    def place(m: Measurement) -> tuple[object, ...]:
        return m.threads, m.device, m.config.with_tokens(1), m.details.get("cell")

    found = [
        m
        for m in run.measurements
        if not m.control and m.status == "ok" and m.variant == variant and place(m) == place(beside)
    ]
    same = next((m for m in found if m.config == beside.config), None)
    return same or max(found, key=lambda m: m.config.tokens, default=None)
