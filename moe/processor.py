"""Which processor this is: what the kernel is compiled for and what a report names."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from moe.cgroups import core_quota, memory_left


@dataclass(frozen=True)
class Processor:
    """Architecture, model as the system calls it, and instruction sets in alphabetical order."""

    architecture: str
    model: str
    features: tuple[str, ...]


@cache
def read_processor() -> Processor:
    """This machine's processor, from /proc/cpuinfo or from sysctl."""
    if platform.system() == "Darwin":
        model = _sysctl("machdep.cpu.brand_string")
        features = _sysctl("machdep.cpu.features").lower().split()
    else:
        fields = _first_processor(Path("/proc/cpuinfo"))
        model = fields.get("model name") or " ".join(
            fields.get(key, "") for key in ("CPU implementer", "CPU part", "CPU revision")
        )
        features = (fields.get("flags") or fields.get("Features") or "").split()
    return Processor(platform.machine(), model.strip() or "unknown", tuple(sorted(features)))


def usable_cores() -> int:
    """Cores that this process may use: its affinity and its groups' quota can make them fewer than there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if (quota := core_quota()) is None else min(cores, max(1, int(quota)))


def usable_memory() -> int:
    """Bytes that are free here: the system's, or what the limits of this process's groups leave of them."""
    free: int = psutil.virtual_memory().available
    if (left := memory_left()) is not None:
        free = min(free, left)
    return max(0, free)


def cache_sizes() -> dict[str, int]:
    """Bytes of each cache of the first core, by level and type (`L1 Data`, `L2 Unified`); empty where unknown."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        files = [index / name for name in ("level", "type", "size")]
        if not all(file.exists() for file in files):
            continue
        level, kind, size = (file.read_text().strip() for file in files)
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
