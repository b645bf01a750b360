"""What a process used in some time, and how long its threads waited for a core: what others' work cost it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

NS = 1e-9
SEEN = 0.75  # of a process's own processor time: threads that come and go take theirs, and their waiting, with them


class Thread(NamedTuple):
    """Seconds that a thread has run, and that it was ready to and had no core."""

    ran_s: float
    waited_s: float


Threads = dict[str, Thread]


class Usage(NamedTuple):
    """Of some seconds: the processor time that a process used, and the share for which a thread waited for a core."""

    seconds: float
    processor_s: float
    waited: float | None


class UsageClock:
    """What a process uses from now on, by its number and what tells its processor time."""

    def __init__(self, process: int, processor_s: Callable[[], float]) -> None:
        self._process, self._processor_s = process, processor_s
        self._threads = threads_of(process)
        self._before_s = processor_s()
        self._started = time.monotonic()

    @property
    def used_s(self) -> float:
        """Processor time that it has used so far."""
        return self._processor_s() - self._before_s

    def stop(self) -> Usage:
        """What it has used."""
        seconds, used_s = time.monotonic() - self._started, self.used_s
        return Usage(seconds, used_s, share_waited(self._threads, threads_of(self._process), used_s, seconds))


def threads_of(process: int) -> Threads:
    """The threads that a process has now, by their numbers; none where the system does not count or it is gone."""
    return {path.name: thread for path in _folders(process) if (thread := _thread(path)) is not None}


def share_waited(before: Threads, after: Threads, used_s: float, seconds: float) -> float | None:
    """The share of some seconds for which the thread that waited longest did so.

    None where it is not known: the threads that are there after them ran for much less than the `used_s` of processor
    time that the process used.
    """
    none = Thread(0.0, 0.0)
    passed = [
        Thread(thread.ran_s - was.ran_s, thread.waited_s - was.waited_s)
        for number, thread in after.items()
        for was in (before.get(number, none),)
    ]
    if not passed or sum(thread.ran_s for thread in passed) < SEEN * used_s:
        return None
    return min(1.0, max(thread.waited_s for thread in passed) / seconds)


def _folders(process: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{process}/task").iterdir())
    except OSError:
        return []


def _thread(folder: Path) -> Thread | None:
    """What the system has counted of a thread, in nanoseconds; None for one that has ended, or is told badly."""
    try:
        ran, waited, _ = map(int, (folder / "schedstat").read_text().split())
    except (OSError, ValueError):
        return None
    return Thread(ran * NS, waited * NS)
