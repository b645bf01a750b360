"""What a notebook's cells draw with: rows chosen and named for a figure, its looks, and its finish.

A cell makes a seaborn FacetGrid of a frame's `ends`, draws on it, and has it finished and shown.
"""

import math
from textwrap import wrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from moe.analysis import frames
from moe.analysis.factors import WHOLE
from moe.analysis.frames import interval_of, records, with_numbers
from moe.report.findings.words import counted, factor_of, rounded, title_of
from moe.report.finish import finish, name_axis, plain_numbers
from moe.report.show import show_figure, show_sentences
from moe.report.style import COLOURS, GREY, MARKER_OF, MARKERS, OTHERS, QUANTITIES, STYLE, WIDTH, own_settings
from moe.report.text import label_text, printable, seconds, significant, threads_text

NEAR = 10.0  # times as slow as the fastest: what is slower takes the whole axis, and stands below the figure
ROW = 0.3  # inches of a bar
LONGEST = 36  # characters of a label
WHISKER, HALO = "#000000", "#FFFFFF"  # one of them is seen on a bar of any colour


def drawn(rows: pd.DataFrame) -> pd.DataFrame:
    """What figures show of `moe.rows`: measured on the CPU, the fastest first on each number of threads.

    Each has a `name`, its panel (`on`), its speedup in words where that is resolved (`given`), and as `limit` the
    tokens a second that the machine allows.
    """
    whole = rows.tokens.max()
    rows = with_numbers(rows)
    names = [
        label_text(_fitting(title_of(r["label"])), r["tokens"], whole, disturbed=r["too_disturbed"])
        for r in records(rows)
    ]
    on = ["on " + threads_text(threads) for threads in rows.threads]
    given = [f"{rounded(interval_of(r, 'speedup'))} ×" if r["resolved"] else "" for r in records(rows)]
    rows = rows.assign(name=[as_text(name.replace(" (", "\n(")) for name in names], on=on, given=given)
    rows["limit"] = rows.tokens_per_s / rows.share_of_limit
    return rows.sort_values(["threads", "tokens_per_s"], ascending=[True, False], kind="stable")


def _fitting(label: str) -> str:
    """A label in lines that leave room for the axis beside them, options below the name; of a long one the end."""
    short = label if len(label) <= LONGEST else f"…{label[1 - LONGEST :]}"
    return "\n".join(line for part in short.replace("[", "\n[").splitlines() for line in _balanced(part))


