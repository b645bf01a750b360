"""The experiment behind `comparison.ipynb`: its parameters become one run."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from moe.analysis import Summary, summarise
from moe.config import MoEConfig
from moe.implementations import parse_variant
from moe.measure import compare
from moe.measure.plan import Protocol, plan
from moe.processor import usable_cores
from moe.run import load_run

CUDA = ("torch[device=cuda]", "torch[device=cuda,transfer=on]")
RUNNER = "MOE_REPORT_PYTHON"


def arguments(
    *,
    tokens: int,
    d_model: int,
    d_ff: int,
    num_experts: int,
    top_k: int,
    seed: int,
    implementations: str,
    cuda: bool,
    threads: str,
    budget_s: float,
    processes: int,
) -> dict[str, Any]:
    """What `moe.compare` is called with; raises ValueError for a parameter that makes no sense."""
    config = MoEConfig(tokens, d_model, d_ff, num_experts, top_k, seed)
    # A comma inside brackets separates options.
    chosen = [name for name in re.split(r"[,\s]+(?![^\[]*\])", implementations.strip()) if name]
    variants = [parse_variant(name) for name in [*chosen, *(CUDA if cuda else ())]]
    counts = thread_counts(threads)
    plan(variants, config, counts)
    effort = Protocol(budget_s=budget_s, processes=processes)
    return {
        "implementations": [str(variant) for variant in variants],
        "config": config,
        "threads": counts,
        "budget_s": effort.budget_s,
        "processes": effort.processes,
    }


def load(run: str | None, **parameters: Any) -> Summary:
    """The results of the run at `run`, or of one measured now with `parameters`."""
    expected = os.environ.get(RUNNER)
    if expected and sys.executable != expected:
        raise RuntimeError(f"this kernel runs {sys.executable}, the report was started with {expected}")
    return summarise(load_run(run) if run else compare(**arguments(**parameters)))


def thread_counts(text: str) -> list[int]:
    """`1,2` as numbers; `auto` is 1, 2, 4 … and every usable core. Raises ValueError for anything else."""
    if text == "auto":
        cores = usable_cores()
        return sorted({2**i for i in range(cores.bit_length()) if 2**i <= cores} | {cores})
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"threads must be auto or numbers like 1,2, got {text!r}") from None
