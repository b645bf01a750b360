"""What a breakdown says: its sentences and tables, every number of them computed from the run."""

from __future__ import annotations

from math import log, prod
from typing import Any

from moe.analysis.attribution import Attribution, Factor
from moe.analysis.breakdown import Breakdown, Experiment, Step
from moe.measure.lines import kernel_lines
from moe.report.index import Findings
from moe.report.sentences import count_text, inputs_text, measured_on, resolution, warnings
from moe.report.tables import html_table
from moe.report.text import lacking, ratio_text, seconds, share_text, significant, span, threads_text, times
from moe.run import Run


def findings(run: Run) -> Findings:
    """What a run says, with the figure and the table of the kernel's factors."""
    found = Breakdown(run)
    return Findings(headline(found), split(found, found.mojo), split_table(found, found.mojo), not_measured(found))


def headline(breakdown: Breakdown) -> list[str]:
    """The findings of both experiments, the bridge, and how far the run can be trusted."""
    summary = breakdown.summary
    lines = [split(breakdown, breakdown.mojo)]
    if breakdown.asked_for(breakdown.framework):
        lines += [split(breakdown, breakdown.framework), bridge(breakdown)]
    lines += [
        f"Failed: {m.label} ({m.config.label}), {m.reason}."
        for m in breakdown.run.measurements
        if m.status == "failed"
    ]
    lines += [measured_on(summary), resolution(summary), *warnings(summary)]
    if not breakdown.run.complete:
        lines.append("The run was cut short: some variants have fewer rounds than planned, or none.")
    return lines


def what_is_measured(breakdown: Breakdown) -> list[str]:
    """Sizes, variants and rounds of this run."""
    summary = breakdown.summary
    rounds = [len(row.measurement.values_s) for row in summary.measured]
    processes = {p for row in summary.measured for p in row.measurement.processes}
    counts = " and ".join(map(threads_text, breakdown.threads))
    protocol = breakdown.run.protocol
    lines = [
        f"{len({row.label for row in summary.measured})} variants on {counts}, {len(summary.measured)} measurements "
        "beside those of overhead, in one run, each compared with the float64 reference before it was timed: "
        f"{summary.config_label}; {count_text(rounds)} rounds in {len(processes)} processes, after warm-ups of "
        f"at least {significant(1e3 * protocol['warm_up_s'], 2)} ms{inputs_text(breakdown.run)}.",
    ]
    return lines + [f"Not measured: {reason}." for reason in not_measured(breakdown)]


def not_measured(breakdown: Breakdown) -> list[str]:
    """Every variant without numbers, and why."""
    return [
        f"{m.label} on {threads_text(m.threads)}, {m.config.label}: {m.reason}"
        for m in breakdown.run.measurements
        if m.status != "ok"
    ]


def split(breakdown: Breakdown, experiment: Experiment) -> str:
    """How an experiment's speedup is shared among its factors, in one sentence."""
    if not breakdown.asked_for(experiment):
        return f"What gives the speedup {experiment.name} was not asked for in this run."
    if missing := breakdown.missing(experiment):
        return f"The speedup {experiment.name} can't be split, for want of {missing[0]}."
    found = breakdown.attribution(experiment)
    why = lacking(breakdown.least_measured(experiment), breakdown.run)
    whole = f"{experiment.name} all of {_all(found)} together give {ratio_text(found.total, found.resolved, why=why)}"
    if not found.resolved:
        return f"On this machine {whole}: there is nothing to split."
    ordered = sorted(found.factors, key=lambda factor: -factor.times.value)
    parts = "; ".join(_part(factor) for factor in ordered)
    return f"On this machine, {whole}, of which each accounts for: {parts}."


def _all(found: Attribution) -> str:
    return ", ".join(factor.name for factor in found.factors)


def _part(factor: Factor) -> str:
    share = f"{_signed(factor.share.value)} % {_percent_ends(factor)}" if factor.share else "–"
    return f"{factor.name} {share} ({ratio_text(factor.times, factor.resolved)})"


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
        f"{' and '.join(i.factors)} {times(i.times)}" for i in sorted(named, key=lambda i: -abs(log(i.times.value)))
    )
    return (
        f"What factors give depends on which others are there. Together over apart, where that differs from 1 after "
        f"Holm's correction: {parts}."
    )


def ladder(breakdown: Breakdown) -> str:
    """The ladder's steps in one sentence."""
    return _chain(breakdown.ladder(), "Turned on one after another in the Mojo kernel")


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
        return f"{begin}: its first or its last step was not measured."
    parts = ", ".join(f"{step.turned_on} {ratio_text(step.times, step.resolved)}" for step in steps if step.times)
    return f"{begin}: {parts}; in all {ratio_text(last.so_far, last.so_far_resolved)}."


def split_table(breakdown: Breakdown, experiment: Experiment) -> str:
    """An experiment's factors, the most important first."""
    rows = []
    if not breakdown.missing(experiment):
        found = breakdown.attribution(experiment)
        rows = [
            {
                "factor": factor.name,
                "times as fast": span(factor.times),
                "share, %": f"{_signed(factor.share.value)} {_percent_ends(factor)}" if factor.share else None,
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
    return html_table(experiment.name.replace(" ", "-"), rows or [{"factor": "nothing"}], caption, numbers)


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
                "% of limit": share_text(row) if row else None,
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
    return html_table(name, rows or [{"turned on": "its first or its last step was not measured"}], caption, numbers)
