"""What is claimed beside what was measured, as marks on the rows of a frame: what a notebook's cells draw with."""

from collections.abc import Iterable
from math import log10
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from moe.report.figures import as_text
from moe.report.finish import plain_numbers
from moe.report.style import STYLE
from moe.report.text import significant

NUMBERS = ("claimed_low", "claimed_high", "measured", "measured_low", "measured_high", "published", "replayed")
FOR_NUMBERS = 0.4  # of the width, right of the last mark


def rows_of(frame: pd.DataFrame, names: Iterable[str], label: str) -> Axes:
    """Axes with a named row for each of a frame's, and room for its numbers on a log scale; `label` says what of."""
    with sns.axes_style(STYLE):
        figure = Figure(figsize=(4.3, 1.2 + 0.5 * max(1, len(frame))), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel=label, ylim=(max(1, len(frame)) - 0.5, -0.5))
    if frame.empty:
        axes.text(0.5, 0.5, "none of this was measured", ha="center", va="center", transform=axes.transAxes)
        axes.set(xticks=[], yticks=[])
        return axes
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(frame)), [as_text(name) for name in names], fontsize=8)
    values = [v for v in frame.reindex(columns=list(NUMBERS)).to_numpy(dtype=float).ravel() if v > 0]
    left = min(values) / 10 ** (0.1 + 0.05 * log10(max(values) / min(values)))
    axes.set_xlim(left, left * (max(values) / left) ** (1 / (1 - FOR_NUMBERS)))
    plain_numbers(axes.xaxis)
    return axes


def ends(axes: Axes, frame: pd.DataFrame, at: str, shift: float, form: str, **style: Any) -> None:
    """Marks at each row's number `at`, or at both of its ends with a line between; outlines where it is hollow."""
    low, high = (frame[f"{at}_low"], frame[f"{at}_high"]) if f"{at}_low" in frame else (frame[at], frame[at])
    hollow = frame.get("hollow", [False] * len(frame))
    for place, (left, right, is_hollow) in enumerate(zip(low, high, hollow, strict=True)):
        (line, *_) = axes.plot([left, right], [place + shift] * 2, form, color=style["color"])
        line.set_markerfacecolor("white" if is_hollow else style["color"])
        text = _short(left) if left == right else f"{_short(left)}–{_short(right)}"
        _write(axes, right, place + shift, f"{text}, arithmetic" if is_hollow else text)
    axes.plot([], [], form, **style)  # what the legend shows of them


def measured(axes: Axes, frame: pd.DataFrame, shift: float, of: str | None = None) -> None:
    """A point for what was measured of each row, its interval, and the number, with what the column `of` names."""
    value, low, high = (frame[f"measured{end}"].fillna(frame["measured"]) for end in ("", "_low", "_high"))
    places = [place + shift for place in range(len(frame))]
    label = "measured, 95 % interval"
    axes.errorbar(value, places, xerr=[value - low, high - value], fmt="o", color="#000000", capsize=3, label=label)
    names = [name and f" ({name})" for name in frame[of]] if of else [""] * len(frame)
    for x, right, place, name in zip(value, high, places, names, strict=True):
        _write(axes, right, place, f"{_short(x)}{name}")


def _short(value: float) -> str:
    """A number in few letters."""
    return f"{significant(value / 1e6)} M" if value >= 1e6 else significant(value)


def _write(axes: Axes, x: float, y: float, text: str) -> None:
    if x > 0:
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}
        axes.annotate(as_text(text), (x, y), (7, 0), textcoords="offset points", va="center", fontsize=8, bbox=box)
