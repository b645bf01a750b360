"""Whether others use the processor, looked at and said before anything is measured."""

import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

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
    started, before, watch = time.monotonic(), _used_s(), Watch()
    time.sleep(seconds)
    # One that was not there before has used all of its time since.
    used_s = {process: now_s - before.get(process, 0.0) for process, now_s in _used_s().items()}
    ours = _descendants()
    others_cores, stolen_cores, _ = watch.stop(sum(used_s[process] for process in ours & used_s.keys()))
    elapsed_s = time.monotonic() - started
    seen: defaultdict[str, float] = defaultdict(float)
    for process in used_s.keys() - ours:
        if process.pid != os.getpid():
            seen["".join(filter(str.isprintable, process.info["name"]))] += used_s[process] / elapsed_s
    return Busy(others_cores + stolen_cores, _names(seen, others_cores, stolen_cores))


def _used_s() -> dict[psutil.Process, float]:
    """Processor time that each process has used that this one may look at; what vanishes meanwhile is left out."""
    found = {}
    with suppress(Exception):  # whatever psutil meets: then nobody can be named, which costs no more than the names
        for process in psutil.process_iter(["name", "cpu_times"]):
            name, times = process.info["name"], process.info["cpu_times"]
            if None not in (name, times):  # which it may not be told
                found[process] = times.user + times.system
    return found


def _descendants() -> set[psutil.Process]:
    """Children of this process, and theirs."""
    with suppress(Exception):  # as above
        return set(psutil.Process().children(recursive=True))
    return set()


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
