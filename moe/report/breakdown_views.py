"""What a breakdown says: its sentences and tables, every number of them computed from the run."""

from __future__ import annotations

from math import prod
from typing import Any

from moe.analysis import Interval
from moe.analysis.attribution import Attribution, Factor
from moe.analysis.breakdown import Breakdown, Experiment, Step
from moe.analysis.overhead import FITS, Line
from moe.measure.lines import kernel_lines
from moe.report.sentences import resolution, warnings
from moe.report.tables import html_table
from moe.report.text import percent, seconds, significant, span, threads_text, times
from moe.run import Run


def findings(run: Run) -> tuple[list[str], str]:
    """A run's headline, and what its figure of the kernel's factors shows."""
    found = Breakdown(run)
    return headline(found), split(found, found.mojo)


def headline(breakdown: Breakdown) -> list[str]:
    """The findings of both experiments, the bridge, and how far the run can be trusted."""
    summary = breakdown.summary
    lines = [split(breakdown, breakdown.mojo)]
    if len(breakdown.missing(breakdown.framework)) < len(breakdown.framework.places()):
        lines += [split(breakdown, breakdown.framework), bridge(breakdown)]
    lines += [resolution(summary), *warnings(summary)]
    if not breakdown.run.complete:
        lines.append("The run was cut short: some variants have fewer rounds than planned, or none.")
    return lines


def what_is_measured(breakdown: Breakdown) -> list[str]:
    """Sizes, variants and rounds of this run."""
    summary = breakdown.summary
    rounds = [len(row.measurement.samples_s) for row in summary.measured]
    processes = {p for row in summary.measured for p in row.measurement.processes}
    fewest, most = min(rounds, default=0), max(rounds, default=0)
    lines = [
        f"{len(summary.measured)} variants were measured in one run, each compared with the float64 reference before "
        f"it was timed: {summary.config_label}; {fewest} to {most} rounds in {len(processes)} processes.",
        "This size is what the slowest of them can be measured at in the time that a profile gives; the comparison "
        "has sizes of its own.",
    ]
    missing = [f"{row.label} on {threads_text(row.threads)}: {row.measurement.reason}" for row in summary.missing]
    return lines + [f"Not measured: {reason}." for reason in missing]


def split(breakdown: Breakdown, experiment: Experiment) -> str:
    """How an experiment's speedup is shared among its factors, in one sentence."""
    if missing := breakdown.missing(experiment):
        return f"The speedup {experiment.name} can't be split, for want of {missing[0]}."
    found = breakdown.attribution(experiment)
    whole = f"{experiment.name} all of {_all(found)} together give {times(found.total)}"
    if not found.total.excludes(1.0):
        return f"On this machine {whole}: no difference was resolved, and there is nothing to split."
    ordered = sorted(found.factors, key=lambda factor: -factor.times.value)
    parts = "; ".join(_part(factor) for factor in ordered)
    return f"On this machine, {whole}, of which each accounts for: {parts}."


def _all(found: Attribution) -> str:
    return ", ".join(factor.name for factor in found.factors)


def _part(factor: Factor) -> str:
    share = f"{_signed(factor.share.value)} % {_percent_ends(factor)}" if factor.share else "–"
    resolved = "" if factor.times.excludes(1.0) else ", not told from 1"
    return f"{factor.name} {share} ({times(factor.times)}{resolved})"


def _percent_ends(factor: Factor) -> str:
    share = factor.share
    if share is None or not share.bounded:
        return "[?]"
    return f"[{_signed(share.low)} to {_signed(share.high)}]"


def _signed(share: float) -> str:
    """A share in percent, which may be negative."""
    return significant(100 * share, 2).replace("-", "−")


def interactions(breakdown: Breakdown, experiment: Experiment) -> str:
    """Which factors give more, or less, together than apart."""
    if breakdown.missing(experiment):
        return split(breakdown, experiment)
    named = [i for i in breakdown.attribution(experiment).interactions if i.resolved]
    if not named:
        return "No two factors were seen to give more or less together than apart."
    parts = "; ".join(
        f"{' and '.join(i.factors)} {times(i.times)}" for i in sorted(named, key=lambda i: -abs(i.times.value - 1))
    )
    return (
        f"What factors give depends on which others are there. Together over apart, where that differs from 1 after "
        f"Holm's correction: {parts}."
    )


def ladder(breakdown: Breakdown) -> str:
    """The ladder's steps in one sentence."""
    return _chain(breakdown.ladder(), "Turned on one after another, from the plainest kernel")


def optimisations(breakdown: Breakdown | None) -> str:
    """The ladder's finding in a report where a breakdown was measured, and at what size."""
    if breakdown is None:
        return "No breakdown was measured beside this run; the notebook breakdown.ipynb measures one."
    return f"{ladder(breakdown)} Measured at {breakdown.summary.config_label}."


def bridge(breakdown: Breakdown) -> str:
    """The bridge's steps in one sentence."""
    begin = "From NumPy in float64, one token after the other, over PyTorch to Mojo, each step a measured variant"
    return _chain(breakdown.bridge(), begin)


def _chain(steps: list[Step], begin: str) -> str:
    last = steps[-1] if steps else None
    if last is None or last.so_far is None:
        return f"{begin}: too little of it was measured."
    parts = ", ".join(f"{step.turned_on} {times(step.times)}" for step in steps if step.times)
    return f"{begin}: {parts}; in all {times(last.so_far)}."


