"""Where a report comes from: its machine, its versions, and the command that makes it again."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from moe.measure.busy import Busy
from moe.measure.machine import remotes
from moe.run import Run, write_atomically

PARAMETERS = "parameters.json"  # in a report's folder
DIRTY = "-dirty"


def write_parameters(
    folder: Path, command: str, notebooks: dict[str, dict[str, Any]], busy: Busy | None = None
) -> None:
    """Keep what a report was made with, and how `busy` the machine was then: how much, not with what.

    So is the address of the repository that the checkout came from, if a browser can open it.
    """
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    content: dict[str, Any] = {"command": command, "date": date, "notebooks": notebooks}
    if address := next(filter(None, map(_browsable, remotes())), ""):
        content["address"] = address
    if busy is not None:
        content["busy"] = {"cores": busy.cores, "waited_s": busy.waited_s}
    write_atomically(folder / PARAMETERS, json.dumps(content, indent=2) + "\n")


class Parameters(NamedTuple):
    """A report's command, its parameters by notebook, how busy the machine was (None: nobody looked), its date.

    And the address of the repository that it was made from, if that is known.
    """

    command: str
    notebooks: dict[str, dict[str, Any]]
    busy: Busy | None
    date: str = ""
    address: str = ""


def read_parameters(folder: Path) -> Parameters:
    """What a report was made with; raises ValueError for a folder that is no report."""
    path = folder / PARAMETERS
    if not path.is_file():
        raise ValueError(f"{folder} is no report: it has no {PARAMETERS}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        busy = Busy(**found["busy"]) if "busy" in found else None
        address = _browsable(found.get("address", ""))
        return Parameters(found["command"], found["notebooks"], busy, found.get("date", ""), address)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is malformed: {error}") from error


def machine_text(run: Run) -> str:
    """The machine in a few words."""
    facts = run.machine
    about = [f"{facts['usable_cores']} usable cores", *facts["vector_features"]]
    hypervisor = ", under a hypervisor" if facts["hypervisor"] else ""
    return f"{facts['processor']} ({', '.join(about)}{hypervisor})"


def versions_text(run: Run) -> str:
    """The versions of what shapes a result."""
    return ", ".join(f"{name} {version}" for name, version in run.versions.items() if version)


@dataclass(frozen=True)
class Foot:
    """What stands at the end of a report's pages: sentences, the command that makes the report again, and of what.

    `address` is that of the repository, empty where neither its checkout nor the package names one.
    """

    lines: Sequence[str]
    command: str
    address: str = ""


def foot(runs: Sequence[Run], folder: Path) -> Foot:
    """The end of a page over some of a report's runs."""
    command, _, busy, date, address = read_parameters(folder)
    seconds = sum(run.elapsed_s for run in runs)
    _, _, commit = str(runs[0].versions["moe"]).partition("+")
    lines = [
        f"Run {folder.name}, {f'of {date}, ' if date else ''}measured in {seconds:.0f} s on {machine_text(runs[0])}.",
        f"{versions_text(runs[0])}.",
    ]
    if busy is not None and not busy.is_quiet:
        lines.append(f"Others used {busy.cores:.1f} cores when it began, after {busy.waited_s:.0f} s of waiting.")
    if commit.endswith(DIRTY):
        lines.append("The checkout held changes that were not committed.")
    checkout = f"git checkout {commit.removesuffix(DIRTY)} && " if commit else ""
    return Foot(lines, checkout + command, address or repository())


def repository() -> str:
    """The address of the project's repository, as its package has it, or nothing."""
    with suppress(PackageNotFoundError):
        for entry in metadata("moe").get_all("Project-URL") or []:
            _, _, address = entry.partition(", ")
            return str(address)
    return ""


def _browsable(address: str) -> str:
    """An address without the name and password of whoever uses it, if a browser can open it, or else nothing."""
    try:
        scheme, place, path, *_ = urlsplit(address)
    except ValueError:
        return ""
    return f"{scheme}://{place.rpartition('@')[2]}{path}" if scheme in ("http", "https") and place else ""