def _balanced(text: str) -> list[str]:
    """A text in as few lines as half of LONGEST allows, none much longer than the others."""
    wrapped = [wrap(text, width) for width in range(1, LONGEST // 2 + 1)]
    return next(lines for lines in wrapped if len(lines) == len(wrapped[-1]))


def near(rows: pd.DataFrame) -> pd.DataFrame:
    """Those that one linear axis can show beside the fastest on as many threads."""
    best = rows.groupby("threads").tokens_per_s.transform("max")
    return rows[rows.tokens_per_s * NEAR >= best]


def factors(rows: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """The factors of one of `moe.factors`' experiments, the most important first, without the whole."""
    own = rows[(rows.experiment == experiment) & (rows.factor != WHOLE)].sort_values("times", ascending=False)
    return own.assign(name=own.factor.map(_factor), on="", colour=COLOURS.get(experiment, OTHERS[0]))


def _factor(factor: str) -> str:
    """A factor in words, above the name that options and tables give it."""
    words = factor_of(factor)
    return factor if words == factor else f"{words}\n({factor})"


def precisions(rows: pd.DataFrame) -> pd.DataFrame:
    """What bfloat16 gives over float32, a panel a number of tokens; `rows` are `analysis.factors.precisions`.

    `limit` is what it could give by the machine's limits.
    """
    own = rows[(rows.precision == "bfloat16") & rows.times.notna()]
    on = [
        f"at {counted(row['tokens'], 'token', 'tokens')}" + (f", limited by {row['bound']}" if row["bound"] else "")
        for row in records(own)
    ]
    return own.assign(name=own.label.map(named), on=on, limit=own.limit_times)


def over_tokens(points: pd.DataFrame) -> pd.DataFrame:
    """Time against tokens, the slowest first; `points` are `analysis.factors.overheads`."""
    rows = points.assign(name=points.label.map(named), on="")
    slowest = rows.groupby("name").latency_s.transform("max")
    return rows.assign(slowest=slowest).sort_values(["slowest", "tokens"], ascending=[False, True])


def over_threads(rows: pd.DataFrame, label: str) -> pd.DataFrame:
    """A variant's rows beside perfect scaling from the fewest threads; none where it ran on one number of them."""
    own = rows[rows.label == label].assign(on="")
    if own.threads.nunique() < 2:
        return own[:0]
    perfect = own.tokens_per_s.iloc[0] * own.threads / own.threads.iloc[0]
    alone = {"tokens_per_s_low": float("nan"), "tokens_per_s_high": float("nan")}
    return pd.concat([own, own.assign(tokens_per_s=perfect, **alone, name="perfect scaling", implementation="")])


def ends(rows: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """A quantity's low end, value and high end as three rows, in the unit of its axis; see `analysis.frames.ends`."""
    found = frames.ends(rows, quantity)
    return found.assign(**{quantity: found[quantity] * QUANTITIES[quantity].factor})


def panels(rows: pd.DataFrame) -> dict[str, Any]:
    """For seaborn's FacetGrid: a panel for each of `on`, as high as it has names, all as wide as a phone."""
    counts = [own.name.nunique() for _, own in rows.groupby("on", sort=False)] or [1]
    height = sum(0.35 + ROW * count for count in counts) + 0.75
    return {
        "row": "on" if len(rows) else None,
        "height": height / len(counts),
        "aspect": WIDTH * len(counts) / height,
        "gridspec_kws": {"height_ratios": counts},
        "sharey": False,
        "despine": False,
    }


def one_panel(rows: pd.DataFrame) -> dict[str, Any]:
    """For seaborn's FacetGrid: one panel without a title, as wide as the others."""
    return {"row": "on" if len(rows) else None, "height": 3.6, "aspect": WIDTH / 3.6, "despine": False}


def colours(rows: pd.DataFrame) -> dict[str, str]:
    """Each name's colour: the column colour, or its implementation's, or another one where that has none."""
    if "colour" in rows:
        return dict(zip(rows.name, rows.colour, strict=True))
    others = iter(OTHERS * len(rows))
    of_label: dict[str, str] = {}
    for label, implementation in zip(rows.label, rows.implementation, strict=True):
        if implementation and label not in of_label:  # a variant with options gets another one
            own = COLOURS.get(str(implementation)) if "[" not in label else ""
            of_label[label] = own or next(others)
    named = zip(rows.name, rows.label, rows.implementation, strict=True)
    return {name: of_label[label] if implementation else GREY for name, label, implementation in named}


def bars(rows: pd.DataFrame) -> dict[str, Any]:
    """For seaborn's barplot: colours, and intervals that are exactly the three rows that `ends` makes."""
    return {
        **_intervals(rows),
        "legend": False,
        "width": 0.75,
        "saturation": 1,
        "capsize": 0.3,
        "err_kws": {"color": WHISKER, "linewidth": 1.5, "path_effects": [withStroke(linewidth=4, foreground=HALO)]},
    }


def points(rows: pd.DataFrame) -> dict[str, Any]:
    """For seaborn's pointplot: the same, with a marker each and no line."""
    return {
        **_intervals(rows),
        "legend": False,
        "markers": list(_markers(rows).values()),
        "linestyle": "none",
        "markersize": 6,
        "capsize": 0.3,
        "err_kws": {"linewidth": 1.5},
    }


def lines(rows: pd.DataFrame, **further: Any) -> dict[str, Any]:
    """For seaborn's lineplot: the same, with a legend and a bar at each point; `further` goes to matplotlib."""
    return {
        **_intervals(rows),
        "style": "name",
        "style_order": list(colours(rows)),
        "markers": _markers(rows),
        "dashes": {name: (4, 2) if colour == GREY else "" for name, colour in colours(rows).items()},
        "markersize": 6,
        "markeredgewidth": 0,
        "err_style": "bars",
        "err_kws": {"capsize": 3},
        **further,
    }


def _intervals(rows: pd.DataFrame) -> dict[str, Any]:
    palette = colours(rows)
    look = {"hue": "name", "hue_order": list(palette), "palette": palette}
    return {**look, "estimator": "median", "errorbar": ("pi", 100)}


def _markers(rows: pd.DataFrame) -> dict[str, str]:
    if "colour" in rows:
        return dict.fromkeys(rows.name, MARKERS[0])
    others = iter([m for m in MARKERS if m not in MARKER_OF.values()] * len(rows))
    named = dict(zip(rows.name, rows.implementation, strict=True))
    return {
        name: (MARKER_OF.get(implementation) or next(others)) if implementation else ","
        for name, implementation in named.items()
    }


def limits(data: pd.DataFrame, text: str = "the machine's limit ({bound})", **_: Any) -> None:
    """A dashed line at what the machine allows, with a text that may say what of it that is."""
    limit = data[data.limit.notna()]
    if len(limit):
        label = text.format(bound=limit.bound.iloc[0])
        plt.gca().axvline(limit.limit.median(), color="#444444", linestyle="--", linewidth=1.2, label=label)


def spans(data: pd.DataFrame, **_: Any) -> None:
    """A thin line from the least to the most that each factor gave with any of the others on."""
    for place, row in enumerate(records(data.drop_duplicates("name"))):
        plt.plot([row["least"], row["most"]], [place, place], color=GREY, linewidth=1, zorder=0)
    plt.plot([], [], color=GREY, linewidth=1, label="range, by which others are on")


def fits(data: pd.DataFrame, **_: Any) -> None:
    """The line overhead + tokens / rate of each that has one, over its tokens."""
    for name, own in data[data.fits].groupby("name", sort=False):
        tokens = np.geomspace(own.tokens.min(), own.tokens.max(), 50)
        line = (own.overhead_s.iloc[0] + tokens / own.rate.iloc[0]) * QUANTITIES["latency_s"].factor
        plt.plot(tokens, line, color=colours(data)[str(name)], linewidth=1)


def show(grid: sns.FacetGrid, quantity: str, name: str, finding: str, run: str | None, **words: str) -> HTML:
    """A finished figure with its finding below it, saved beside the run; where it shows nothing, the finding alone.

    `quantity` is what its x axis shows, or its y axis if that is so named; `words` fill the axis' label.
    """
    plt.close(grid.figure)  # else a notebook would show it again
    if grid.data.empty:
        return show_sentences(finding, "finding")
    with own_settings():
        finish(grid, quantity, **words)
    return show_figure(grid.figure, name, finding, run)


def waterfall(steps: pd.DataFrame) -> Figure:
    """Each step's bar goes from the latency before it to its own; `steps` are a chain of `analysis.factors.steps`."""
    latency = QUANTITIES["latency_s"]
    numbers = ["latency_s", "latency_s_low", "latency_s_high"]
    with own_settings(), sns.axes_style(STYLE):
        figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * max(1, len(steps))), layout="constrained")
        axes = figure.add_subplot(xscale="log", ylim=(len(steps) - 0.5, -0.5))
        before = None
        for place, step in enumerate(records(steps.assign(**steps[numbers] * latency.factor))):
            _draw_step(axes, place, step, before)
            before = step["latency_s"]
        axes.grid(visible=False, axis="y")
        axes.set_yticks(range(len(steps)), list(steps.turned_on), fontsize=9)
        left, right = axes.get_xlim()
        axes.set_xlim(left, right * (right / left) ** 0.55)
        plain_numbers(axes.xaxis)
        name_axis(axes.xaxis, latency.axis)
    return figure


def _draw_step(axes: Axes, place: int, step: dict[str, Any], before: float | None) -> None:
    """A step's point with its interval and its numbers, and the bar from the latency `before` it."""
    value, low, high = step["latency_s"], step["latency_s_low"], step["latency_s_high"]
    whiskers = [[0.0], [0.0]] if math.isnan(high) else [[value - low], [high - value]]
    colour = COLOURS.get(step["implementation"], OTHERS[0])
    if before is not None:
        axes.barh(place, value - before, left=before, height=0.5, color=colour, alpha=0.25, linewidth=0)
    axes.errorbar(value, place, xerr=whiskers, fmt="o", color=colour, markersize=5, capsize=3)
    given = "" if math.isnan(step["step_times"]) else f", {significant(step['step_times'])} ×"
    text = f"{seconds(value / QUANTITIES['latency_s'].factor)}{given}"
    most = max(value, before or value, value if math.isnan(high) else high)
    axes.annotate(text, (most, place), (6, 0), textcoords="offset points", va="center", fontsize=8.5)


def show_steps(steps: pd.DataFrame | None, chain: str, name: str, finding: str, run: str | None) -> HTML:
    """The waterfall of the ladder or the bridge, or its finding alone where it was not measured."""
    own = None if steps is None else steps[steps.chain == chain]
    if own is None or own.empty:
        return show_sentences(finding, "finding")
    return show_figure(waterfall(own), name, finding, run)


def named(label: str) -> str:
    """A variant's name in figures: the one that sentences give it, as matplotlib takes it."""
    return as_text(title_of(label))


def as_text(name: str) -> str:
    """A name as matplotlib takes it, where dollars begin formulas and legends leave out what begins with _."""
    return ("./" if name.startswith("_") else "") + printable(name).replace("$", r"\$")
