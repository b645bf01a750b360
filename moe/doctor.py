"""What this machine can run, and what to do about the rest."""

import platform
import sys

from moe import mojo_build
from moe.check import OneCheck, References
from moe.config import MoEConfig
from moe.folders import VARIABLE, try_folders
from moe.implementations import availability, names
from moe.implementations.foreign import contained, words_of
from moe.measure.machine import describe_machine
from moe.problem import Problem, make_problem


def diagnose() -> tuple[list[str], bool]:
    """Lines for a person, and whether every implementation of the package works."""
    machine = describe_machine()
    vectors = ", ".join(machine["vector_features"]) or "no wide vectors known"
    size = machine["memory_bytes"]
    memory = "memory unknown" if size is None else f"{size / 2**30:.0f} GiB"
    lines = [
        f"machine   {machine['processor']} ({machine['architecture']}; {vectors}), "
        f"{machine['usable_cores']} usable cores, {memory}",
        *(f"unknown   {name}: {why}" for name, why in machine.get("unknown", {}).items()),
        f"python    {platform.python_version()} at {sys.executable}",
        f"mojo      {_mojo()}",
        f"cuda      {_cuda()}",
    ]
    tiny = make_problem(MoEConfig(tokens=2, d_model=8, d_ff=8, num_experts=2, top_k=1))
    healthy = True
    for name in names():
        problem = _try(name, tiny)
        healthy = healthy and not problem
        lines.append(f"{name:12}  {problem or 'works'}")
    return lines, healthy


def _mojo() -> str:
    try:
        library = mojo_build.build()
    except mojo_build.MojoBuildError as error:
        return str(error)
    except Exception as error:  # whatever its files are like
        return f"{type(error).__name__}: {error}"
    found = f"{library.compiler}, kernel compiled ({library.sha256[:12]})"
    _, tried = try_folders(mojo_build.KEPT)
    if tried:
        found += f", kept in {library.path.parent}, not in {'; '.join(tried)}; {VARIABLE} names another place"
    return found


def _cuda() -> str:
    available, why = availability("torch[device=cuda]")
    if available:
        try:
            with contained():
                import torch

                if torch.cuda.is_available():
                    return str(torch.cuda.get_device_name())
            why = "PyTorch finds no CUDA device"
        except Exception as error:
            why = words_of(error)
    return f"{why}; torch[device=cuda] is left out of reports"


def _try(name: str, problem: Problem) -> str:
    """What keeps an implementation from running, or nothing."""
    available, reason = availability(name)
    if not available:
        return f"not run: {reason}"
    found, _ = OneCheck(name, 1, References()).checked("", problem, "")
    return "" if found.status == "ok" else f"fails: {found.note}"
