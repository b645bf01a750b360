"""The experiment behind `breakdown.ipynb`: its parameters become one run, and the run a breakdown."""

from __future__ import annotations

import re
from typing import Any

from moe.analysis.breakdown import THREADS, Breakdown, Experiment, inside_mojo, to_pytorch, variants_of
from moe.config import MoEConfig
from moe.implementations import parse_variant
from moe.measure.plan import Protocol, plan
from moe.report.parameters import thread_counts
from moe.report.source import load_or_measure

# Dozens of variants share the time: two inputs, and no longer warm-ups than they must have.
EFFORT: dict[str, Any] = {"inputs": 2, "warm_up_s": 0.03, "warm_up_most_s": 0.3}


def arguments(
    *,
    tokens: int,
    d_model: int,
    d_ff: int,
    num_experts: int,
    top_k: int,
    seed: int,
    factors: str,
    frameworks: bool,
    threads: str,
    budget_s: float,
    processes: int,
) -> dict[str, Any]:
    """What `moe.compare` is called with; raises ValueError for a parameter that makes no sense."""
    config = MoEConfig(tokens, d_model, d_ff, num_experts, top_k, seed)
    mojo, framework = experiments_of(factors, threads)
    names = variants_of([mojo, framework] if frameworks else [mojo])
    counts = fewest_and_most(threads)
    plan([parse_variant(name) for name in names], config, counts)
    effort = Protocol(budget_s=budget_s, processes=processes, **EFFORT)
    return {
        "implementations": names,
        "config": config,
        "threads": counts,
        "budget_s": effort.budget_s,
        "processes": effort.processes,
        **EFFORT,
    }


def experiments_of(factors: str, threads: str) -> tuple[Experiment, Experiment]:
    """The kernel's experiment over `factors`, and that from NumPy to PyTorch; one number of threads is no factor."""
    several = len(fewest_and_most(threads)) > 1
    chosen = [name for name in re.split(r"[,\s]+", factors.strip()) if name and (several or name != THREADS)]
    return inside_mojo(chosen), to_pytorch(with_threads=several)


def fewest_and_most(threads: str) -> list[int]:
    """The two numbers of threads that a breakdown compares, or the only one."""
    counts = thread_counts(threads)
    return sorted({min(counts), max(counts)})


def load(run: str | None, **parameters: Any) -> Breakdown:
    """The breakdown of the run at `run`, or of one measured now with `parameters`."""
    experiments = experiments_of(parameters["factors"], parameters["threads"])
    return Breakdown(load_or_measure(run, lambda: arguments(**parameters)), *experiments)
