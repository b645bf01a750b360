"""One Mixture-of-Experts layer in Python, NumPy, PyTorch and Mojo, measured side by side."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moe.analysis.changes import compare_runs
    from moe.analysis.factors import factors
    from moe.analysis.frames import frame, rows
    from moe.analysis.scaling import cells
    from moe.config import PRESETS, MoEConfig
    from moe.implementations import create
    from moe.measure.compare import compare
    from moe.measure.sweep import sweep
    from moe.problem import Problem, Weights, make_problem
    from moe.report.source import latest
    from moe.run import Run, load_run

__all__ = [
    "PRESETS",
    "MoEConfig",
    "Problem",
    "Run",
    "Weights",
    "cells",
    "compare",
    "compare_runs",
    "create",
    "factors",
    "frame",
    "latest",
    "load_run",
    "make_problem",
    "rows",
    "sweep",
]

# Imported when they are first used: every worker imports this package, and needs hardly any of them.
_HOMES = {
    "moe.analysis.changes": ("compare_runs",),
    "moe.analysis.factors": ("factors",),
    "moe.analysis.frames": ("frame", "rows"),
    "moe.analysis.scaling": ("cells",),
    "moe.config": ("PRESETS", "MoEConfig"),
    "moe.implementations": ("create",),
    "moe.measure.compare": ("compare",),
    "moe.measure.sweep": ("sweep",),
    "moe.problem": ("Problem", "Weights", "make_problem"),
    "moe.report.source": ("latest",),
    "moe.run": ("Run", "load_run"),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    if not name.startswith("_") and find_spec(f"moe.{name}"):
        return import_module(f"moe.{name}")
    raise AttributeError(f"module 'moe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
