"""What a run was measured on and with."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from moe.cgroups import core_quota, memory_limit
from moe.implementations.cuda import cuda_devices, torch_version
from moe.measure.child import memory_of
from moe.measure.conditions import ask_cores
from moe.measure.environment import not_passed_on
from moe.processor import cache_sizes, read_processor, usable_cores

PACKAGES = ("numpy", "torch", "max", "threadpoolctl", "scipy")
EXTRAS = ("onnxruntime", "openvino", "jax", "numba", "zentorch", "transformers")  # named where they are installed
VECTORS = ("avx512f", "amx_bf16", "avx2", "asimd", "sve")
NOT_KNOWN = "unknown"
CHECKOUT = Path(__file__).resolve().parent.parent.parent  # the folder that this package is in
# By which git's hooks, among others, point it to another repository than that of the folder it is in.
GIT_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
MACHINE_ID = Path("/etc/machine-id")
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SIBLINGS = Path("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")

# Each with what stands for it where asking for it raises. A lambda looks its function up when it is called.
FACTS: dict[str, tuple[Callable[[], Any], Any]] = {
    "processor": (lambda: read_processor().model, NOT_KNOWN),
    "architecture": (lambda: read_processor().architecture, NOT_KNOWN),
    "vector_features": (lambda: [f for f in VECTORS if f in read_processor().features], []),
    "cores": (lambda: psutil.cpu_count(logical=False) or psutil.cpu_count(), None),
    "usable_cores": (lambda: usable_cores(), 1),
    "caches_bytes": (lambda: cache_sizes(), {}),
    "memory_bytes": (lambda: psutil.virtual_memory().total, None),
    "system": (lambda: f"{platform.system()} {platform.release()}", NOT_KNOWN),
    "hypervisor": (lambda: "hypervisor" in read_processor().features, False),
    "container": (lambda: _in_container(), False),
    "core_quota": (lambda: core_quota(), None),
    "memory_limit_bytes": (lambda: memory_limit(), None),
    "huge_pages": (lambda: _chosen(HUGE_PAGES), NOT_KNOWN),
    "threads_per_core": (lambda: _threads_per_core(), None),
    "load_average": (lambda: psutil.getloadavg()[0], None),
    "frequency_mhz": (lambda: _frequency_mhz(), None),
    "key": (lambda: _key(), NOT_KNOWN),
    "gpus": (lambda: cuda_devices(), []),
    "not_passed_on": (lambda: not_passed_on(), {}),
}
# What is asked for again and again while something is measured: here only whether the system says it.
ASKED: dict[str, Callable[[], Any]] = {
    "others_cores": lambda: ask_cores(),
    "workers_memory": lambda: memory_of(os.getpid()),
}


def describe_machine() -> dict[str, Any]:
    """Processor, memory and system, without names that say whose machine it is; `key` tells it from its twins.

    No fact that can't be had ends anything: it is unknown, and `unknown` says of each why.
    """
    found: dict[str, Any] = {}
    unknown: dict[str, str] = {}
    for name, (ask, otherwise) in FACTS.items():
        found[name], why = _asked(ask, otherwise)
        unknown |= {name: why} if why else {}
    for name, ask in ASKED.items():
        _, why = _asked(ask, None)
        unknown |= {name: why} if why else {}
    return found | ({"unknown": unknown} if unknown else {})


def _asked(ask: Callable[[], Any], otherwise: Any) -> tuple[Any, str]:
    """A fact; or what stands for it, and in words what asking raised, whatever that is."""
    try:
        return ask(), ""
    except Exception as error:
        return otherwise, f"{type(error).__name__}: {error}"


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
    frequency = psutil.cpu_freq()
    return float(frequency.current) if frequency else None


def describe_versions() -> dict[str, Any]:
    """Versions of what shapes a result, and NumPy's BLAS by its own account; None for one that is missing."""
    asked = {"python": platform.python_version, "moe": _commit, "numpy's BLAS": numpy_blas}
    found: dict[str, Any] = {name: _asked(ask, NOT_KNOWN)[0] for name, ask in asked.items()}
    found |= {package: _version(package) for package in PACKAGES}
    found["torch"] = _asked(torch_version, None)[0] or found["torch"]
    return found | {package: known for package in EXTRAS if (known := _version(package))}


def _version(package: str) -> str | None:
    """An installed package's version; None where it is missing, or what was installed of it can't be read."""
    known: str | None = _asked(lambda: version(package), None)[0]
    return known


def numpy_blas() -> str:
    """The BLAS that NumPy was built with: its name and version."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', NOT_KNOWN)} {blas.get('version', '')}".strip()


def _commit() -> str:
    """The package's version with its commit, marked where the checkout differs from it."""
    known = _version("moe") or NOT_KNOWN
    commit: str = _asked(_described, "")[0]
    return f"{known}+{commit}" if commit else known


def _described() -> str:
    """What git calls the commit of the package's checkout; empty without one."""
    # A package that is not installed from its checkout may lie inside somebody else's.
    if not (CHECKOUT / ".git").exists():
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")


def remotes() -> list[str]:
    """The addresses of the repositories that the package's checkout came from, as git has them, `origin`'s first."""
    if not (CHECKOUT / ".git").exists():
        return []
    lines: list[str] = _asked(lambda: _git("config", "--get-regexp", r"^remote\..*\.url$").splitlines(), [])[0]
    found = [line.split(maxsplit=1) for line in lines if " " in line]
    return [address for _, address in sorted(found, key=lambda entry: entry[0] != "remote.origin.url")]


def _git(*words: str) -> str:
    """What git says of the package's checkout."""
    command = ["git", "-C", str(CHECKOUT), *words]
    own = {name: value for name, value in os.environ.items() if name not in GIT_PLACES}
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=10, env=own).stdout.strip()
