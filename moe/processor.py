"""Which processor this is: what the kernel is compiled for and what a report names."""

import os
import platform
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from math import inf
from pathlib import Path

from moe.cgroups import core_quota, memory_left

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
MEMORY_SHARE = 0.8  # of what is free: what this process, or a worker unless it is given another limit, may hold


@dataclass(frozen=True)
class Processor:
    """Architecture, model as the system calls it, and instruction sets in alphabetical order."""

    architecture: str
    model: str
    features: tuple[str, ...]


@cache
def read_processor() -> Processor:
    """This machine's processor, from /proc/cpuinfo or from sysctl; where neither can be read, its model says why."""
    try:
        if platform.system() == "Darwin":
            model = _sysctl("machdep.cpu.brand_string")
            features = _sysctl("machdep.cpu.features").lower()
        else:
            fields = _first_processor(Path("/proc/cpuinfo"))
            parts = (fields.get(key, "") for key in ("CPU implementer", "CPU part", "CPU revision"))
            model = fields.get("model name") or " ".join(parts)
            features = fields.get("flags") or fields.get("Features") or ""
    except (OSError, ValueError) as error:
        model, features = f"unknown ({type(error).__name__}: {error})", ""
    return Processor(platform.machine(), model.strip() or "unknown", tuple(sorted(features.split())))


def usable_cores() -> int:
    """Cores that this process may use: its affinity and its groups' quota can make them fewer than there are."""
    cores = len(allowed_cores())
    return cores if (quota := core_quota()) is None else min(cores, max(1, int(quota)))


def allowed_cores() -> set[int]:
    """Numbers of the cores that this process may run on; all of them where the system does not say."""
    try:
        return os.sched_getaffinity(0)
    except (AttributeError, OSError):  # there is none on macOS, and a sandbox may refuse it
        return set(range(os.cpu_count() or 1))


def usable_memory() -> float:
    """Bytes that are free here, or that the limits of this process's groups leave of them; inf where neither says."""
    import psutil  # most commands ask for nothing that it knows

    free, left = inf, memory_left()
    with suppress(Exception):  # whatever psutil meets: files that lack, are empty or have other words in them
        free = float(psutil.virtual_memory().available)
    return max(0.0, min(free, inf if left is None else left))


def require_memory(needed: float, what: str) -> None:
    """Raise MemoryError, saying `what` takes them, where so many bytes are more than this process may hold."""
    free = MEMORY_SHARE * usable_memory()
    if needed > free:
        raise MemoryError(f"{what} takes about {needed / 2**30:.1f} GiB, of {free / 2**30:.1f} GiB that are free")


def cache_sizes() -> dict[str, int]:
    """Bytes of each cache of the first core, by level and type (`L1 Data`, `L2 Unified`); empty where unknown."""
    sizes = {}
    for index in sorted(CACHES.glob("index*")):
        with suppress(OSError, ValueError):
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
            sizes[f"L{level} {kind}"] = int(size.rstrip("K")) * 1024
    return sizes


def _first_processor(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = (line.partition(":") for line in path.read_text().split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def _sysctl(name: str) -> str:
    answer = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
    return answer.stdout.strip()
