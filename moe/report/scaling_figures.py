"""A sweep's figures: throughput, roofline, maps of who is faster, threads, skew, and speed against lines of code."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

import seaborn as sns
from matplotlib import colormaps
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from moe.analysis import limits_of
from moe.analysis.scaling import OURS, THEIRS, CellResult, Scaling
from moe.report.figures import COLOURS, MARKERS, OTHER, STYLE, as_text, nothing, whiskers
from moe.report.scaling_views import AXES
from moe.report.style import own_settings
from moe.report.text import significant, threads_text
from moe.variant import Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

MAP_COLOURS = "PuOr"  # told apart under the common forms of colour blindness; the values stand in the cells too
MOST_TIMES = 4.0  # the end of the map's colours: more is as dark


@own_settings()
def throughput(scaling: Scaling) -> Figure:
    """Tokens a second against tokens, both on log scales, with what the machine's limits allow."""
    line = scaling.line("tokens", lambda cell: cell.threads == scaling.most_threads and not cell.config.skew)
    figure, axes = _canvas("tokens (log scale)", "tokens a second (log scale; more is better)")
    if len(line) < 2:
        return nothing(figure, axes, "fewer than two numbers of tokens were measured")
    axes.set_xscale("log")
    axes.set_yscale("log")
    limit = [(c.config.tokens, c.config.tokens / r.bound.seconds) for c in line for r in c.rows[:1] if r.bound]
    axes.plot(*zip(*limit, strict=True), "--", color="#767676", label="the machine's limit")
    for place, label in enumerate(scaling.labels):
        points = [(c.config.tokens, r.throughput) for c in line if (r := c.row(label)) and r.throughput]
        axes.errorbar(
            [x for x, _ in points], [y.value for _, y in points], yerr=whiskers([y for _, y in points]),
            fmt=f"{MARKERS[place % len(MARKERS)]}-", color=_colour(label), capsize=3, label=as_text(label),
        )  # fmt: skip
    _plain_ticks(axes, [c.config.tokens for c in line])
    _plain_numbers(axes.yaxis)
    axes.set_title(f"{_sizes(line[0])}, {threads_text(line[0].threads)}", fontsize=9.5)
    axes.legend(fontsize=8.5)
    return figure


@own_settings()
def roofline(scaling: Scaling) -> Figure:
    """FLOP/s against FLOP a byte for every cell, under the roofs that the probes measured."""
    figure, axes = _canvas("FLOP a byte (log scale)", "GFLOP/s (log scale; more is better)")
    threads = scaling.most_threads
    limits = limits_of(scaling.run, threads)
    cells = [cell for cell in scaling.cells if cell.threads == threads]
    if limits is None or not cells:
        return nothing(figure, axes, "the machine's limits were not measured")
    axes.set_xscale("log")
    axes.set_yscale("log")
    xs: list[float] = []
    for place, label in enumerate(scaling.labels):
        points = []
        for cell in cells:
            row = cell.row(label)
            if row and row.flops_per_s:
                c = row.measurement.config
                size = row.measurement.details.get("bytes_moved", c.expected_bytes)
                points.append((c.flops / size, row.flops_per_s / 1e9))
        xs += [x for x, _ in points]
        axes.plot(
            [x for x, _ in points], [y for _, y in points], MARKERS[place % len(MARKERS)], color=_colour(label),
            alpha=0.8, label=as_text(label),
        )  # fmt: skip
    ends = [min(xs) / 1.5, max(xs) * 1.5]
    for size, style in ((min(limits.read_bytes_per_s), ":"), (max(limits.read_bytes_per_s), "--")):
        rate = limits.read_bytes_per_s[size]
        roof = [min(limits.flops_per_s, rate * x) / 1e9 for x in (ends[0], limits.flops_per_s / rate, ends[1])]
        corners = [ends[0], limits.flops_per_s / rate, ends[1]]
        name = f"roof, reads at {size / 2**20:g} MiB"
        axes.plot(*zip(*sorted(zip(corners, roof, strict=True)), strict=True), style, color="#444444", label=name)
    axes.set_xlim(*ends)
    _plain_numbers(axes.xaxis)
    _plain_numbers(axes.yaxis)
    axes.set_title(f"every cell on {threads_text(threads)}", fontsize=9.5)
    axes.legend(fontsize=8.5)
    return figure


@own_settings()
def regime(scaling: Scaling, other: str) -> Figure:
    """How many times as fast OURS is as THEIRS over tokens and another field; hatched where that is not resolved."""
    plane = {place: cell for place, cell in scaling.plane("tokens", other).items() if cell.ratio}
    figure, axes = _canvas("tokens", AXES[other])
    if not plane:
        return nothing(figure, axes, f"no map of tokens and {AXES[other]} was measured")
    xs, ys = (sorted({place[i] for place in plane}) for i in (0, 1))
    norm = TwoSlopeNorm(0.0, -log2(MOST_TIMES), log2(MOST_TIMES))
    for (x, y), cell in plane.items():
        assert cell.ratio is not None
        place = (xs.index(x) - 0.5, ys.index(y) - 0.5)
        shade = norm(max(-log2(MOST_TIMES), min(log2(MOST_TIMES), log2(cell.ratio.value))))
        face = colormaps[MAP_COLOURS](1 - float(shade))
        hatch = None if cell.resolved else "///"
        axes.add_patch(Rectangle(place, 1, 1, facecolor=face, edgecolor="#767676", hatch=hatch, linewidth=0.5))
        text = significant(cell.ratio.value) + ("" if cell.resolved else "\nnot resolved")
        box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
        axes.text(xs.index(x), ys.index(y), text, ha="center", va="center", fontsize=9, bbox=box)
    axes.set_xlim(-0.5, len(xs) - 0.5)
    axes.set_ylim(-0.5, len(ys) - 0.5)
    axes.set_xticks(range(len(xs)), [f"{x:,}" for x in xs])
    axes.set_yticks(range(len(ys)), [f"{y:,}" for y in ys])
    axes.grid(visible=False)
    axes.set_title(f"{OURS} over {THEIRS}, times as fast; orange where {OURS} is faster", fontsize=9.5)
    return figure


