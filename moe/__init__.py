"""One Mixture-of-Experts layer in Python, NumPy, PyTorch and Mojo, measured side by side."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moe.analysis.changes import compare_runs as compare_runs
    from moe.analysis.factors import factors as factors
    from moe.analysis.frames import frame as frame
    from moe.analysis.frames import rows as rows
    from moe.analysis.scaling import cells as cells
    from moe.checkpoint import Checkpoint as Checkpoint
    from moe.checkpoint import load_checkpoint as load_checkpoint
    from moe.config import PRESETS as PRESETS
    from moe.config import MoEConfig as MoEConfig
    from moe.config import parse_config as config
    from moe.form import Form as Form
    from moe.implementations import create as create
    from moe.measure.compare import compare as compare
    from moe.measure.sweep import sweep as sweep
    from moe.problem import Problem as Problem
    from moe.problem import Weights as Weights
    from moe.problem import make_problem as make_problem
    from moe.report.source import latest as latest
    from moe.run import Run as Run
    from moe.run import load_run as load_run

# Imported when they are first used: every worker imports this package, and needs hardly any of them.
_HOMES = {
    "moe.analysis.changes": ("compare_runs",),
    "moe.analysis.factors": ("factors",),
    "moe.analysis.frames": ("frame", "rows"),
    "moe.analysis.scaling": ("cells",),
    "moe.checkpoint": ("Checkpoint", "load_checkpoint"),
    "moe.config": ("PRESETS", "MoEConfig"),
    "moe.form": ("Form",),
    "moe.implementations": ("create",),
    "moe.measure.compare": ("compare",),
    "moe.measure.sweep": ("sweep",),
    "moe.problem": ("Problem", "Weights", "make_problem"),
    "moe.report.source": ("latest",),
    "moe.run": ("Run", "load_run"),
}
__all__ = ["config", *(name for names in _HOMES.values() for name in names)]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    if not name.startswith("_") and find_spec(f"moe.{name}"):
        return import_module(f"moe.{name}")
    raise AttributeError(f"module 'moe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
