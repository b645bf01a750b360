"""A sweep's sentences, figures and tables as parts of a notebook's page: a panel for each machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import HTML

from moe.analysis.scaling import Scaling
from moe.report import tables
from moe.report.scaling_figures import finish
from moe.report.scaling_views import Parts, of_each
from moe.report.show import show_figure, show_sentences, show_table
from moe.report.style import own_settings

Say = Callable[[Scaling], str | list[str]]


def sentences(found: Parts, say: Say, kind: str = "findings") -> HTML:
    """What is to be said of each machine."""
    return show_sentences(of_each(found, say), kind)


def figure(grid: Any, found: Parts, say: Say, name: str, run: str | None) -> HTML:
    """A grid with a panel a machine, finished and shown with what is to be said of each below it."""
    with own_settings():
        finish(grid)
    plt.close(grid.figure)  # else a notebook would show it again
    return show_figure(grid.figure, name, " ".join(of_each(found, say)), run)


def machines(found: Parts) -> HTML:
    """Each machine's description."""
    names = ("machine" if place == 1 else f"machine-{place}" for place in range(1, len(found) + 1))
    shown = (tables.machine(s.summary, name) for name, s in zip(names, found.values(), strict=True))
    return HTML("".join(show_table(table).data for table in shown))
