"""What a sweep's figures are drawn from: tidy frames with a panel a machine, and what those look like.

Each frame has the columns panel (its title), name, label and implementation, which is empty for lines that nothing
was measured for. A panel whose machine has nothing to show has one row without numbers, and its title says why.
"""

from collections.abc import Callable
from math import log2
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import TwoSlopeNorm
from matplotlib.patches import Rectangle

from moe.analysis.frames import ends, records
from moe.analysis.limits import Limits, limits_of
from moe.analysis.scaling import OURS, THEIRS, Scaling
from moe.report.figures import as_text, lines, named
from moe.report.findings.words import title_of
from moe.report.finish import plain_numbers
from moe.report.scaling_views import AXES, Parts, Say, of_each
from moe.report.show import show_figure
from moe.report.style import GREY, WIDTH, own_settings
from moe.report.text import significant, threads_text

PANELS = {"height": 3.6, "aspect": WIDTH / 3.6, "sharex": False, "sharey": False, "despine": False}
MAP_COLOURS = "PuOr_r"  # told apart under the common forms of colour blindness; the values stand in the cells too
LONGEST_TITLE = 48  # characters that fit above a panel
MOST_TIMES = 16  # the end of the map's colours: more is as dark


def along(found: Parts, axis: str, quantity: str) -> pd.DataFrame:
    """A quantity along an axis of cells, of `Scaling.line` or, for times, `over_first`; with what it is held against.

    That is the machine's limit, or along threads perfect scaling.
    """

    def of(scaling: Scaling) -> pd.DataFrame:
        line = scaling.over_first(axis) if quantity == "times" else scaling.line(axis)
        if line.cell.nunique() < 2:
            return line[:0]
        first, *others = (config.split() for config in line.config)
        sizes = " ".join(part for part in first if all(part in other for other in others))
        panel = sizes if axis == "threads" else f"{sizes}, {threads_text(line.threads.max())}"
        return pd.concat([_beside(line, axis, quantity), ends(line, quantity)]).assign(panel=panel)

    return _panels(found, of, f"fewer than two values of {AXES.get(axis, axis)} were measured")


def _beside(line: pd.DataFrame, axis: str, quantity: str) -> pd.DataFrame:
    """What a line along an axis is held against."""
    if quantity == "times":
        perfect = line.drop_duplicates("cell") if axis == "threads" else line[:0]
        return _unmeasured(perfect.assign(times=perfect.threads / perfect.threads.min()), "perfect scaling")
    limit = line[line.share_of_limit.notna()].drop_duplicates("cell")
    allowed = {"tokens_per_s": limit.tokens_per_s / limit.share_of_limit}
    allowed["latency_s"] = limit.latency_s * limit.share_of_limit
    return _unmeasured(limit.assign(**allowed), "the machine's limit")


def speed_and_lines(found: Parts) -> pd.DataFrame:
    """Tokens a second against lines of code at the cell with the most work, and the front of what nothing beats."""

    def of(scaling: Scaling) -> pd.DataFrame:
        groups = (own for _, own in scaling.on_most_threads.groupby("cell"))
        cell = max(groups, key=lambda own: (len(own), own.flops.max()), default=scaling.cells[:0])
        cell = cell[(cell.lines > 0) & cell.tokens_per_s.notna()]
        best = cell.sort_values(["lines", "tokens_per_s"], ascending=[True, False])
        front = best[best.tokens_per_s > best.tokens_per_s.cummax().shift(fill_value=0)]
        cell = cell.assign(label=[f"{title_of(row['label'])}: {row['lines']:,} lines" for row in records(cell)])
        line = _unmeasured(front if len(front) > 1 else front[:0], "none is faster and shorter")
        rows = pd.concat([line, ends(cell, "tokens_per_s")])
        return rows.assign(panel=f"{''.join(cell.config[:1])}, {threads_text(scaling.most_threads)}")

    return _panels(found, of, "lines of code are not known")


def plane(found: Parts, other: str) -> pd.DataFrame:
    """A row a cell of the largest map of tokens and another field, with the ratio of OURS over THEIRS."""

    def of(scaling: Scaling) -> pd.DataFrame:
        cells = scaling.plane(other)
        title = f"{title_of(OURS)} over {title_of(THEIRS)}, times as fast, on {threads_text(scaling.most_threads)}"
        return cells[cells.ratio.notna()].assign(panel=title)

    return _panels(found, of, f"no map of tokens and {AXES[other]} was measured")


def roofs(found: Parts) -> pd.DataFrame:
    """GFLOP/s against FLOP a byte of every cell on all threads, and the roofs that the probes measured."""

    def of(scaling: Scaling) -> pd.DataFrame:
        count = scaling.most_threads
        rows = scaling.cells[scaling.cells.threads == count]
        rows = rows.assign(gflop_per_s=rows.flops_per_s / 1e9, panel=f"every cell on {threads_text(count)}")
        limits = limits_of(scaling.run, count)
        if limits is None or rows.empty:
            return rows[:0]
        ends = rows.flop_per_byte.min() / 1.5, rows.flop_per_byte.max() * 1.5
        return pd.concat([rows, _roofs(limits, *ends).assign(panel=rows.panel.iloc[0])])

    return _panels(found, of, "the machine's limits were not measured")


