"""What a run was measured on and with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from moe.processor import cache_sizes, read_processor, usable_cores

PACKAGES = ("numpy", "torch", "max", "threadpoolctl", "scipy")


def describe_machine() -> dict[str, Any]:
    """Processor, memory and system, without names that identify whose machine it is."""
    processor = read_processor()
    vectors = [f for f in ("avx512f", "avx2", "asimd", "sve") if f in processor.features]
    return {
        "processor": processor.model,
        "architecture": processor.architecture,
        "vector_features": vectors,
        "cores": psutil.cpu_count(logical=False) or psutil.cpu_count(),
        "usable_cores": usable_cores(),
        "caches_bytes": cache_sizes(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "hypervisor": "hypervisor" in processor.features,
        "load_average": psutil.getloadavg()[0],
    }


def describe_versions() -> dict[str, Any]:
    """Versions of what shapes a result; None for what is not installed."""
    found: dict[str, Any] = {"python": platform.python_version(), "moe": _commit()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def _commit() -> str:
    """The package's version with its commit, marked where the checkout differs from it."""
    checkout = Path(__file__).resolve().parent.parent.parent
    # A package that is not installed from its checkout may lie inside somebody else's.
    if not (checkout / ".git").exists():
        return version("moe")
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return version("moe")
    return f"{version('moe')}+{commit}" if commit else version("moe")
