"""Whether workers compute on the threads that they were given: by what their pools say, and by processor time."""

from collections.abc import Sequence
from typing import Any

from moe.implementations.registry import entry_of
from moe.measure.capacity import Capacity, is_crowded
from moe.measure.child import WorkerFailedError
from moe.measure.conditions import Watch
from moe.measure.workers import Workers
from moe.processor import usable_cores
from moe.run import Measurement, NotRunError
from moe.variant import Variant

TRIES = 6
FEWEST_ALONE = 3  # tries with nobody in the way that show too little
WAIT_S = 0.5  # for others to leave, between tries
LEAST = 0.25  # of the cores beyond the first: a library may leave out hardware threads of a core that it uses


def require_threads(pools: Sequence[dict[str, Any]], threads: int) -> None:
    """Raise WorkerFailedError or NotRunError unless what a worker found inside itself is what it was given.

    No pool may have more threads: it has failed. One must have as many, or the library can't use them and is not run:
    an idle BLAS beside a kernel with threads of its own may have fewer, since it takes no more than there are cores.
    """
    for pool in pools:
        if pool["threads"] > threads:
            raise WorkerFailedError(f"asked for {threads} threads, but {pool['name']} uses {pool['threads']}")
    if pools and max(pool["threads"] for pool in pools) < threads:
        found = ", ".join(f"{pool['name']}: {pool['threads']}" for pool in pools)
        raise NotRunError(f"asked for {threads} threads, but got fewer ({found})")


class CoreCheck:
    """Tries once a run whether each library's threads get cores: pools that say so may sit on one."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, bool], str] = {}  # what is wrong with each that was tried, or nothing

    def require_cores(self, workers: Workers, m: Measurement, capacity: Capacity, timeout_s: float) -> None:
        """Raise WorkerFailedError where work that a library shares among its threads keeps about one core busy.

        Not a forward of what is measured, parts of which may be serial, but a large product; and told only from tries
        in which nobody else held the cores.
        """
        library = entry_of(Variant(m.implementation)).library or m.implementation
        cores = min(m.threads, usable_cores())
        if m.device != "cpu" or cores < 2:
            return
        key = library, m.threads, m.control
        if key not in self._found:
            self._found[key] = _try_cores(workers, m, library, 1 + LEAST * (cores - 1), capacity, timeout_s)
        if self._found[key]:
            raise WorkerFailedError(self._found[key])


def _try_cores(
    workers: Workers, m: Measurement, library: str, least: float, capacity: Capacity, timeout_s: float
) -> str:
    """What is wrong with the cores that a library's threads get, or nothing."""
    alone: list[float] = []
    for _ in range(TRIES):
        watch, using = Watch(), workers.of(m).usage()
        cores = workers.ask(m, "cores", timeout=timeout_s, library=library, threads=m.threads)["cores"]
        used = using.stop()
        if cores is None or cores >= least:
            return ""
        if not is_crowded(m.threads, watch.stop(used.processor_s, used.waited)):
            alone.append(cores)
        if len(alone) == FEWEST_ALONE:
            return f"asked for {m.threads} threads, but a large product on them kept {max(alone):.2g} cores busy"
        capacity.wait(m.threads, WAIT_S, look=True)
    return ""
