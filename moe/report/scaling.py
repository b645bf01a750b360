"""The experiment behind `scaling.ipynb`: its parameters become a sweep over several small grids."""

from typing import Any

from moe.config import MoEConfig, unknown_name
from moe.implementations import parse_variant
from moe.measure.grid import cells_of
from moe.measure.protocol import Protocol
from moe.measure.sweep import sweep
from moe.models import MODELS, held
from moe.ranges import Range
from moe.report.parameters import numbers, thread_counts, words
from moe.report.scaling_views import Parts, parts_of
from moe.report.source import load_or_measure

SMALL = {"d_model": [64], "d_ff": [128]}  # many experts of this size still fit a cache
MIDDLE_TOKENS = 256
MIB = Range(1, 2**40, whole=True)


def arguments(
    *,
    token_counts: str,
    d_models: str,
    experts: str,
    skews: str,
    models: str,
    model_tokens: str,
    model_precisions: str,
    model_mib: int,
    threads: str,
    variants: str,
    **effort: Any,
) -> dict[str, Any]:
    """What `moe.sweep` is called with; raises ValueError for a parameter that makes no sense.

    `effort` is what a Protocol has of it.
    """
    counts = thread_counts(threads)
    most = [max(counts)]
    MIB.check("model_mib", model_mib)
    sizes = numbers("token_counts", token_counts)
    if not sizes:
        raise ValueError(f"token_counts must be whole numbers like 1, 16, 256, got {token_counts!r}")
    # What is small comes first: a map that lacks its finest cells still is one.
    grids: list[dict[str, list[Any]]] = [
        {"tokens": [max(sizes)], "threads": counts},
        {"tokens": [MIDDLE_TOKENS], "skew": numbers("skews", skews), "threads": most},
        {"tokens": sizes, "d_model": numbers("d_models", d_models), "threads": most},
        {"tokens": sizes, "num_experts": numbers("experts", experts), "threads": most, **SMALL},
        {
            "config": [_held(name, model_mib) for name in words(models)],
            # Cells of one precision side by side: their weights are made once.
            "precision": words(model_precisions),
            "tokens": numbers("model_tokens", model_tokens),
            "threads": most,
        },
    ]
    grids = [grid for grid in grids if all(grid.values())]
    for grid in grids:
        _, left_out = cells_of(MoEConfig(), grid)
        if left_out:
            raise ValueError(f"no layer has {left_out[0]}")
    Protocol(**effort)
    return {"implementations": [str(parse_variant(name)) for name in words(variants)], "over": grids, **effort}


def _held(name: str, mib: int) -> MoEConfig:
    if name not in MODELS:
        raise ValueError(unknown_name("model", name, list(MODELS)))
    return held(MODELS[name].config, mib * 2**20)


def load(run: str | None, **parameters: Any) -> Parts:
    """What the sweep at `run` says of each machine it was measured on, or one measured here with `parameters`."""
    return parts_of(load_or_measure(run, "scaling", lambda: arguments(**parameters), sweep))
