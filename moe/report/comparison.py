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
    *, config: str, checkpoint: str, layer: int, implementations: str, cuda: bool, threads: str, **effort: Any
) -> dict[str, Any]:
    """What `moe.compare` is called with; raises ValueError for a parameter that makes no sense.

    `effort` is what a Protocol has of it.
    """
    chosen = parse_config(config)
    SIZE_OR_NONE.check("layer", layer)
    model = load_checkpoint(checkpoint, layer=layer) if checkpoint else None
    problem = model.config(chosen.tokens, chosen.seed) if model else chosen
    # Among names `installed` stands for the five, third parties', and the extras that are there.
    named = [name for word in words(implementations) for name in (installed_names() if word == INSTALLED else [word])]
    variants = [parse_variant(name) for name in [*named, *(CUDA if cuda else ())]]
    counts = thread_counts(threads)
    plan(variants, problem, counts)
    Protocol(**effort)
    return {
        "implementations": [str(variant) for variant in variants],
        "config": problem,
        "checkpoint": model,
        "threads": counts,
        **effort,
    }


def findings(run: Run) -> Findings:
    """What a run says, with the first figure and the table of results."""
    summary, rows = summarise(run), frames.rows(run)
    caption, missing = found.first_caption(drawn(rows)), sentences.without_numbers(run)
    return Findings(found.headline(summary), caption, tables.results(rows), missing)


def load(run: str | None, **parameters: Any) -> Run:
    """The run at `run`, or one measured now with `parameters`."""
    return load_or_measure(run, "comparison", lambda: arguments(**parameters))
