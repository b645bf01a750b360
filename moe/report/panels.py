"""A sweep's sentences, figures and tables as parts of a notebook's page: a panel for each machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from IPython.display import HTML

from moe.analysis.scaling import Scaling
from moe.report import tables
from moe.report.scaling_views import Parts, of_each
from moe.report.show import show_figure, show_sentences, show_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Say = Callable[[Scaling], str | list[str]]


def sentences(found: Parts, say: Say, kind: str = "findings") -> HTML:
    """What is to be said of each machine."""
    return show_sentences(of_each(found, say), kind)


def figures(found: Parts, draw: Callable[[Scaling], Figure], say: Say, name: str, run: str | None) -> HTML:
    """A figure of each machine with its finding below it; the first keeps the name alone as its file's."""
    shown = []
    for place, (machine, scaling) in enumerate(found.items()):
        (finding,) = of_each({machine: scaling}, say)
        shown.append(show_figure(draw(scaling), _numbered(name, place), finding, run).data)
    return HTML("".join(shown))


def machines(found: Parts) -> HTML:
    """Each machine's description."""
    shown = (tables.machine(s.summary, _numbered("machine", place)) for place, s in enumerate(found.values()))
    return HTML("".join(show_table(table).data for table in shown))


def _numbered(name: str, place: int) -> str:
    return f"{name}-{place + 1}" if place else name
