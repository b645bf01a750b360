"""Whether others use the processor, looked at and said before anything is measured."""

import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

import psutil

from moe.measure.conditions import Watch

QUIET = 0.25  # of a core: the most that others use where the machine counts as quiet
MOST_S = 20.0
LOOK_S = 0.5
AGAIN_S = 1.0
NAMED = 3
NAMED_FROM = 0.1  # of what is in use: less names nobody
UNSEEN = "others that can't be seen"
STOLEN = "another system on the same hardware"

Key = tuple[int, float]  # a process's number, which another may have had before it, and when it began


@dataclass(frozen=True)
class Busy:
    """What others used at the last look, in cores' worth, the busiest of them by name, and how long was waited."""

    cores: float
    names: tuple[str, ...] = ()
    waited_s: float = 0.0

    @property
    def is_quiet(self) -> bool:
        """Whether so little is used that it makes no difference."""
        return self.cores <= QUIET

    @property
    def text(self) -> str:
        """How much is used, and by whom."""
        who = f" ({', '.join(self.names)})" if self.names else ""
        return f"{self.cores:.1f} cores{who}"


class Process(NamedTuple):
    """A process's name, its parent's number, and the processor time that it has used."""

    name: str
    parent: int
    used_s: float


def wait_until_quiet(most_s: float = MOST_S) -> Busy:
    """Go on at once where the machine is quiet; else say who uses it and wait until they end, at most so long.

    Never refuses: where it stays busy, it says so and returns what it saw last.
    """
    busy = look(LOOK_S)
    if not busy.is_quiet:
        busy = look(LOOK_S)  # what lasted for one look alone is over
    if busy.is_quiet:
        return busy
    _say(
        f"other work uses {busy.text}: waiting up to {most_s:.0f} s until it is quiet; "
        "Ctrl-C ends this, --anyway (with make: ANYWAY=1) measures at once"
    )
    started = time.monotonic()
    while not busy.is_quiet and time.monotonic() - started < most_s:
        busy = look(AGAIN_S)
    busy = replace(busy, waited_s=time.monotonic() - started)
    if not busy.is_quiet:
        _say(f"other work still uses {busy.text}: going on, and turns that it disturbs will be marked")
    return busy


def look(seconds: float) -> Busy:
    """What others than this process and its descendants use of the usable cores, over so many seconds."""
    started, before, watch = time.monotonic(), _processes(), Watch()
    time.sleep(seconds)
    after = _processes()
    ours = _descendants({pid: process.parent for (pid, _), process in after.items()})
    ours_s = 0.0
    seen_s: defaultdict[str, float] = defaultdict(float)
    for (pid, began), process in after.items():
        # One that was not there before has used all of its time since.
        used_s = process.used_s - (before[pid, began].used_s if (pid, began) in before else 0.0)
        if pid in ours:
            ours_s += used_s
        elif pid != os.getpid():
            seen_s[process.name] += used_s
    elsewhere = watch.stop(ours_s)
    elapsed_s = time.monotonic() - started
    seen = {name: used_s / elapsed_s for name, used_s in seen_s.items()}
    return Busy(
        elsewhere.others_cores + elsewhere.stolen_cores, _names(seen, elsewhere.others_cores, elsewhere.stolen_cores)
    )


def _processes() -> dict[Key, Process]:
    """All processes that this one may look at; what vanishes meanwhile is left out."""
    found: dict[Key, Process] = {}
    asked = ["name", "ppid", "create_time", "cpu_times"]
    with suppress(Exception):  # whatever psutil meets: then nobody can be named, which costs no more than the names
        for process in psutil.process_iter(asked):
            name, parent, began, times = (process.info[key] for key in asked)
            if None not in (name, parent, began, times):  # which it may not be told
                printable = "".join(filter(str.isprintable, name))
                found[process.pid, began] = Process(printable, parent, times.user + times.system)
    return found


def _descendants(parents: Mapping[int, int]) -> set[int]:
    """Children of this process, and theirs."""
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {os.getpid()}} - found:
        found |= more
    return found


def _names(seen: Mapping[str, float], others_cores: float, stolen_cores: float) -> tuple[str, ...]:
    """The busiest, given the cores that each name uses; what no process accounts for has a name of its own."""
    users = {**seen, STOLEN: stolen_cores}
    if (unseen := others_cores - math.fsum(seen.values())) > others_cores / 2:
        users[UNSEEN] = unseen
    least = NAMED_FROM * (others_cores + stolen_cores)
    busiest = sorted(users, key=lambda name: users[name], reverse=True)[:NAMED]
    return tuple(name for name in busiest if users[name] > least)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
