"""Measuring implementations side by side on one problem."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from moe.check import wrong_on_edges
from moe.checkpoint import Checkpoint
from moe.config import MoEConfig
from moe.implementations import parse_variant
from moe.measure.bench import Bench
from moe.measure.plan import plan
from moe.measure.protocol import Protocol
from moe.measure.schedule import until_budget
from moe.measure.start import new_run, run_to_measure
from moe.run import OTHER, Run


def compare(
    implementations: Sequence[str],
    config: MoEConfig,
    threads: Sequence[int] = (1,),
    *,
    path: str | Path | None = None,
    further: Sequence[tuple[str, MoEConfig]] = (),
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    checkpoint: Checkpoint | None = None,
    edges: bool = False,
    **protocol: Any,
) -> Run:
    """Measure implementations side by side on one problem; `protocol` takes the fields of `Protocol`.

    One of them is measured a second time, as a control; `further` ones, each with a config of its own, are measured
    beside them on the fewest threads. What disagrees with the reference is `failed` and not
    timed; what can't run is `not_run`. With `path` the run is saved as it grows, and after Ctrl-C as far as it
    got; `resume` adds to the run found there. With a `checkpoint` its weights are measured, of which `config` must be
    the layer: `checkpoint.config(tokens)`. With `edges` a layer from a file that is wrong on an edge of the published
    layer is `failed`, whatever it is on this problem. Raises ValueError for a bad argument, RunFileError for a file
    that may not be written, and RunEndedError, which has the run, where the system ends it or can't save it.
    """
    settings = Protocol(**protocol)
    more = [(parse_variant(name), size) for name, size in further]
    planned = plan([parse_variant(name) for name in implementations], config, threads, more)
    target = Path(path) if path is not None else None
    run = run_to_measure(new_run(planned, settings, threads, checkpoint), target, resume=resume, force=force)
    if not run.complete:
        wrong = wrong_on_edges([m.variant for m in run.measurements]) if edges else {}
        for m in run.measurements:
            if m.variant in wrong:
                m.status, m.reason, m.code = "failed", wrong[m.variant], OTHER
        bench = Bench(run, settings, target, progress, checkpoint.weights if checkpoint else None)
        with bench.measuring():
            until_budget(bench)
            run.complete = True
    return run
