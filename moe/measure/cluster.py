"""A sweep's cells as tasks of a Dask cluster: one at a time on a machine, each measured there as it would be here."""

import os
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from distributed import Client, Future, KilledWorker, as_completed, get_worker

from moe.folders import alone
from moe.implementations import parse_variant
from moe.measure.bench import NOT_REACHED_REASON
from moe.measure.grid import Cell
from moe.measure.merge import enter_machine
from moe.measure.plan import plan_cells
from moe.measure.protocol import Protocol
from moe.measure.saving import Saving
from moe.measure.schedule import measure_cells
from moe.measure.start import new_run
from moe.progress import Progress
from moe.run import NOT_REACHED, OTHER, Run, measured, read_run

RESOURCE = "machine"  # of which a worker offers one, and every cell needs one
REDONE = 1  # times that Dask has a cell measured again after a worker has died of it
CONNECT_S = 20.0


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
        self.saving = Saving(run, path)
        self.progress = Progress("measuring", settings.budget_s, enabled=progress)
        self.begun = time.monotonic()
        still_open = [m for m in run.measurements if m.is_open]
        for m in still_open:
            m.reason, m.code = NOT_REACHED_REASON, NOT_REACHED
        self.waiting = deque(sorted({m.details["cell"] for m in still_open}))
        self.under_way: dict[Future, int] = {}
        self.topic = f"moe-{uuid.uuid4().hex}"  # under which workers tell the scheduler what they begin

    def measure(self, scheduler: str, implementations: Sequence[str]) -> None:
        """Have the open cells measured until the budget is spent; raises ClusterError where nobody can measure."""
        try:
            with _connected(scheduler) as client, self.saving.lasting():
                self._measure_all(client, implementations)
        finally:
            self.progress.close()

    def _measure_all(self, client: Client, implementations: Sequence[str]) -> None:
        done = as_completed(loop=client.loop, timeout=self.settings.budget_s)
        self._submit(client, implementations, done)
        while self.under_way:
            try:
                task = next(done)
            except TimeoutError:
                return  # what the budget did not reach is left for a continuation
            self._take(client, self.under_way.pop(task), task)
            self.saving.save_if_due()
            self._submit(client, implementations, done)
        self.run.complete = not any(m.is_open for m in self.run.measurements)

    def _submit(self, client: Client, implementations: Sequence[str], done: as_completed) -> None:
        """Give every machine one cell at a time: Dask blames a worker that dies on every task that it held.

        While no machine is there, one cell waits for it.
        """
        left_s = self.settings.budget_s - (time.monotonic() - self.begun)
        while self.waiting and left_s > 0 and len(self.under_way) < max(1, machines(client)):
            number = self.waiting.popleft()
            protocol = asdict(replace(self.settings, budget_s=left_s))
            what = (list(implementations), self.cells[number], protocol)
            task = client.submit(
                measure_cell, *what, (self.topic, number), retries=REDONE, resources={RESOURCE: 1}, pure=False
            )
            self.under_way[task] = number
            done.add(task)
        over = len(self.cells) - len(self.waiting) - len(self.under_way)
        self.progress.note(f"{over} of {len(self.cells)} cells are done, {len(self.under_way)} under way")

    def _take(self, client: Client, number: int, task: Future) -> None:
        """Put what a task measured in its cell's place; raises ClusterError where it could not begin to measure."""
        places = [i for i, m in enumerate(self.run.measurements) if m.details["cell"] == number]
        cell = [self.run.measurements[i] for i in places]
        error = task.exception() if task.status == "error" else None
        if isinstance(error, KilledWorker):
            # Dask counts a worker's death against whatever it was given, begun or not.
            begun = sum(begun == number for _, begun in client.get_events(self.topic))
            if begun <= REDONE:
                self.waiting.appendleft(number)
                return
            for m in (m for m in cell if m.is_open):
                m.status, m.code = "failed", OTHER
                m.reason = f"the worker that measured it died, {begun} times"
            return
        if task.status != "finished":
            why = f"{type(error).__name__}: {error}" if error else "the scheduler was lost"
            raise ClusterError(f"a cell could not be measured ({why}); --resume goes on from here")
        part = read_run(task.result(), f"cell {number}")
        if measured(part.measurements) < measured(cell):
            return  # it was redone for a row that it lacked, and lacks more of them now
        key = enter_machine(self.run, part)
        found = {(m.label, m.control): m for m in part.measurements}
        for i, planned in zip(places, cell, strict=True):
            self.run.measurements[i] = m = found[planned.label, planned.control]
            m.details |= {"cell": number, "machine": key}


def measure_cell(implementations: list[str], cell: Cell, protocol: dict[str, Any], event: tuple[str, int]) -> str:
    """Measure one cell on this machine and return the text of its run; `event` tells the scheduler that it begins."""
    # Whatever other workers of this user the machine has: two that measure at once would measure each other.
    with alone(Path(tempfile.gettempdir()) / f"moe-measuring-{os.getuid()}"):
        get_worker().log_event(*event)
        settings = Protocol(**protocol)
        planned = plan_cells([parse_variant(name) for name in implementations], [cell])
        run = new_run(planned, settings, [cell.threads])
        measure_cells(run, settings, None, progress=False)
        return run.to_json()


def machines(client: Client) -> int:
    """How many cells a cluster's workers can measure at once."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return int(sum(worker["resources"].get(RESOURCE, 0) for worker in workers))


@contextmanager
def _connected(scheduler: str) -> Iterator[Client]:
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClusterError(f"no Dask scheduler answers at {scheduler}: {error}") from error
    with client:
        if not machines(client):
            start = f"dask worker {scheduler} --nthreads 1 --resources {RESOURCE}=1"
            raise ClusterError(f"no worker of {scheduler} offers the resource {RESOURCE}; on each machine: {start}")

        # Sent whole, since it is no function that the scheduler could import.
        def redo_once(dask_scheduler: Any) -> None:
            dask_scheduler.allowed_failures = REDONE

        client.run_on_scheduler(redo_once)
        yield client
