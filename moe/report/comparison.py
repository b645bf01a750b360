"""The experiment behind `comparison.ipynb`: its parameters become one run."""

from typing import Any

from moe.analysis import frames, summarise
from moe.checkpoint import load_checkpoint
from moe.config import parse_config
from moe.implementations import installed_names, parse_variant
from moe.measure.plan import plan
from moe.measure.protocol import Protocol
from moe.ranges import SIZE_OR_NONE
from moe.report import sentences, tables
from moe.report.figures import drawn
from moe.report.findings import comparison as found
from moe.report.index import Findings
from moe.report.parameters import thread_counts, words
from moe.report.source import load_or_measure
from moe.run import Run

INSTALLED = "installed"
CUDA = ("torch[device=cuda]", "torch[device=cuda,transfer=on]")


def arguments(
    *,
    config: str,
    checkpoint: str,
    layer: int,
    implementations: str,
    cuda: bool,
    threads: str,
    budget_s: float,
    processes: int,
) -> dict[str, Any]:
    """What `moe.compare` is called with; raises ValueError for a parameter that makes no sense."""
    chosen = parse_config(config)
    SIZE_OR_NONE.check("layer", layer)
    model = load_checkpoint(checkpoint, layer=layer) if checkpoint else None
    problem = model.config(chosen.tokens, chosen.seed) if model else chosen
    variants = [parse_variant(name) for name in [*chosen_names(implementations), *(CUDA if cuda else ())]]
    counts = thread_counts(threads)
    plan(variants, problem, counts)
    effort = Protocol(budget_s=budget_s, processes=processes)
    return {
        "implementations": [str(variant) for variant in variants],
        "config": problem,
        "checkpoint": model,
        "threads": counts,
        "budget_s": effort.budget_s,
        "processes": effort.processes,
    }


def chosen_names(text: str) -> list[str]:
    """Names from a list of them; `installed` stands for the five, third parties', and the extras that are there."""
    return [name for word in words(text) for name in (installed_names() if word == INSTALLED else [word])]


def findings(run: Run) -> Findings:
    """What a run says, with the first figure and the table of results."""
    summary, rows = summarise(run), frames.rows(run)
    caption, missing = found.first_caption(drawn(rows)), sentences.without_numbers(run)
    return Findings(found.headline(summary), caption, tables.results(rows), missing)


def load(run: str | None, **parameters: Any) -> Run:
    """The run at `run`, or one measured now with `parameters`."""
    return load_or_measure(run, "comparison", lambda: arguments(**parameters))
