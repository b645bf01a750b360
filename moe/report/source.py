"""Where a notebook's numbers come from: the run that it was given, or one that it measures itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moe.measure.compare import compare
from moe.run import Run, load_run


def run_file(folder: Path, name: str) -> Path:
    """Where a report's folder has the run of the notebook of this name."""
    return folder / f"{name}.json"


def load_or_measure(run: str | None, arguments: Callable[[], dict[str, Any]]) -> Run:
    """The run at `run`, or one measured now."""
    return load_run(run) if run else compare(**arguments())
