"""One Mixture-of-Experts layer in Python, NumPy, PyTorch and Mojo, measured side by side."""

from moe.analysis import compare_runs
from moe.analysis.frames import cells, factors, rows
from moe.config import PRESETS, MoEConfig
from moe.implementations import create
from moe.measure import compare, sweep
from moe.problem import Problem, Weights, make_problem
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
    "load_run",
    "make_problem",
    "rows",
    "sweep",
]
