"""A trial's figures: what was claimed beside what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from moe.analysis import Interval
from moe.analysis.verdicts import Judgement, Replayed, Trial, claimed_of
from moe.report.claims_views import WORDS
from moe.report.figures import COLOURS, OTHER, STYLE, as_text, leave_room, nothing, whiskers
from moe.report.style import own_settings
from moe.report.text import significant
from moe.variant import Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CLAIMED = "#8A3FFC"
MEASURED = "#000000"


@own_settings()
def ratios(trial: Trial) -> Figure:
    """How many times as fast, claimed and measured, for each claim that is about a ratio or a factor."""
    shown = [j for j in trial.judgements if j.found and ({"ratio", "factor"} & set(j.claim.quantity))]
    figure, axes = _canvas(len(shown), "times as fast (log scale)")
    if not shown:
        return nothing(figure, axes, "no claim about a ratio was measured")
    for place, judgement in enumerate(shown):
        _pair(axes, place, judgement)
    axes.axvline(1.0, color="#444444", linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{j.claim.id}\n{WORDS[j.verdict]}" for j in shown], fontsize=8.5)
    values = [end for j in shown if j.found for end in (*claimed_of(j.claim), *_ends(j.found.value))]
    leave_room(axes, [v for v in values if v > 0])
    figure.legend(loc="outside upper right", ncols=3, fontsize=8.5)
    return figure


@own_settings()
def replay(trial: Trial) -> Figure:
    """The source's rows: as published, by its own protocol here, and measured; arithmetic is hollow."""
    shown = trial.replayed()
    figure, axes = _canvas(len(shown), "tokens a second (log scale; more is better)", height=0.75)
    if not shown:
        return nothing(figure, axes, "the source's protocol was not replayed")
    for place, row in enumerate(shown):
        _published(axes, place - 0.25, row)
        _replayed(axes, place, row)
        _fair(axes, place + 0.25, row)
    axes.set_yticks(range(len(shown)), [r.row.name for r in shown])
    values = [v for r in shown for v in (r.published, r.replayed, *(_ends(r.fair) if r.fair else ())) if v]
    leave_room(axes, values)
    axes.xaxis.set_major_formatter(EngFormatter())
    figure.legend(loc="outside upper right", ncols=3, fontsize=8.5)
    return figure


def _canvas(rows: int, label: str, height: float = 0.5) -> tuple[Figure, Axes]:
    with sns.axes_style(STYLE):
        figure = Figure(figsize=(7.2, 1.2 + height * max(1, rows)), layout="constrained")
        axes = figure.add_subplot()
    axes.set_xlabel(label)
    axes.set_xscale("log")
    axes.set_ylim(max(1, rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    return figure, axes


def _pair(axes: Axes, place: int, judgement: Judgement) -> None:
    assert judgement.found is not None
    low, high = claimed_of(judgement.claim)
    first = place == 0
    axes.plot(
        [low, high], [place - 0.14] * 2, "D-", color=CLAIMED, mfc="white", markersize=6,
        label="claimed" if first else None,
    )  # fmt: skip
    text = significant(low) if low == high else f"{significant(low)}–{significant(high)}"
    _label(axes, high, place - 0.14, f"{text} claimed")
    value = judgement.found.value
    axes.errorbar(
        value.value, place + 0.14, xerr=whiskers([value]), fmt="o", color=MEASURED, markersize=6, capsize=3,
        label="measured, 95 % interval" if first else None,
    )  # fmt: skip
    _label(axes, _ends(value)[1], place + 0.14, significant(value.value))


def _published(axes: Axes, place: float, row: Replayed) -> None:
    # Hollow too where the source itself only computed it.
    face = "white" if row.hollow else CLAIMED
    axes.plot(
        row.published, place, "D", color=CLAIMED, mfc=face, label=None if row.hollow else _once(axes, "published")
    )
    _label(axes, row.published, place, significant(row.published) + (", arithmetic" if row.hollow else ""))


def _replayed(axes: Axes, place: float, row: Replayed) -> None:
    if row.replayed is None:
        return
    face = "white" if row.hollow else "#767676"
    label = None if row.hollow else _once(axes, "its protocol, replayed here")
    axes.plot(row.replayed, place, "s", color="#767676", mfc=face, label=label)
    _label(axes, row.replayed, place, significant(row.replayed) + (", arithmetic" if row.hollow else ""))


def _fair(axes: Axes, place: float, row: Replayed) -> None:
    if row.fair is None:
        return
    colour = COLOURS.get(Variant.read(row.row.fair).name, OTHER)
    axes.errorbar(
        row.fair.value, place, xerr=whiskers([row.fair]), fmt="o", color=colour, capsize=3,
        label=_once(axes, "measured, 95 % interval"),
    )  # fmt: skip
    _label(axes, _ends(row.fair)[1], place, f"{significant(row.fair.value)} ({as_text(row.row.fair)})")


def _once(axes: Axes, label: str) -> str | None:
    """A label for the legend, unless it has it."""
    return label if label not in axes.get_legend_handles_labels()[1] else None


def _label(axes: Axes, x: float, place: float, text: str) -> None:
    axes.annotate(text, (x, place), (7, 0), textcoords="offset points", va="center", fontsize=8)


def _ends(interval: Interval) -> tuple[float, float]:
    return (interval.low, interval.high) if interval.bounded else (interval.value, interval.value)
