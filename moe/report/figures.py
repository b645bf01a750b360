"""A summary's figures: one function a question, from a summary to a matplotlib figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from moe.analysis import Interval, Row, Summary
from moe.report.style import own_settings
from moe.report.text import label_text, printable, significant, threads_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

# One colour an implementation in every figure: at least 3.4 : 1 on white, told apart under the common forms of
# colour blindness, and never alone: each row is labelled, each number of threads has a marker.
COLOURS = {"python": "#767676", "numpy": "#000000", "torch-naive": "#009E73", "torch": "#0072B2", "mojo": "#D55E00"}
OTHER = "#8A3FFC"
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
STYLE = "whitegrid"


@own_settings()
def latency(summary: Summary) -> Figure:
    """Seconds of one forward, on a log scale."""
    return _dots(summary, lambda row: row.latency, 1e3, "latency of one forward, ms (log scale; less is better)")


@own_settings()
def throughput(summary: Summary) -> Figure:
    """Tokens a second, on a log scale."""
    return _dots(summary, lambda row: row.throughput, 1.0, "tokens a second (log scale; more is better)")


@own_settings()
def speedup(summary: Summary) -> Figure:
    """Tokens a second over the baseline's on as many threads, on a log scale."""
    label = f"tokens a second over {as_text(summary.baseline)} on as many threads (log scale; more is better)"
    return _dots(summary, lambda row: row.speedup, 1.0, label, line_at=1.0)


def _dots(
    summary: Summary,
    value: Callable[[Row], Interval | None],
    factor: float,
    label: str,
    line_at: float | None = None,
) -> Figure:
    """One row an implementation, one marker a number of threads, each with its interval and its value."""
    shown = [row for row in summary.measured if value(row)]
    names = list(dict.fromkeys(row.label for row in shown))
    counts = summary.thread_counts
    with sns.axes_style(STYLE):
        figure = Figure(figsize=(7.2, 0.9 + 0.34 * max(1, len(names) * len(counts))), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(label)
    if not shown:
        return nothing(figure, axes, "nothing was measured")
    axes.set_xscale("log")
    axes.grid(visible=False, axis="y")
    intervals = [i for row in shown if (i := value(row)) is not None]
    for row, interval in zip(shown, intervals, strict=True):
        place = names.index(row.label) + 0.8 * ((counts.index(row.threads) + 0.5) / len(counts) - 0.5)
        _dot(axes, interval.scaled(factor), place, row, counts.index(row.threads))
    if line_at is not None:
        axes.axvline(line_at, color="#444444", linewidth=1)
    titles = {row.label: label_text(row, summary.tokens) for row in shown}
    axes.set_yticks(range(len(names)), [as_text(titles[name]) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    leave_room(axes, [end * factor for i in intervals for end in ((i.low, i.high) if i.bounded else (i.value,))])
    return figure


def as_text(name: str) -> str:
    """A name as matplotlib takes it, where dollars begin formulas and legends leave out what begins with _."""
    return ("./" if name.startswith("_") else "") + printable(name).replace("$", r"\$")


def nothing(figure: Figure, axes: Axes, why: str) -> Figure:
    """A figure that says why it shows nothing."""
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def leave_room(axes: Axes, values: list[float]) -> None:
    """Limits that leave the right third of a log axis to the labels, with plain numbers on the ticks."""
    decades = math.log10(max(values) / min(values))
    left, right = min(values) / 10 ** (0.1 + 0.05 * decades), max(values) * 10 ** (0.45 + 0.35 * decades)
    axes.set_xlim(left, right)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 1.5 else (1.0,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.10g}"))


def _dot(axes: Axes, interval: Interval, place: float, row: Row, marker: int) -> None:
    colour = COLOURS.get(row.measurement.implementation, OTHER)
    axes.errorbar(
        interval.value,
        place,
        xerr=whiskers([interval]),
        fmt=MARKERS[marker % len(MARKERS)],
        color=colour,
        markersize=6,
        capsize=3,
    )
    text = f"{significant(interval.value)}  ({threads_text(row.threads)})"
    end = interval.high if interval.bounded else interval.value
    axes.annotate(text, (end, place), (7, 0), textcoords="offset points", va="center", fontsize=8.5)


def whiskers(values: list[Interval]) -> list[list[float]]:
    """Distances down and up to each interval's ends, none where there is no interval."""
    return [
        [v.value - v.low if v.bounded else 0.0 for v in values],
        [v.high - v.value if v.bounded else 0.0 for v in values],
    ]


@own_settings()
def scaling(summary: Summary, label: str = "mojo") -> Figure:
    """Throughput of one implementation against its number of threads, beside perfect scaling."""
    rows = [row for row in summary.measured if row.label == label and row.throughput]
    with sns.axes_style(STYLE):
        figure = Figure(figsize=(7.2, 3.4), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel("threads")
    axes.set_ylabel("tokens a second")
    if not rows:
        return nothing(figure, axes, f"there is no throughput of {as_text(label)}")
    threads = [row.threads for row in rows]
    values = [row.throughput for row in rows if row.throughput]
    perfect = [values[0].value * count / threads[0] for count in threads]
    axes.plot(threads, perfect, "--", color="#767676", label=f"perfect scaling from {threads_text(threads[0])}")
    axes.errorbar(
        threads,
        [v.value for v in values],
        yerr=whiskers(values),
        fmt="o-",
        color=COLOURS.get(label, OTHER),
        capsize=3,
        label=as_text(label),
    )
    axes.set_xticks(threads)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.10g}"))
    axes.legend()
    return figure