def _roofs(limits: Limits, least: float, most: float) -> pd.DataFrame:
    """The roof of the nearest cache and that of the memory between two numbers of FLOP a byte."""
    corners = []
    for size in (min(limits.read_bytes_per_s), max(limits.read_bytes_per_s)):
        rate, label = limits.read_bytes_per_s[size], f"roof, reads at {size / 2**20:g} MiB"
        corner = min(max(least, limits.flops_per_s / rate), most)
        for x in (least, corner, most):
            y = min(limits.flops_per_s, rate * x) / 1e9
            corners.append({"label": label, "implementation": "", "flop_per_byte": x, "gflop_per_s": y})
    return pd.DataFrame(corners)


def _unmeasured(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    """Rows as a line that nothing was measured for."""
    return rows.assign(label=label, implementation="")


def _panels(found: Parts, of: Callable[[Scaling], pd.DataFrame], why: str) -> pd.DataFrame:
    """The frames of all machines; where one is empty, a row that says `why`."""
    frames = []
    for name, scaling in found.items():
        rows = of(scaling)
        rows = rows if len(rows) else rows.reindex([0]).assign(panel=why, label="", implementation="")
        title = rows.panel if not name else name + ": " + rows.panel
        frames.append(rows.assign(panel=title.map(as_text), name=rows.label.map(named)))
    return pd.concat(frames, ignore_index=True)


def roofline(data: pd.DataFrame, x: str, y: str, **_: Any) -> None:
    """Draw measured rows as points under their roofs, on the current axes."""
    measured = data[data.implementation != ""]
    if measured.empty:
        return
    look = lines(measured)
    own = {key: look[key] for key in ("hue", "style", "palette", "markers", "hue_order", "style_order")}
    sns.scatterplot(measured, x=x, y=y, alpha=0.8, s=50, linewidth=0, **own)
    roofs = data[data.implementation == ""].groupby("name", sort=False)
    for dashes, (label, line) in zip((":", "--"), roofs, strict=False):
        plt.plot(line[x], line[y], dashes, color="#444444", label=label)


def hatched_map(data: pd.DataFrame, x: str, y: str, **_: Any) -> None:
    """Draw each cell's ratio on the current axes, hatched where it is not resolved, and the scale of its colours."""
    axes = plt.gca()
    xs, ys = sorted(data[x].unique()), sorted(data[y].unique())
    norm = TwoSlopeNorm(0.0, -log2(MOST_TIMES), log2(MOST_TIMES))
    for cell in records(data[data.ratio.notna()]):
        column, row = xs.index(cell[x]), ys.index(cell[y])
        face = colormaps[MAP_COLOURS](norm(log2(min(MOST_TIMES, max(1 / MOST_TIMES, cell["ratio"])))))
        hatch = None if cell["resolved"] else "///"
        where = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(where, 1, 1, facecolor=face, edgecolor=GREY, hatch=hatch, linewidth=0.5))
        box = {"facecolor": "white", "alpha": 0.85, "edgecolor": "none", "pad": 1.5}
        axes.text(column, row, significant(cell["ratio"]), ha="center", va="center", fontsize=9, bbox=box)
    axes.set(xlim=(-0.5, len(xs) - 0.5), ylim=(-0.5, len(ys) - 0.5))
    axes.set_xticks(range(len(xs)), [f"{value:,.0f}" for value in xs])
    axes.set_yticks(range(len(ys)), [f"{value:,.0f}" for value in ys])
    axes.grid(visible=False)
    if data.ratio.notna().any():
        _colour_scale(axes, norm)


def _colour_scale(axes: Axes, norm: TwoSlopeNorm) -> None:
    """What a map's colours mean, below it."""
    inside = axes.inset_axes((0.05, -0.36, 0.9, 0.05))  # the grid's layout moves no axes that are the figure's
    bar = axes.figure.colorbar(ScalarMappable(norm, MAP_COLOURS), inside, orientation="horizontal")
    powers = range(-int(log2(MOST_TIMES)), int(log2(MOST_TIMES)) + 1, 2)
    first, *between, last = (f"1/{2**-power}" if power < 0 else str(2**power) for power in powers)
    bar.set_ticks(list(powers), labels=[f"≤ {first}", *between, f"≥ {last}"])
    bar.set_label(f"times as fast as {title_of(THEIRS)}; hatched: not resolved", size=8.5)


def show(grid: Any, found: Parts, say: Say, name: str, run: str | None) -> HTML:
    """A grid with a panel a machine, finished and shown with what is to be said of each below it."""
    with own_settings():
        _finish(grid)
    plt.close(grid.figure)  # else a notebook would show it again
    return show_figure(grid.figure, name, " ".join(of_each(found, say)), run)


def _finish(grid: Any) -> None:
    """Titles, plain numbers on log axes, small legends, and nothing but its title on a panel without data."""
    grid.figure.set_layout_engine("constrained")
    for axes in grid.axes.flat:
        if not np.isfinite(axes.dataLim.bounds).all():
            axes.clear()
            axes.set(xticks=[], yticks=[])
        elif axes.get_legend_handles_labels()[0]:
            # Below, where it covers nothing.
            axes.legend(
                title="", fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2, frameon=False
            )
        for axis in (axes.xaxis, axes.yaxis):
            if axis.get_scale() == "log":
                plain_numbers(axis)
    grid.set_titles("{row_name}", size=9.5)
    for axes in grid.axes.flat:
        whole = axes.get_title().replace(" thread", "\N{NO-BREAK SPACE}thread")
        axes.set_title("\n".join(wrap(whole, LONGEST_TITLE)), size=9.5)
