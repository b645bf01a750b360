"""A sweep's cells as tasks of a Dask cluster: one at a time on a machine, each measured there as it would be here."""

from __future__ import annotations

import os
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed
from filelock import FileLock

from moe.measure.engine import NOT_REACHED
from moe.measure.grid import Cell, Value
from moe.measure.merge import enter_machine
from moe.measure.plan import Protocol
from moe.measure.sweep import is_open, sweep
from moe.progress import Progress
from moe.run import Run, read_run

RESOURCE = "machine"  # of which a worker offers one, and every cell needs one
REDONE = 1  # times that Dask gives a cell to another worker after one has died of it
CONNECT_S = 20.0
LOCK = "moe-measuring.lock"


class ClusterError(OSError):
    """A cluster that can't be used; the message says why and what to do."""


class ClusterSweep:
    """A sweep being measured by a cluster's workers; its file is saved after every cell."""

    def __init__(
        self, run: Run, cells: Sequence[Cell], settings: Protocol, path: Path | None, progress: bool
    ) -> None:
        self.run = run
        self.cells = cells
        self.settings = settings
        self.path = path
        self.progress = Progress("measuring", settings.budget_s, enabled=progress)

    def measure(self, scheduler: str, implementations: Sequence[str]) -> None:
        """Have the open cells measured until the budget is spent; raises ClusterError where nobody can measure."""
        before_s, begun = self.run.elapsed_s, time.monotonic()
        self._save()  # a file that can't be written is found out before anything is measured
        still_open = [m for m in self.run.measurements if is_open(m)]
        for m in still_open:
            m.reason = NOT_REACHED
        waiting = deque(sorted({m.details["cell"] for m in still_open}))
        try:
            with _connected(scheduler) as client:
                self._submit_all(client, implementations, waiting)
        finally:
            self.progress.close()
            self.run.elapsed_s = before_s + time.monotonic() - begun
            self._save()

    def _submit_all(self, client: Client, implementations: Sequence[str], waiting: deque[int]) -> None:
        """Keep a cell with every machine, since a worker that dies counts against all that it was given."""
        open_cells: dict[Future, int] = {}
        done = as_completed(loop=client.loop, timeout=self.settings.budget_s)

        def submit() -> None:
            while waiting and len(open_cells) < machines(client):
                number = waiting.popleft()
                what = (list(implementations), self.cells[number], asdict(self.settings))
                task = client.submit(measure_cell, *what, retries=REDONE, resources={RESOURCE: 1}, pure=False)
                open_cells[task] = number
                done.add(task)
            note = f"{len(self.cells) - len(waiting) - len(open_cells)} of {len(self.cells)} cells done"
            self.progress.note(f"{note}, {len(open_cells)} under way")

        submit()
        try:
            for task in done:
                self._take(open_cells.pop(task), task)
                self._save()
                submit()
        except TimeoutError:
            return  # what the budget did not reach is left for a continuation
        self.run.complete = not any(map(is_open, self.run.measurements))

    def _take(self, number: int, task: Future) -> None:
        """Put what a task measured, or why it could not, in its cell's place."""
        places = [i for i, m in enumerate(self.run.measurements) if m.details["cell"] == number]
        if task.status != "finished":
            for i in places:
                self.run.measurements[i].status = "failed"
                self.run.measurements[i].reason = _why(task.exception())
            return
        part = read_run(task.result(), f"cell {number}")
        key = enter_machine(self.run, part)
        measured = {(m.label, m.control): m for m in part.measurements}
        for i in places:
            planned = self.run.measurements[i]
            self.run.measurements[i] = m = measured[planned.label, planned.control]
            m.details |= {"cell": number, "machine": key}

    def _save(self) -> None:
        if self.path is not None:
            self.run.save(self.path, force=True)


def measure_cell(implementations: list[str], cell: Cell, protocol: dict[str, Any]) -> str:
    """Measure one cell on this machine and return the text of its run; what a Dask worker does."""
    # Dask tells glibc to give memory back early: NumPy's temporary arrays would be new pages in every forward.
    os.environ.pop("MALLOC_TRIM_THRESHOLD_", None)
    # Whatever other workers this machine has: two that measure at once would measure each other.
    with FileLock(Path(tempfile.gettempdir()) / LOCK):
        grid: dict[str, list[Value]] = {"config": [cell.config], "threads": [cell.threads]}
        return sweep(implementations, grid, progress=False, **protocol).to_json()


def machines(client: Client) -> int:
    """How many cells a cluster's workers can measure at once."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return int(sum(worker["resources"].get(RESOURCE, 0) for worker in workers))


def _connected(scheduler: str) -> Client:
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    if not machines(client):
        client.close()
        start = f"dask worker {scheduler} --nthreads 1 --resources {RESOURCE}=1"
        raise ClusterError(f"no worker of {scheduler} offers the resource {RESOURCE}; on each machine: {start}")
    client.run_on_scheduler(_redo_once)
    return client


def _redo_once(dask_scheduler: Any) -> None:
    """Whatever the scheduler was started with, a cell that kills its worker is not for all of them to die of."""
    dask_scheduler.allowed_failures = REDONE


def _why(error: BaseException) -> str:
    if isinstance(error, KilledWorker):
        return f"the worker that measured it died, {REDONE + 1} times"
    return f"{type(error).__name__}: {error}"
