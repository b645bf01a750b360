"""What a run was measured on and with."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from moe.cgroups import core_quota, memory_limit
from moe.processor import cache_sizes, read_processor, usable_cores

PACKAGES = ("numpy", "torch", "max", "threadpoolctl", "scipy")
EXTRAS = ("onnxruntime", "openvino", "jax", "numba", "zentorch")  # named where they are installed
VOLATILE = ("load_average", "frequency_mhz", "key")  # another minute's, or its twin's, are no other machine's
NOT_KNOWN = "unknown"
MACHINE_ID = Path("/etc/machine-id")
SIBLINGS = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")


def describe_machine() -> dict[str, Any]:
    """Processor, memory and system, without names that say whose machine it is; `key` tells it from its twins."""
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
        "container": _in_container(),
        "core_quota": core_quota(),
        "memory_limit_bytes": memory_limit(),
        "huge_pages": _chosen(Path("/sys/kernel/mm/transparent_hugepage/enabled")),
        "threads_per_core": _threads_per_core(),
        "load_average": psutil.getloadavg()[0],
        "frequency_mhz": _frequency_mhz(),
        "key": _key(),
    }


def _key() -> str:
    """A few digits that another machine of the same kind does not have, and that name nobody."""
    known = MACHINE_ID.read_text() if MACHINE_ID.exists() else ""
    return hashlib.sha256(f"{known} {platform.node()}".encode()).hexdigest()[:6]


def _in_container() -> bool:
    """Whether this runs in a container, by the marks that Docker, Podman and Kubernetes leave."""
    marked = any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
    return marked or "KUBERNETES_SERVICE_HOST" in os.environ


def _chosen(path: Path) -> str:
    """The setting in brackets of `always [madvise] never`."""
    text = path.read_text() if path.exists() else ""
    return text.partition("[")[2].partition("]")[0] or NOT_KNOWN


def _threads_per_core() -> int | None:
    """How many of the system's processors share a core with the first, itself included; None where unknown."""
    if not SIBLINGS.exists():
        return None
    # `0,64`, or `0-1`.
    ends = [part.split("-") for part in SIBLINGS.read_text().strip().split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)


def _frequency_mhz() -> float | None:
    """The cores' mean clock now, where the system says."""
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):
        return None
    return float(frequency.current) if frequency else None


def describe_versions() -> dict[str, Any]:
    """Versions of what shapes a result, and NumPy's BLAS by its own account; None for one that is missing."""
    found: dict[str, Any] = {"python": platform.python_version(), "moe": _commit(), "numpy's BLAS": numpy_blas()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    for package in EXTRAS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def numpy_blas() -> str:
    """The BLAS that NumPy was built with: its name and version."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', NOT_KNOWN)} {blas.get('version', '')}".strip()


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