@own_settings()
def threads(scaling: Scaling) -> Figure:
    """Speedup over one thread against threads, beside perfect scaling."""
    line = scaling.line("threads")
    figure, axes = _canvas("threads", "times as fast as on the fewest threads")
    if len(line) < 2:
        return nothing(figure, axes, "only one number of threads was measured")
    counts = [cell.threads for cell in line]
    axes.plot(counts, [count / counts[0] for count in counts], "--", color="#767676", label="perfect scaling")
    for place, label in enumerate(scaling.labels):
        rows = [row for cell in line if (row := cell.row(label)) and row.latency]
        if len(rows) < 2 or rows[0].latency is None:
            continue
        gains = [rows[0].latency.over(row.latency) for row in rows[1:] if row.latency]
        values = [1.0, *(gain.value for gain in gains)]
        errors = whiskers(gains)
        axes.errorbar(
            [row.threads for row in rows], values, yerr=[[0.0, *errors[0]], [0.0, *errors[1]]],
            fmt=f"{MARKERS[place % len(MARKERS)]}-", color=_colour(label), capsize=3, label=as_text(label),
        )  # fmt: skip
    axes.set_xticks(counts)
    axes.set_ylim(bottom=0)
    axes.set_title(line[0].config.label, fontsize=9.5)
    axes.legend(fontsize=8.5)
    return figure


@own_settings()
def skew(scaling: Scaling) -> Figure:
    """Latency against the share of tokens that go to one expert, over that of even routing."""
    line = scaling.line("skew")
    figure, axes = _canvas("tokens that one expert gets first, %", "time over that of even routing")
    if len(line) < 2:
        return nothing(figure, axes, "only one skew of the routing was measured")
    for place, label in enumerate(scaling.labels):
        rows = [(cell.config.skew, row.latency) for cell in line if (row := cell.row(label)) and row.latency]
        if len(rows) < 2:
            continue
        ratios = [(x, latency.over(rows[0][1])) for x, latency in rows[1:]]
        errors = whiskers([ratio for _, ratio in ratios])
        axes.errorbar(
            [rows[0][0], *(x for x, _ in ratios)], [1.0, *(ratio.value for _, ratio in ratios)],
            yerr=[[0.0, *errors[0]], [0.0, *errors[1]]],
            fmt=f"{MARKERS[place % len(MARKERS)]}-", color=_colour(label), capsize=3, label=as_text(label),
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_title(f"{line[0].config.label}, {threads_text(line[0].threads)}", fontsize=9.5)
    axes.legend(fontsize=8.5)
    return figure


@own_settings()
def speed_and_lines(scaling: Scaling) -> Figure:
    """Tokens a second against lines of code, at the cell with the most work, and the Pareto front."""
    figure, axes = _canvas("lines of code (log scale; fewer is better)", "tokens a second (log scale)")
    cells = [cell for cell in scaling.cells if cell.threads == scaling.most_threads and not cell.config.skew]
    cell = max(cells, key=lambda c: (len(c.rows), c.config.flops), default=None)
    points = [
        (row, sum(row.measurement.details.get("lines", {}).values()))
        for row in (cell.rows if cell else ())
        if row.throughput
    ]
    points = [(row, lines) for row, lines in points if lines]
    if cell is None or not points:
        return nothing(figure, axes, "lines of code are not known")
    axes.set_xscale("log")
    axes.set_yscale("log")
    counts = sorted({lines for _, lines in points})
    axes.set_xlim(counts[0] / 1.5, counts[-1] * 2)  # room for names, also where all have as many
    places = [(lines, row.throughput.value) for row, lines in points if row.throughput]
    for row, lines in points:
        assert row.throughput is not None
        axes.errorbar(lines, row.throughput.value, yerr=whiskers([row.throughput]), fmt="o", color=_colour(row.label))
        name = f"{as_text(row.label)}: {lines:,} lines"
        axes.annotate(name, (lines, row.throughput.value), (8, -11), textcoords="offset points", fontsize=8.5)
    front = [(x, y) for x, y in places if not any(a <= x and b >= y and (a, b) != (x, y) for a, b in places)]
    if len(front) > 1:
        axes.plot(*zip(*sorted(front), strict=True), ":", color="#767676", zorder=1, label="beaten by nothing")
        axes.legend(fontsize=8.5)
    axes.margins(y=0.3)
    _plain_ticks(axes, counts)
    _plain_numbers(axes.yaxis)
    axes.set_title(f"{cell.config.label}, {threads_text(cell.threads)}", fontsize=9.5)
    return figure


def _canvas(x: str, y: str) -> tuple[Figure, Axes]:
    with sns.axes_style(STYLE):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _colour(label: str) -> str:
    return COLOURS.get(Variant.read(label).name, OTHER)


def _plain_ticks(axes: Axes, values: list[int]) -> None:
    axes.set_xticks(values, [f"{value:,}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())


def _plain_numbers(axis: Axis) -> None:
    """Ticks of a log axis as numbers, without powers."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.10g}"))


def _sizes(cell: CellResult) -> str:
    c = cell.config
    return f"d={c.d_model} f={c.d_ff} E={c.num_experts} k={c.top_k}"
