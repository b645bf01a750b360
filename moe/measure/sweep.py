"""A sweep: many cells measured one after the other by the same worker processes, each saved when it is done."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moe.checkpoint import Checkpoint
from moe.config import PRESETS, MoEConfig
from moe.implementations import parse_variant
from moe.measure.grid import Value, cells_of
from moe.measure.plan import plan_cells
from moe.measure.protocol import Protocol
from moe.measure.schedule import measure_cells
from moe.measure.start import new_run, run_to_measure
from moe.run import Run, RunFileError

SEED = PRESETS["seed"]
# Many processes with one round each: the interval comes from differences between processes.
EFFORT: dict[str, Any] = {
    "turn_s": 0.01,
    "turn_forwards": 3,
    "warm_up_s": 0.06,
    "warm_up_most_s": 0.09,
    "processes": 5,
    "rounds": 1,
}


def sweep(
    implementations: Sequence[str],
    over: Mapping[str, Sequence[Value]] | Sequence[Mapping[str, Sequence[Value]]],
    config: MoEConfig = SEED,
    *,
    path: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    scheduler: str | None = None,
    checkpoint: Checkpoint | None = None,
    **protocol: Any,
) -> Run:
    """Measure implementations in every cell of a grid; `protocol` takes the fields of `Protocol`.

    `over` has the values of each axis: fields of the config, `threads`, or `config` for presets and models by name;
    `config` gives what no axis names. Of several grids all cells are measured, one grid after the other.
    Combinations that no layer can have are left out.

    Cells are measured coarsely over the whole grid first, each like any other run but with one round in each of
    `processes`, and saved when done; `resume` measures those that the run at `path` lacks. A cell that memory or
    budget can't take is `not_run`, with the reason. One of the implementations is measured twice in the first cell,
    as a control.

    With the address of a Dask `scheduler` its workers measure, each cell where it falls and with a control of its
    own; see docs/cluster.md. With a `checkpoint` its weights are measured, of which `config` must be the layer: only
    tokens and threads can be axes then, and this machine measures. Raises ValueError for a bad argument, RunFileError
    for a file that may not be written, and OSError for a cluster that can't be used.
    """
    settings = Protocol(**EFFORT | protocol)
    if checkpoint is not None and scheduler is not None:
        raise ValueError("a scheduler's workers have no checkpoint: leave one of the two out")
    grids = [over] if isinstance(over, Mapping) else over
    cells = list(dict.fromkeys(cell for grid in grids for cell in cells_of(config, grid)[0]))
    threads = sorted({cell.threads for cell in cells})
    variants = [parse_variant(name) for name in implementations]
    planned = plan_cells(variants, cells, apart=scheduler is not None)
    target = Path(path) if path is not None else None
    run = run_to_measure(new_run(planned, settings, threads, checkpoint), target, resume=resume, force=force)
    if run.machines and scheduler is None:
        raise RunFileError(f"{path} holds what several machines measured: only a scheduler's can go on with it")
    if scheduler is not None and not run.machines and any(m.samples_s for m in run.measurements):
        raise RunFileError(f"{path} holds what one machine measured: it goes on without a scheduler")
    if run.complete:
        return run
    if scheduler is None:
        measure_cells(run, settings, target, progress, checkpoint.weights if checkpoint else None)
        return run
    try:
        from moe.measure.cluster import ClusterSweep
    except ModuleNotFoundError as error:
        raise ValueError(f"a scheduler needs Dask ({error}): pip install -e '.[dask]'") from error
    ClusterSweep(run, cells, settings, target, progress).measure(scheduler, [str(v) for v in variants])
    return run
