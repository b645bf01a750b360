"""A report from beginning to end: measure, execute the notebooks on the runs, render, point `latest` at it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moe.measure import compare
from moe.report import breakdown, comparison
from moe.report.parameters import NOTEBOOKS, resolve
from moe.report.render import NotebookFailedError, execute, render
from moe.run import load_run, write_atomically

REPORTS = NOTEBOOKS.parent / "reports"
PARAMETERS = "parameters.json"

# The notebooks of a report, and what turns each one's parameters into a measurement. Others in the folder are
# somebody's own.
EXPERIMENTS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "comparison": comparison.arguments,
    "breakdown": breakdown.arguments,
}


def make_report(profile: str, assignments: Sequence[str]) -> int:
    """Measure and render a report; returns the exit code. Raises ValueError for a wrong profile or parameter."""
    parameters = resolve(profile, assignments, list(EXPERIMENTS))
    measurements = {name: EXPERIMENTS[name](**values) for name, values in parameters.items()}
    folder = REPORTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"
    folder.mkdir(parents=True)
    write_atomically(folder / PARAMETERS, json.dumps(parameters, indent=2) + "\n")
    for name, arguments in measurements.items():
        _say(f"measuring for {name}, about {arguments['budget_s']:.0f} s")
        compare(**arguments, path=_run_file(folder, name))
    code = _render_all(folder, parameters)
    if all((folder / f"{name}.html").exists() for name in EXPERIMENTS):
        _point_latest_at(folder)
        print(f"{REPORTS / 'latest'} is this report")
    return code


def render_again(folder: Path) -> int:
    """Render a report's folder without measuring; returns the exit code. Raises ValueError for another folder."""
    if not (folder / PARAMETERS).is_file():
        raise ValueError(f"{folder} is no report: it has no {PARAMETERS}")
    return _render_all(folder.resolve(), json.loads((folder / PARAMETERS).read_text(encoding="utf-8")))


def _render_all(folder: Path, parameters: Mapping[str, Mapping[str, Any]]) -> int:
    code = 0
    for name in EXPERIMENTS:
        run, notebook = _run_file(folder, name), f"{name}.ipynb"
        _say(f"executing {notebook}")
        try:
            executed = execute(NOTEBOOKS / notebook, folder / notebook, {**parameters[name], "run": str(run)})
        except NotebookFailedError as error:
            print(f"moe: {error}", file=sys.stderr)
            code = 1
            continue
        write_atomically(folder / f"{name}.html", render(executed))
        print(folder / f"{name}.html")
        if any(m.status == "failed" for m in load_run(run).measurements):
            code = 1
    return code


def _run_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _point_latest_at(folder: Path) -> None:
    """Replace the link in one step: a reader finds the old report or the new one."""
    with tempfile.TemporaryDirectory(dir=REPORTS) as scratch:
        link = Path(scratch) / "latest"
        link.symlink_to(os.path.relpath(folder, REPORTS))
        os.replace(link, REPORTS / "latest")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
