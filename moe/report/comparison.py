"""The experiment behind `comparison.ipynb`: its parameters become one run."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from moe.analysis import Summary, summarise
from moe.config import MoEConfig
from moe.measure import compare
from moe.processor import usable_cores
from moe.run import Run, load_run

CUDA = "torch[device=cuda]"
RUNNER = "MOE_REPORT_PYTHON"


def measure(
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
    path: Path | None = None,
) -> Run:
    """Measure the comparison; raises ValueError for a parameter that makes no sense."""
    config = MoEConfig(tokens, d_model, d_ff, num_experts, top_k, seed)
    # A comma inside brackets separates options.
    chosen = [name for name in re.split(r"[,\s]+(?![^\[]*\])", implementations.strip()) if name]
    return compare(
        [*chosen, CUDA] if cuda else chosen,
        config,
        thread_counts(threads),
        path=path,
        budget_s=budget_s,
        processes=processes,
    )


def load(run: str | None, **parameters: object) -> Summary:
    """The results of the run at `run`, or of one measured now with `parameters`."""
    expected = os.environ.get(RUNNER)
    if expected and sys.executable != expected:
        raise RuntimeError(f"this kernel runs {sys.executable}, the report was started with {expected}")
    return summarise(load_run(run) if run else measure(**parameters))  # type: ignore[arg-type]


def thread_counts(text: str) -> list[int]:
    """`1,2` as numbers; `auto` is 1, 2, 4 … and every usable core. Raises ValueError for anything else."""
    if text == "auto":
        cores = usable_cores()
        return sorted({2**i for i in range(cores.bit_length()) if 2**i <= cores} | {cores})
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"threads must be auto or numbers like 1,2, got {text!r}") from None
