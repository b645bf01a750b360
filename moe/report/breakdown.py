"""The experiment behind `breakdown.ipynb`: its parameters become one run, and the run a breakdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from moe.analysis.breakdown import Breakdown, inside_mojo, to_pytorch, variants_of
from moe import implementations
from moe.config import MoEConfig
from moe.implementations import entry_of, parse_variant
from moe.measure.plan import Protocol, plan
from moe.report.parameters import thread_counts
from moe.report.source import load_or_measure
from moe.run import load_run
from moe.variant import Variant

RUN_FILE = "breakdown.json"  # in a report's folder

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
    switches: str,
    frameworks: bool,
    sizes: str,
    threads: str,
    budget_s: float,
    processes: int,
) -> dict[str, Any]:
    """What `moe.compare` is called with; raises ValueError for a parameter that makes no sense."""
    config = MoEConfig(tokens, d_model, d_ff, num_experts, top_k, seed)
    counts = thread_counts(threads)
    counts = sorted({min(counts), max(counts)})  # threads are a factor: the fewest, or the most
    several = len(counts) > 1
    mojo = inside_mojo([name for name in re.split(r"[,\s]+", switches.strip()) if name], with_threads=several)
    names = variants_of([mojo, to_pytorch(with_threads=several)] if frameworks else [mojo])
    further = by_tokens(config, sizes)
    plan([parse_variant(name) for name in names], config, counts, [(parse_variant(n), size) for n, size in further])
    effort = Protocol(budget_s=budget_s, processes=processes, **EFFORT)
    return {
        "implementations": names,
        "config": config,
        "threads": counts,
        "further": further,
        "budget_s": effort.budget_s,
        "processes": effort.processes,
        **EFFORT,
    }


def by_tokens(config: MoEConfig, sizes: str) -> list[tuple[str, MoEConfig]]:
    """Every implementation at each number of tokens that it can afford; raises ValueError for what is no number."""
    try:
        tokens = [int(part) for part in re.split(r"[,\s]+", sizes.strip()) if part]
    except ValueError:
        raise ValueError(f"sizes must be numbers of tokens like 1, 8, 64, got {sizes!r}") from None
    return [
        (name, config.with_tokens(count))
        for name in implementations.names()
        for count in sorted(set(tokens))
        if count <= (entry_of(Variant(name)).affordable_tokens or count)
    ]


def load(run: str | None, **parameters: Any) -> Breakdown:
    """The breakdown of the run at `run`, or of one measured now with `parameters`."""
    return Breakdown(load_or_measure(run, lambda: arguments(**parameters)))


def beside(run: str | None) -> Breakdown | None:
    """The breakdown that was measured for the same report as the run at `run`, if there is one."""
    path = Path(run).with_name(RUN_FILE) if run else None
    return Breakdown(load_run(path)) if path is not None and path.exists() else None
