"""The files that a process imports from: a worker has those of its parent, and the run names them."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from moe.implementations.registry import load
from moe.measure.child import WorkerFailedError
from moe.measure.machine import CHECKOUT, EXTRAS, PACKAGES


def loaded_files(implementation: str) -> dict[str, str]:
    """The files from which this process has imported an implementation, this package, and numeric libraries."""
    return {what: file for what, name in _modules(implementation).items() if (file := _file_of(name))}


def require_files(implementation: str, theirs: dict[str, str]) -> dict[str, str]:
    """What a worker imported, as a run names it; raises WorkerFailedError unless this process has the same."""
    for what, name in _modules(implementation).items():
        if not (other := theirs.get(what)):
            continue
        own = _file_of(name) or _file_to_import(name)
        if own and os.path.realpath(own) != os.path.realpath(other):
            raise WorkerFailedError(f"it imported {what} from {other}, and this process from {own}")
    if "moe" not in theirs:
        raise WorkerFailedError("it does not say what it imported")
    return {what: shown(file) for what, file in theirs.items()}


def shown(file: str) -> str:
    """A file as a run names it: from the folder of this package on, of Python's environment, or of the user."""
    environment = Path(sys.prefix)
    for folder, name in ((CHECKOUT, ""), (environment, environment.name), (Path(os.path.expanduser("~")), "~")):
        if Path(file).is_relative_to(folder):
            return str(name / Path(file).relative_to(folder))
    return file


def _modules(implementation: str) -> dict[str, str]:
    """The names of the modules that matter, by what they are called in a run."""
    return {"implementation": load(implementation).__module__, **{n: n for n in ("moe", *PACKAGES, *EXTRAS)}}


def _file_of(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _file_to_import(module: str) -> str | None:
    """The file of a module that this process has not imported; None where that can't be said."""
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return spec.origin if spec else None
