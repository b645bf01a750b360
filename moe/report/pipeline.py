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

from moe.report import comparison
from moe.report.parameters import NOTEBOOKS, notebooks, resolve
from moe.report.render import NotebookFailedError, execute, render
from moe.run import Run, load_run, write_atomically

REPORTS = NOTEBOOKS.parent / "reports"
PARAMETERS = "parameters.json"

# What a notebook's run is measured by. A notebook that is not here measures nothing and is not part of a report.
EXPERIMENTS: Mapping[str, Callable[..., Run]] = {"comparison": comparison.measure}


def make_report(profile: str, assignments: Sequence[str]) -> int:
    """Measure and render a report; returns the exit code. Raises ValueError for a wrong profile or parameter."""
    parameters = resolve(profile, assignments)
    folder = REPORTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"
    folder.mkdir(parents=True)
    write_atomically(folder / PARAMETERS, json.dumps(parameters, indent=2) + "\n")
    for path in _reported():
        _say(f"measuring for {path.stem}, about {parameters[path.stem]['budget_s']:.0f} s")
        EXPERIMENTS[path.stem](**parameters[path.stem], path=_run_file(folder, path.stem))
    return _render_all(folder, parameters)


def render_again(folder: Path) -> int:
    """Render a report's folder without measuring; returns the exit code. Raises ValueError for another folder."""
    if not (folder / PARAMETERS).is_file():
        raise ValueError(f"{folder} is no report: it has no {PARAMETERS}")
    return _render_all(folder.resolve(), json.loads((folder / PARAMETERS).read_text()))


def _render_all(folder: Path, parameters: Mapping[str, Mapping[str, Any]]) -> int:
    failed = False
    for path in _reported():
        run = _run_file(folder, path.stem)
        _say(f"executing {path.name}")
        try:
            executed = execute(path, folder / path.name, {**parameters[path.stem], "run": str(run)})
        except NotebookFailedError as error:
            print(f"moe: {error}", file=sys.stderr)
            failed = True
            continue
        write_atomically(folder / f"{path.stem}.html", render(executed))
        print(folder / f"{path.stem}.html")
        failed |= any(m.status == "failed" for m in load_run(run).measurements)
    if (folder / "comparison.html").exists():
        _point_latest_at(folder)
        print(f"{REPORTS / 'latest' / 'comparison.html'} is this report")
    return 1 if failed else 0


def _reported() -> list[Path]:
    return [path for path in notebooks() if path.stem in EXPERIMENTS]


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
