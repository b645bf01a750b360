"""What Linux's control groups leave to this process: containers, batch systems and services set such limits.

A group may do no more than the groups that it lies in, so the tightest limit on the way up to the root counts, as
far up as this process can see. Both versions are read, also side by side: where one has no limit, its files lack or
say `max`, -1 or a number larger than any memory.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

PROC = Path("/proc/self")
UNIFIED = ""  # version 2's one hierarchy, by its name in /proc/self/cgroup; version 1 has one a controller
NO_LIMIT = 2**60  # bytes: version 1 writes the largest number of pages that it knows
MEMORY_LIMITS = ("memory.max", "memory.high", "memory.limit_in_bytes")
MEMORY_HELD = ("memory.current", "memory.usage_in_bytes")


class Mount(NamedTuple):
    """Where a part of a hierarchy can be seen: the group at its top, and the controllers that it is of."""

    folder: Path
    top: PurePosixPath
    controllers: frozenset[str]

    def way_up(self, group: str) -> list[Path]:
        """Folders of a group and of all that it lies in, up to the top; empty where it is not below the top."""
        path = PurePosixPath(group)
        if ".." in path.parts or not path.is_relative_to(self.top):
            return []
        below = path.relative_to(self.top)
        return [self.folder / part for part in (below, *below.parents)]


# Where they are as a rule, for a system that does not say.
SYSTEM = Path("/sys/fs/cgroup")
USUAL = [
    Mount(folder, PurePosixPath("/"), frozenset({controller}))
    for folder, controller in ((SYSTEM, UNIFIED), (SYSTEM / "cpu", "cpu"), (SYSTEM / "memory", "memory"))
]


def core_quota() -> float | None:
    """Cores' worth of time that this process may use; None without a limit."""
    return min((cores for folder in _groups("cpu") if (cores := _cores(folder)) is not None), default=None)


def memory_limit() -> int | None:
    """Bytes that this process may hold, with all others in its group; None without a limit."""
    return min((most for folder in _groups("memory") if (most := _most(folder)) is not None), default=None)


def memory_left() -> int | None:
    """Bytes that this process may still take, of what its group and those above it may hold; None without a limit."""
    limited = ((folder, most) for folder in _groups("memory") if (most := _most(folder)) is not None)
    return min((most - _held(folder) for folder, most in limited), default=None)


def _cores(folder: Path) -> float | None:
    numbers = _numbers(folder / "cpu.max")
    numbers = numbers or _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
    return numbers[0] / numbers[1] if len(numbers) == 2 and min(numbers) > 0 else None


def _most(folder: Path) -> int | None:
    # Version 1 counts what can't be seen from here too.
    above = _statistics(folder).get("hierarchical_memory_limit", NO_LIMIT)
    told = [above, *(number for name in MEMORY_LIMITS for number in _numbers(folder / name))]
    return min((number for number in told if 0 < number < NO_LIMIT), default=None)


def _held(folder: Path) -> int:
    """Bytes that a group holds and could not give back: files' pages that nobody uses can go at any time."""
    held = [number for name in MEMORY_HELD for number in _numbers(folder / name)]
    told = _statistics(folder)
    idle = told.get("total_inactive_file", told.get("inactive_file", 0))  # version 1's total is with groups below
    return max(0, held[0] - idle) if held else 0


def _statistics(folder: Path) -> dict[str, int]:
    pairs = (line.split() for line in _text(folder / "memory.stat").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the groups that may limit what a controller counts, each before those that it lies in."""
    groups, mounts = _own_groups(), _mounts() or USUAL
    for name in (controller, UNIFIED):
        seen = [mount for mount in mounts if name in mount.controllers]
        ways = [way for mount in seen if (way := mount.way_up(groups.get(name, "..")))]
        # A container may be told its group by a name from outside; what it sees is its own all the same.
        for way in ways or [[mount.folder] for mount in seen]:
            yield from way


def _own_groups() -> dict[str, str]:
    """The group that this process is in, by controller, from lines like `4:cpu,cpuacct:/jobs/7`."""
    parts = (line.split(":", 2) for line in _text(PROC / "cgroup").splitlines())
    return {name: part[2] for part in parts if len(part) == 3 for name in part[1].split(",")}


def _mounts() -> list[Mount]:
    """What is mounted where, from lines like `32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu`."""
    found = []
    for line in _text(PROC / "mountinfo").splitlines():
        place, _, system = line.partition(" - ")
        where, what = place.split(" "), system.split(" ")
        if len(where) < 5 or len(what) < 3 or what[0] not in ("cgroup", "cgroup2"):
            continue
        names = [UNIFIED] if what[0] == "cgroup2" else what[2].split(",")
        found.append(Mount(Path(_unescaped(where[4])), PurePosixPath(_unescaped(where[3])), frozenset(names)))
    return found


def _unescaped(path: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, character)
    return path


def _numbers(path: Path) -> list[int]:
    """The whole numbers in a file; none where it says anything else, or can't be read."""
    words = _text(path).split()
    return [int(word) for word in words] if all(word.removeprefix("-").isdecimal() for word in words) else []


def _text(path: Path) -> str:
    """A file's text; empty where it can't be read, since what is not told limits nobody."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