def overhead(breakdown: Breakdown) -> str:
    """Each implementation's overhead and rate, where a line fits, in one sentence."""
    lines = breakdown.overheads()
    if not lines:
        return "Time against tokens was not measured with three numbers of tokens or more."
    said = [
        f"{line.label} {_overhead_text(line)}, then {significant(line.rate.value)} tokens/s"
        if line.fits
        else f"{line.label}'s times lie on no line (off by {percent(line.off)})"
        for line in lines
    ]
    return f"Before its first token a forward costs, on {threads_text(breakdown.threads[0])}: {'; '.join(said)}."


def _overhead_text(line: Line) -> str:
    low = line.overhead.low if line.overhead.bounded else 0.0
    if low <= 0:
        return f"nothing that can be told from none ({signed_span(line.overhead)} µs)"
    return f"{signed_span(line.overhead)} µs"


def signed_span(interval: Interval) -> str:
    """Microseconds with their interval, which may reach below 0."""
    i = interval.scaled(1e6)
    ends = f"[{significant(i.low)} to {significant(i.high)}]" if interval.bounded else "[?]"
    return f"{significant(i.value)} {ends}".replace("-", "−")


def overhead_table(breakdown: Breakdown) -> str:
    """Overhead, rate and n½ of each implementation, and how much of its time is overhead at each size."""
    rows = []
    for line in breakdown.overheads():
        row = {"implementation": line.label, "off the line by": f"≤ {percent(line.off)}"}
        if line.fits:
            row |= {
                "overhead, µs": signed_span(line.overhead),
                "tokens/s": span(line.rate),
                "n½, tokens": significant(line.half.value).replace("-", "−"),
            }
        for tokens, latency in zip(line.tokens, line.latencies, strict=True):
            share = f" ({percent(line.share_of_overhead(latency))})" if line.fits else ""
            row[f"T={tokens}"] = f"{seconds(latency.value)}{share}"
        rows.append(row)
    caption = (
        "Time against tokens as overhead + tokens / rate, by least squares on relative deviations; n½ is the number of "
        "tokens that take as long as the overhead. In brackets at each size: how much of the time is overhead. With few "
        "tokens fewer experts are read, so that a line need not fit; where it is off by more than "
        f"{percent(FITS)} none is given."
    )
    numbers = [key for row in rows for key in row if key != "implementation"]
    return html_table("overhead", rows or [{"implementation": "none"}], caption, list(dict.fromkeys(numbers)))


def split_table(breakdown: Breakdown, experiment: Experiment) -> str:
    """An experiment's factors, the most important first."""
    rows = []
    if not breakdown.missing(experiment):
        found = breakdown.attribution(experiment)
        rows = [
            {
                "factor": factor.name,
                "times as fast": span(factor.times),
                "share, %": f"{significant(100 * factor.share.value, 2)} {_percent_ends(factor)}"
                if factor.share
                else None,
                "least in any order": significant(factor.least),
                "most in any order": significant(factor.most),
            }
            for factor in sorted(found.factors, key=lambda factor: -factor.times.value)
        ]
        product = prod(factor.times.value for factor in found.factors)
        rows.append({"factor": f"all (the product: {significant(product)})", "times as fast": span(found.total)})
    caption = (
        f"The speedup {experiment.name}, split by Shapley values: what a factor gives on average over all orders in "
        "which they could be turned on. Least and most are what turning it on gave with any set of the others on."
    )
    numbers = ["times as fast", "share, %", "least in any order", "most in any order"]
    return html_table(f"split-{experiment.factors[0]}", rows or [{"factor": "nothing"}], caption, numbers)


def steps_table(breakdown: Breakdown, name: str, steps: list[Step]) -> str:
    """A ladder's or bridge's steps: time, what each gave, and how near to the machine's limit it leads."""
    summary = breakdown.summary
    lines = kernel_lines() if name == "ladder" else {}
    rows: list[dict[str, Any]] = []
    for step in steps:
        m = step.measurement
        row = summary.row(m.label, m.threads)
        latency = row.latency if row else None
        rows.append(
            {
                "turned on": step.turned_on,
                **({} if lines else {"variant": m.label}),
                "threads": m.threads,
                "latency": f"{seconds(latency.value)}" if latency else None,
                "× the step before": span(step.times) if step.times else None,
                "× the first": span(step.so_far) if step.so_far else None,
                "% of limit": span(row.share_of_limit, 100) if row and row.share_of_limit else None,
            }
        )
        if lines:
            rows[-1]["lines of Mojo"] = f"{lines[step.turned_on]:,}" if step.turned_on in lines else None
    caption = (
        "Each step adds one thing to the one before; the steps multiply to the last. % of limit: the least time that "
        "the machine's arithmetic or memory would take, as a share of the latency."
    )
    if lines:
        caption += (
            " Lines of Mojo: those of the files that only this step needs; dashes where it is a few lines in others."
        )
    numbers = ["threads", "latency", "× the step before", "× the first", "% of limit", "lines of Mojo"]
    return html_table(name, rows or [{"turned on": "nothing was measured"}], caption, numbers)
