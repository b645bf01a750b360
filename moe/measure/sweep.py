"""A sweep: many cells measured one after the other by the same worker processes, each saved when it is done."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from moe.analysis.limits import limits_of
from moe.config import FLOAT32_BYTES, PRESETS, MoEConfig
from moe.implementations import parse_variant
from moe.measure.engine import MEMORY_SHARE, NOT_REACHED, TOO_LONG, Session, run_to_measure
from moe.measure.grid import Value, cells_of
from moe.measure.machine import describe_machine, describe_versions
from moe.measure.plan import Protocol, plan_cells
from moe.measure.workers import Workers
from moe.processor import usable_memory
from moe.run import Measurement, Run, RunFileError

SEED = PRESETS["seed"]
# Many processes with one round each: how they differ is what an interval is made of.
EFFORT: dict[str, Any] = {"inputs": 2, "turn_s": 0.01, "warm_up_s": 0.06, "warm_up_most_s": 0.09, "processes": 5}
COPIES = 2.5  # of the weights that a worker holds while it prepares: NumPy's, packed ones, a part in between
FORWARDS = 7  # that a variant needs in each process: the first, two checked, one to warm up, three timed
WEIGHTS_BYTES_PER_S = 2e8  # about what making them from a seed and packing them reaches
OVER_BUDGET = "left out for want of time"
OVER_MEMORY = "left out for want of memory"
MARGIN = 1.5  # times what is left: a cell that was begun is finished if it nearly fits


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
    own; see docs/cluster.md. Raises ValueError for a bad argument, RunFileError for a file that may not be written,
    and OSError for a cluster that can't be used.
    """
    settings = Protocol(**EFFORT | protocol)
    grids = [over] if isinstance(over, Mapping) else over
    cells = list(dict.fromkeys(cell for grid in grids for cell in cells_of(config, grid)[0]))
    threads = sorted({cell.threads for cell in cells})
    variants = [parse_variant(name) for name in implementations]
    planned = plan_cells(variants, cells, apart=scheduler is not None)
    run = Run(describe_machine(), describe_versions(), {**asdict(settings), "threads": threads}, planned)
    target = Path(path) if path is not None else None
    run = run_to_measure(run, target, resume=resume, force=force)
    if run.machines and scheduler is None:
        raise RunFileError(f"{path} holds what several machines measured: only a scheduler's can go on with it")
    if scheduler is not None and not run.machines and any(m.samples_s for m in run.measurements):
        raise RunFileError(f"{path} holds what one machine measured: it goes on without a scheduler")
    for m in run.measurements:
        if _may_fit(m):
            m.reason = ""  # there may be more time or memory now
    if run.complete:
        return run
    if scheduler is None:
        _Sweep(run, settings, target, progress).measure()
        return run
    try:
        from moe.measure.cluster import ClusterSweep
    except ModuleNotFoundError as error:
        raise ValueError(f"a scheduler needs Dask ({error}): pip install -e '.[dask]'") from error
    ClusterSweep(run, cells, settings, target, progress).measure(scheduler, [str(v) for v in variants])
    return run


