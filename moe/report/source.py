"""Where a notebook's numbers come from: the run that it was given, or one that it measures itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moe.measure.compare import compare
from moe.run import Run, load_run

RUNNER = "MOE_REPORT_PYTHON"


def run_file(folder: Path, name: str) -> Path:
    """Where a report's folder has the run of the notebook of this name."""
    return folder / f"{name}.json"


def load_or_measure(run: str | None, arguments: Callable[[], dict[str, Any]]) -> Run:
    """The run at `run`, or one measured now; raises RuntimeError in another Python than the report's."""
    checked_python()
    return load_run(run) if run else compare(**arguments())


def checked_python() -> None:
    """Raise RuntimeError in another Python than the report's."""
    expected = os.environ.get(RUNNER)
    if expected and sys.executable != expected:
        raise RuntimeError(f"this kernel runs {sys.executable}, the report was started with {expected}")
