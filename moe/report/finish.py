"""The finish of a notebook's figures: names with units, plain numbers, values beside their marks, one legend."""

import math
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from moe.report.style import QUANTITIES
from moe.report.text import significant

LETTER = 0.026  # of the axis: as wide as one in a bar
UNSURE = "hatched: no interval"
INTERVAL = "95 % interval"
ACROSS, UPRIGHT = r"$\vdash\!\!\dashv$", r"$\mathtt{I}$"  # what intervals look like


def finish(grid: sns.FacetGrid, quantity: str, **words: str) -> None:
    """Labels with units, plain numbers, each value beside its mark, and a legend above for what has no name yet."""
    grid.figure.set_layout_engine("constrained")
    across = any(axes.get_xlabel() == quantity for axes in grid.axes.flat)
    if across:
        _leave_room(grid)
    for (row, column, _), data in grid.facet_data():
        axes = grid.axes[row, column]
        axis = axes.xaxis if across else axes.yaxis
        if across:
            _write_values(axes, data, quantity)
            axes.set_ylabel("")
            axes.grid(visible=False, axis="y")
        plain_numbers(axis)
        name_axis(axis, QUANTITIES[quantity].axis.format(**words))
        if not across and axes.get_xscale() == "log":
            plain_numbers(axes.xaxis)
    grid.set_titles("{row_name}", size=10)
    if across:  # above the first panel, where it is seen first
        for place, axes in enumerate(grid.axes.flat):
            axes.xaxis.set_label_position("top")
            axes.xaxis.label.set_visible(place == 0)
            axes.title.set(x=0, horizontalalignment="left")
    high = f"{quantity}_high"
    has_intervals = high in grid.data and grid.data[high].notna().any()
    _legend(grid, (ACROSS if across else UPRIGHT) if has_intervals else "")


def name_axis(axis: Axis, text: str) -> None:
    """Name an axis, and say log where it is; from its right end, where names at the left leave it little room."""
    log = "; log scale)" if text.endswith(")") else " (log scale)"
    text = text.removesuffix(")") + log if axis.get_scale() == "log" else text
    axis.set_label_text(text)
    if axis is axis.axes.xaxis:
        axis.axes.set_xlabel(text, loc="right")


def _legend(grid: sns.FacetGrid, interval: str) -> None:
    """One legend for all panels, above them, where no mark is under it; also of intervals that look like that."""
    found: dict[str, Any] = {}
    for axes in grid.axes.flat:
        if (own := axes.get_legend()) is not None:
            own.remove()
        found |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if interval:
        found[INTERVAL] = Line2D([], [], linestyle="none", color="#000000", marker=interval, markersize=10)
    if found:
        grid.figure.legend(found.values(), found, loc="outside upper center", ncols=2, fontsize=8.5, frameon=False)


def _write_values(axes: Axes, data: pd.DataFrame, quantity: str) -> None:
    """Each value beside its interval, or inside its bar where that is long enough."""
    named = [tick.get_text() for tick in axes.get_yticklabels()]
    groups = dict(list(data.groupby("name", sort=False)))
    farthest = dict(zip(data.name, data.most, strict=True)) if "most" in data else {}  # where a thin line ends
    left, right = axes.get_xlim()
    for place, name in enumerate(named):
        if name not in groups:
            continue
        own = groups[name][quantity]
        text, most = significant(own.median()), max(own.max(), farthest.get(name, own.max()))
        bar = _bar(axes, place)
        if bar and len(own) == 1:  # of the three that `ends` makes
            bar.set(hatch="////", edgecolor="white", linewidth=0, label=UNSURE)
        if bar and quantity == "tokens_per_s" and (given := groups[name].given.iloc[0]):
            text += f" ({given})"
        look: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
        if bar and own.min() - left > LETTER * (len(text) + 1) * (right - left):
            box: dict[str, Any] = {"facecolor": bar.get_facecolor(), "edgecolor": "none", "pad": 1}
            axes.annotate(text, (left, place), (5, 0), color="white", bbox=box, **look)
        else:
            box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}
            axes.annotate(text, (most, place), (6, 0), fontsize=9, bbox=box, **look)


def _bar(axes: Axes, place: int) -> Rectangle | None:
    """The bar of a name's place, if bars are what is drawn."""
    bars = (patch for patch in axes.patches if isinstance(patch, Rectangle))
    return next((bar for bar in bars if round(bar.get_y() + bar.get_height() / 2) == place), None)


def _leave_room(grid: sns.FacetGrid) -> None:
    """Space at the right for a number, once for all panels that share their axis."""
    widened: list[Axes] = []
    for axes in grid.axes.flat:
        left, right = axes.get_xlim()
        if any(axes.get_shared_x_axes().joined(axes, other) for other in widened):
            continue
        widened.append(axes)
        if axes.get_xscale() == "log":
            axes.set_xlim(left, right * (right / left) ** 0.25)
        elif not axes.patches:
            axes.set_xlim(left, right + 0.15 * (right - left))


def plain_numbers(axis: Axis) -> None:
    """Ticks as numbers without powers."""
    chosen = isinstance(axis.get_major_locator(), FixedLocator)  # by a cell
    if axis.get_scale() == "log":
        low, high = sorted(axis.get_view_interval())
        subs = (1.0, 2.0, 5.0) if math.log10(high / low) < 2 else (1.0,)
        axis.set_minor_locator(NullLocator())
        locator: Locator = LogLocator(subs=subs, numticks=4)  # longer numbers would touch
    else:
        locator = MaxNLocator(5)
    if not chosen:
        axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:,.10g}"))