class _Sweep(Session):
    """The same workers for all cells: loading PyTorch takes longer than measuring a small cell."""

    def _generations(self, end: float) -> None:
        available = self.alive
        measurements = self.run.measurements
        todo = [numbers for numbers in self._cells() if any(is_open(measurements[n]) for n in numbers)]
        with ExitStack() as stack, TemporaryDirectory() as folder:
            self.folder = Path(folder)
            fleet = [stack.enter_context(Workers(self.memory_bytes)) for _ in range(self.settings.processes)]
            for numbers in todo:
                self.alive = {n: available[n] for n in numbers if n in available}
                left_s = end - time.monotonic()
                self.turn_most_s = left_s
                if reason := self._too_much(left_s):
                    for m in self.alive.values():
                        m.reason = m.reason if m.status == "ok" else reason
                    continue
                self._forget(NOT_REACHED)  # of a cell that lacks a row, all are measured again, side by side
                try:
                    reason = self._cell(fleet, end)
                except BaseException:
                    self._forget(NOT_REACHED)  # and half a cell is none
                    raise
                if reason:
                    self._forget(reason)
                self._save(now=True)
        self.cut_short = any(is_open(measurements[n]) for n in available)

    def _save(self, *, now: bool = False) -> None:
        """Save between cells alone: what is in the file is done."""
        if now:
            super()._save(now=True)

    def _cells(self) -> list[list[int]]:
        """The numbers of each cell's measurements, in the order of the plan."""
        cells: dict[int, list[int]] = {}
        for number, m in enumerate(self.run.measurements):
            cells.setdefault(m.details["cell"], []).append(number)
        return list(cells.values())

    def _forget(self, reason: str) -> None:
        """Take what is alive back to where it was before its first turn."""
        for m in self.alive.values():
            m.status, m.reason, m.parity = "not_run", reason, None
            m.processes, m.samples_s, m.others_cores, m.stolen_cores, m.warm_up_s = [], [], [], [], 0.0

    def _cell(self, fleet: Sequence[Workers], end: float) -> str:
        """A round in each process of the fleet, which lets go of the cell's layers before the next one takes them.

        Returns why that would take too long, once the first process has shown it.
        """
        started = time.monotonic()
        cell = dict(self.alive)
        for generation, workers in enumerate(fleet):
            self.workers = workers
            self._all_ready()
            self._rounds(generation, deadline=0.0)
            for number, m in cell.items():
                workers.release(m, number, self.settings.timeout_s)
            now = time.monotonic()
            needed_s = (now - started) / (generation + 1) * (len(fleet) - generation - 1)
            if needed_s > MARGIN * max(0.0, end - now):
                return f"{OVER_BUDGET}: about {needed_s:.0f} s more, and {max(0.0, end - now):.0f} s were left"
        self.references.clear()
        return ""

    def _too_much(self, left_s: float) -> str:
        """Why the cell that is alive can't be measured, by its memory or by about how long it would take."""
        if left_s <= 0 or not self.alive:
            return NOT_REACHED
        first = next(iter(self.alive.values()))
        c = max((m.config for m in self.alive.values()), key=lambda config: config.tokens)
        weights = 2 * c.num_experts * c.d_model * c.d_ff * FLOAT32_BYTES
        worker = COPIES * weights + c.tokens * (self.settings.inputs * c.d_model + c.top_k * c.d_ff) * FLOAT32_BYTES
        free = MEMORY_SHARE * usable_memory()
        if worker > self.memory_bytes or worker * len(self.alive) > free:
            return (
                f"{OVER_MEMORY}: about {worker / 2**30:.1f} GiB for each of {len(self.alive)} workers, of "
                f"{free / 2**30:.1f} GiB that are free and {self.memory_bytes / 2**30:.1f} GiB that one may hold"
            )
        limits = limits_of(self.run, first.threads)
        processes = self.settings.processes
        about_s = weights * len(self.alive) * processes / WEIGHTS_BYTES_PER_S
        if limits:
            about_s += sum(m.config.flops for m in self.alive.values()) * FORWARDS * processes / limits.flops_per_s
        if about_s > left_s:
            return f"{OVER_BUDGET}: about {about_s:.0f} s, and {left_s:.0f} s were left"
        return ""


def is_open(m: Measurement) -> bool:
    """Whether a measurement is still to be made, by this command or by one that has more to give."""
    return m.status == "not_run" and (m.reason in ("", NOT_REACHED) or _may_fit(m))


def _may_fit(m: Measurement) -> bool:
    """Whether a measurement was left out for want of what another command may have more of."""
    return m.reason.startswith((OVER_BUDGET, OVER_MEMORY)) or m.reason.endswith(TOO_LONG)
