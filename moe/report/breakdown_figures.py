"""A breakdown's figures: the ladder, how a speedup splits, and the bridge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from moe.analysis import Interval
from moe.analysis.breakdown import Breakdown, Experiment, Step
from moe.analysis.overhead import Line
from moe.report.figures import COLOURS, MARKERS, OTHER, STYLE, leave_room, nothing, whiskers
from moe.report.style import own_settings
from moe.report.text import seconds, significant, threads_text, times

GREY = "#767676"
LABELS_APART = 0.045  # of a logarithmic axis


@own_settings()
def ladder(breakdown: Breakdown) -> Figure:
    """Latency of each step of the ladder, on a log scale."""
    return _steps(breakdown, breakdown.ladder(), "latency of one forward, ms (log scale; less is better)")


@own_settings()
def optimisations(breakdown: Breakdown | None) -> Figure:
    """The ladder in a report where a breakdown was measured."""
    return (
        ladder(breakdown) if breakdown else nothing(*_rows(1, "latency of one forward"), "no breakdown was measured")
    )


@own_settings()
def bridge(breakdown: Breakdown) -> Figure:
    """Latency of each step from NumPy over PyTorch to Mojo, on a log scale."""
    return _steps(breakdown, breakdown.bridge(), "latency of one forward, ms (log scale; less is better)")


def _steps(breakdown: Breakdown, steps: Sequence[Step], label: str) -> Figure:
    """A waterfall: each step's bar goes from the latency before it to its own."""
    summary = breakdown.summary
    figure, axes = _rows(len(steps), label)
    if not steps:
        return nothing(figure, axes, "its first or its last step was not measured")
    latencies: list[Interval] = []
    for place, step in enumerate(steps):
        m = step.measurement
        row = summary.row(m.label, m.threads)
        assert row is not None  # it was measured
        assert row.latency is not None
        latency = row.latency.scaled(1e3)
        colour = COLOURS.get(m.implementation, OTHER)
        if latencies:
            before = latencies[-1].value
            axes.barh(place, latency.value - before, left=before, height=0.5, color=colour, alpha=0.25, linewidth=0)
        axes.errorbar(latency.value, place, xerr=whiskers([latency]), fmt="o", color=colour, markersize=6, capsize=3)
        given = f"   {times(step.times)}" if step.times else ""
        most = max(latency.high if latency.bounded else latency.value, latencies[-1].value if latencies else 0)
        axes.annotate(
            f"{seconds(row.latency.value)}{given}", (most, place), (7, 0), textcoords="offset points", va="center",
            fontsize=8.5,
        )  # fmt: skip
        latencies.append(latency)
    names = [f"{'+ ' if i else ''}{s.turned_on} ({threads_text(s.measurement.threads)})" for i, s in enumerate(steps)]
    names[0] = f"{steps[0].measurement.implementation}, {names[0]}"
    axes.set_yticks(range(len(steps)), names)
    leave_room(axes, [end for i in latencies for end in ((i.low, i.high) if i.bounded else (i.value,))])
    return figure


@own_settings()
def split(breakdown: Breakdown, experiment: Experiment) -> Figure:
    """What each factor gives: its Shapley value with interval, over the range of what it gave in any order."""
    label = "times as fast (log scale; a thin line spans the least and the most in any order)"
    if breakdown.missing(experiment):
        return nothing(*_rows(1, label), "a variant of it was not measured")
    factors = sorted(breakdown.attribution(experiment).factors, key=lambda factor: -factor.times.value)
    colour = COLOURS["mojo"] if experiment is breakdown.mojo else OTHER
    figure, axes = _rows(len(factors), label)
    for place, factor in enumerate(factors):
        axes.plot([factor.least, factor.most], [place, place], color=GREY, linewidth=1)
        axes.errorbar(factor.times.value, place, xerr=whiskers([factor.times]), fmt="o", color=colour, capsize=3)
        end = max(factor.most, factor.times.high if factor.times.bounded else factor.times.value)
        text = significant(factor.times.value)
        axes.annotate(text, (end, place), (7, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.axvline(1, color="#444444", linewidth=1)
    axes.set_yticks(range(len(factors)), [factor.name for factor in factors])
    ends = [end for f in factors if f.times.bounded for end in (f.times.low, f.times.high)]
    leave_room(axes, [*ends, *(value for f in factors for value in (f.least, f.most, f.times.value))])
    return figure


@own_settings()
def overhead(breakdown: Breakdown) -> Figure:
    """Latency against tokens with the line through it, both on log scales."""
    with sns.axes_style(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
    lines = breakdown.overheads()
    if not lines:
        return nothing(figure, axes, "time against tokens was not measured")
    for marker, line in zip(cycle(MARKERS), lines, strict=False):
        colour = COLOURS.get(line.implementation, OTHER)
        values = [latency.scaled(1e3) for latency in line.latencies]
        axes.errorbar(
            line.tokens, [v.value for v in values], yerr=whiskers(values), fmt=marker, color=colour, capsize=3,
            label=line.label,
        )  # fmt: skip
        if line.fits:
            drawn = np.geomspace(min(line.tokens), max(line.tokens), 50)
            axes.plot(drawn, 1e3 * (line.overhead.value + drawn / line.rate.value), color=colour, linewidth=1)
    _label_ends(axes, lines)
    axes.set_xscale("log")
    axes.set_yscale("log")
    sizes = sorted({tokens for line in lines for tokens in line.tokens})
    axes.set_xticks(sizes, [f"{tokens:,}" for tokens in sizes])
    axes.set_xlim(min(sizes) / 1.3, max(sizes) * 3.5)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.10g}"))
    axes.set_xlabel("tokens (log scale)")
    axes.set_ylabel("latency of one forward, ms (log scale; less is better)")
    return figure


def _label_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """Names at the lines' ends, moved up where they would stand in each other."""
    latencies = [latency.value * 1e3 for line in lines for latency in line.latencies]
    apart = (max(latencies) / min(latencies)) ** LABELS_APART
    place = 0.0
    for line in sorted(lines, key=lambda line: line.latencies[-1].value):
        place = max(1e3 * line.latencies[-1].value, place * apart)
        colour = COLOURS.get(line.implementation, OTHER)
        where = (line.tokens[-1], place)
        axes.annotate(line.label, where, (8, 0), textcoords="offset points", va="center", fontsize=8.5, color=colour)


def _rows(count: int, label: str) -> tuple[Figure, Axes]:
    """A figure with a row for each of `count` things on a log axis."""
    with sns.axes_style(STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 0.42 * max(1, count)), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(label)
    axes.set_xscale("log")
    axes.grid(visible=False, axis="y")
    axes.set_ylim(max(1, count) - 0.5, -0.5)
    return figure, axes
