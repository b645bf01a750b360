"""Two runs that lead to opposite findings, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import moe

from .synthetic import PARITY, synthetic_run

# Definitions, which hold of every run: all else is found.
OF_EVERY_RUN = ("Measured: one forward", "Not measured: preparing", "A row's value is", "Python's own floats")


def one() -> Any:
    """Mojo first, all well."""
    run = synthetic_run({"python": 40.0, "numpy": 0.02, "torch": 0.012, "mojo": 0.005}, (1, 2), noise=0.01)
    return _with_limits(run, 2e11)


def other() -> Any:
    """NumPy first, on another machine; something failed, disagreed, was cut short and disturbed."""
    run = synthetic_run({"numpy": 0.005, "torch": 0.03, "mojo": 0.04}, (1, 2), rounds=20, noise=0.05, seed=9)
    run.machine |= {"processor": "Slowium", "core_quota": 1.5}
    run.measurements[1].status, run.measurements[1].reason = "failed", "killed by SIGKILL"
    run.measurements[1].parity = {**PARITY, "passed": False, "reason": "off"}
    run.measurements[0].disturbed = [True] * 3 + [False] * 17
    for m in run.measurements:
        m.config = moe.MoEConfig(100, 32, 32, 4, 2)
        if m.threads == 2:
            m.samples_s = [[s * 3 for s in turn] for turn in m.samples_s]
    run.complete, run.elapsed_s = False, 60.0
    run.protocol |= {"inputs": 9, "turn_s": 0.5}
    return _with_limits(run, 9e11)


def _with_limits(run: Any, flops_per_s: float) -> Any:
    probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
    run.limits = [{"threads": t, "by": "probes", "flops_per_s": flops_per_s * t, "bandwidth": probes} for t in (1, 2)]
    return run


def said(function: Callable[[Any], str | list[str]], found: Any) -> set[str]:
    text = function(found)
    lines = [text] if isinstance(text, str) else text
    return {line for line in lines if not line.startswith(OF_EVERY_RUN)}
