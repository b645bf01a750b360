"""What else the processor did while something was measured."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import psutil

# Not work; and what ran in a guest is in `user` already.
NOT_BUSY = ("idle", "iowait", "steal", "guest", "guest_nice")


class Elsewhere(NamedTuple):
    """Cores' worth of time that went to others: processes of this system, and other systems on the same hardware."""

    others_cores: float
    stolen_cores: float


class Watch:
    """Processor time from its creation on; the system counts it in steps of about 10 ms a core."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._times = psutil.cpu_times()
        self._own = time.process_time()

    def stop(self, worker_s: float) -> Elsewhere:
        """What went elsewhere, given the processor time of the worker that was measured."""
        seconds = time.monotonic() - self._started
        now = psutil.cpu_times()
        ours = worker_s + time.process_time() - self._own
        others = _busy(now) - _busy(self._times) - ours
        stolen = getattr(now, "steal", 0.0) - getattr(self._times, "steal", 0.0)
        return Elsewhere(max(0.0, others) / seconds, max(0.0, stolen) / seconds)


def _busy(times: Any) -> float:
    return math.fsum(value for name, value in times._asdict().items() if name not in NOT_BUSY)
