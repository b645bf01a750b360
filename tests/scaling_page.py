"""The figures of the sweep's notebook, drawn from given runs."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import nbformat

from moe.analysis.scaling import Scaling
from moe.report import scaling_figures
from moe.report.parameters import NOTEBOOKS
from moe.run import Run

SOURCES = [cell.source for cell in nbformat.read(NOTEBOOKS / "scaling.ipynb", 4).cells]
FIGURES = re.findall(r'"([\w-]+)", run\)$', "\n".join(SOURCES), re.MULTILINE)
assert len(FIGURES) >= 7, f"tests of figures need their names, found {FIGURES}"


def drawn(runs: dict[str, Run], names: list[str] = FIGURES) -> dict[str, Any]:
    """The grid that each of the notebook's figures is, by its name, and as `captions` what is said below it."""
    found = {name: Scaling(run) for name, run in runs.items()}
    kept: dict[str, Any] = {"captions": {}}

    def keep(grid: Any, found: Any, say: Any, name: str, run: str | None) -> None:
        kept["captions"][name] = scaling_figures.show(grid, found, say, name, run).data
        kept[name] = grid

    scope: dict[str, Any] = {"found": found, "run": None}
    exec(next(source for source in SOURCES if "import seaborn" in source), scope)
    scope["scaling_figures"] = SimpleNamespace(**vars(scaling_figures) | {"show": keep})
    for name in names:
        exec(next(source for source in SOURCES if f'"{name}", run)' in source), scope)
    return kept
