"""Where a notebook's numbers come from: the run that it was given, the newest report's, or one that it measures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moe.measure.compare import compare
from moe.report.parameters import NOTEBOOKS
from moe.run import Run, RunFileError, load_run

REPORTS = NOTEBOOKS.parent / "reports"
LATEST = "latest"  # in it, a link to the newest report's folder
NEW = "new"  # in place of a run's file: measure, also where there is a report
FEWEST_PROCESSES = 3  # of a run that a notebook measures: one alone gives no interval


def latest(name: str = "comparison") -> Run:
    """The run behind the page `name` of the newest report.

    Raises RunFileError where there is no report, or it has no such page.
    """
    path = run_file(REPORTS / LATEST, name)
    if not path.exists():
        raise RunFileError(f"{path} is not there: `make report` makes the first report")
    return load_run(path)


def run_file(folder: Path, name: str) -> Path:
    """Where a report's folder has the run of the notebook of this name."""
    return folder / f"{name}.json"


def shown_file(run: str | None, name: str) -> Path | None:
    """As `given_or_latest`, and tells a notebook's reader where the parameters above are not used."""
    path = given_or_latest(run, name)
    if run is None and path is not None:
        print(f'Shown is the newest report: {path.resolve()}. With run = "{NEW}" the parameters above are measured.')
    return path


def given_or_latest(run: str | None, name: str) -> Path | None:
    """The file of the run that a notebook was given, or that of the newest report; None where it is to measure."""
    if run is not None:
        return None if run == NEW else Path(run)
    path = run_file(REPORTS / LATEST, name)
    return path if path.exists() else None


def load_or_measure(
    run: str | None, name: str, arguments: Callable[[], dict[str, Any]], measure: Callable[..., Run] = compare
) -> Run:
    """The run that the notebook `name` shows; says so where it was not told which."""
    path = shown_file(run, name)
    if path is not None:
        return load_run(path)
    chosen = arguments()
    return measure(**chosen | {"processes": max(FEWEST_PROCESSES, chosen["processes"])})
