"""A report's numbers in one file, and all of a report in one file to send."""

import re
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from moe.analysis.frames import rows
from moe.report.origin import machine_text, read_parameters
from moe.report.pages import INDEX
from moe.report.source import run_file
from moe.run import Run, load_run

RESULTS = "results.csv"
FIRST = "READ-ME-FIRST.txt"


def results(runs: Mapping[str, Run]) -> str:
    """The rows of all of a report's runs as CSV, with the page that shows each; `moe.rows` says what columns are."""
    import pandas as pd

    found = [rows(run).assign(page=name) for name, run in runs.items()]
    return str(pd.concat(found, ignore_index=True).to_csv(index=False))


def pack(folder: Path) -> Path:
    """All of a report in one file beside its folder, named by machine and date, whose first entry says what to open.

    Nothing is rendered. Raises ValueError for a folder that is no report, or has no pages yet.
    """
    folder = folder.resolve()
    notebooks = read_parameters(folder).notebooks
    if not (folder / f"{INDEX}.html").is_file():
        raise ValueError(f"{folder} has no {INDEX}.html to send: moe report --from {folder} makes it")
    runs = [load_run(path) for name in notebooks if (path := run_file(folder, name)).is_file()]
    machine = re.sub(r"[^a-z0-9]+", "-", str(runs[0].machine["processor"]).lower()).strip("-") or "machine"
    name = f"moe-{machine}-{folder.name}"
    packed = folder.with_name(f"{name}.zip")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".ipynb_checkpoints" not in path.parts)
    with ZipFile(packed, "w", ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/{FIRST}", _note(runs[0]))
        for path in files:
            archive.write(path, Path(name, path.relative_to(folder)))
    return packed


def _note(run: Run) -> str:
    return (
        f"Open {INDEX}.html in a browser: it says what was found and leads to the other pages.\n\n"
        f"Measured on {machine_text(run)}.\n{RESULTS} has a row for each measurement, the .json files every sample.\n"
    )
