"""What else the processor did while something was measured."""

import math
import time
from typing import Any, NamedTuple

import psutil

from moe.processor import allowed_cores

# Not work; and what ran in a guest is in `user` already.
NOT_BUSY = ("idle", "iowait", "steal", "guest", "guest_nice")


class Elsewhere(NamedTuple):
    """Cores' worth of time that went to others: processes of this system, and other systems on the same hardware."""

    others_cores: float
    stolen_cores: float
    waited: float | None = None  # the share of it for which a thread of what was measured waited, where that is known


class Watch:
    """Processor time of the cores that this process may use, from its creation on.

    The system counts it in steps of about 10 ms a core: a tenth of a turn of 100 ms on one core.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._busy, self._stolen = _times()
        self._own = time.process_time()

    def stop(self, worker_s: float, waited: float | None = None) -> Elsewhere:
        """What went elsewhere, given the processor time of the worker that was measured, and how long it waited."""
        seconds = time.monotonic() - self._started
        busy, stolen = _times()
        ours = worker_s + time.process_time() - self._own
        others = busy - self._busy - ours
        return Elsewhere(max(0.0, others) / seconds, max(0.0, stolen - self._stolen) / seconds, waited)


def watched_cores() -> int:
    """Cores whose time is counted: those that this process may run on, whatever quota it has of their time."""
    return len(allowed_cores())


def ask_cores() -> list[Any]:
    """What the system says of how each core's time was spent; raises whatever it does where it does not say."""
    cores: list[Any] = psutil.cpu_times(percpu=True)
    return cores


def _times() -> tuple[float, float]:
    """Seconds that the cores which this process may use were busy, and that a hypervisor took from them.

    Nothing where the system does not say, of which the run's description of the machine says why.
    """
    try:
        cores = ask_cores()
    except Exception:  # whatever psutil meets: files that lack, are empty or have other words in them
        return 0.0, 0.0
    # All of them where some are offline, which the list leaves out.
    allowed = allowed_cores()
    cores = [core for i, core in enumerate(cores) if i in allowed] or cores
    busy = math.fsum(s for core in cores for name, s in core._asdict().items() if name not in NOT_BUSY)
    return busy, math.fsum(getattr(core, "steal", 0.0) for core in cores)
