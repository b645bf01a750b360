"""Which processor this is: what the kernel is compiled for and what a report names."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # of the container that this runs in, if any


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
    """Cores that this process may use: its affinity and its container's quota can make them fewer than there are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if (quota := core_quota()) is None else min(cores, max(1, int(quota)))


def core_quota() -> float | None:
    """Cores' worth of time that a container may use; None without a limit."""
    if not (CGROUP / "cpu.max").exists():
        return None
    allowed, period = (CGROUP / "cpu.max").read_text().split()
    return None if allowed == "max" else int(allowed) / int(period)


def usable_memory() -> int:
    """Bytes that are free here: the system's, or what a container's limit leaves of them."""
    free: int = psutil.virtual_memory().available
    if (limit := memory_limit()) is not None:
        free = min(free, limit - _container_memory())
    return max(0, free)


def _container_memory() -> int:
    """Bytes that a container holds and could not give back: files' pages that nobody uses can go at any time."""
    held = int((CGROUP / "memory.current").read_text())
    lines = (line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    return held - next((int(value) for key, value in lines if key == "inactive_file"), 0)


def memory_limit() -> int | None:
    """Bytes that a container may hold; None without a limit."""
    path = CGROUP / "memory.max"
    if not path.exists() or (most := path.read_text().strip()) == "max":
        return None
    return int(most)


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
