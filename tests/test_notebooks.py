from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import moe
from moe.analysis.breakdown import SWITCHES, THREADS
from moe.report.parameters import NOTEBOOKS, load_profile, read_parameters
from moe.report.pipeline import EXPERIMENTS

MOST_LINES = 8
SAMPLE = NOTEBOOKS.parent / "docs" / "sample"
TO_WORK_IN = {"explore.ipynb", "analysis.ipynb"}


def notebooks() -> list[Path]:
    return [NOTEBOOKS / f"{name}.ipynb" for name in EXPERIMENTS]


def test_every_committed_notebook_is_in_the_report_but_those_to_work_in() -> None:
    listed = subprocess.run(["git", "ls-files", "*.ipynb"], cwd=NOTEBOOKS, capture_output=True, text=True, check=True)
    assert set(listed.stdout.split()) == {path.name for path in notebooks()} | TO_WORK_IN


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_cells_are_thin_and_define_nothing(path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type != "code" or "parameters" in cell.metadata.get("tags", []):
            continue
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= MOST_LINES
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.For | ast.While)


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_notebooks_are_committed_without_outputs(path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_notebook_opened_by_itself_is_at_profile_smoke(path) -> None:
    assert read_parameters(path)["run"].default is None
    assert load_profile("smoke") == {}


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_profiles_name_notebooks_of_the_report(profile: str) -> None:
    assert set(load_profile(profile)) <= {path.stem for path in notebooks()}


def test_the_breakdown_explains_every_factor_of_the_kernel() -> None:
    (text,) = (
        cell.source
        for cell in nbformat.read(NOTEBOOKS / "breakdown.ipynb", as_version=4).cells
        if cell.source.startswith("## What each gives inside Mojo")
    )
    for name in (*SWITCHES, THREADS):
        assert f"*{name}*: " in text


@pytest.mark.long
@pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)
def test_a_notebook_measures_for_itself_from_its_own_folder(path) -> None:
    """As JupyterLab opens it: in the notebook's folder, with no run given."""
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    program = re.sub(r"budget_s: float = [\d.]+", "budget_s: float = 1.0", "\n".join(c.source for c in cells))
    program = program.replace("run: str = None", 'run: str = "new"')  # whatever reports there are
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=NOTEBOOKS, capture_output=True, text=True, timeout=120, check=False
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.long
def test_an_analysis_begins_with_the_newest_report(tmp_path: Path) -> None:
    cells = [c for c in nbformat.read(NOTEBOOKS / "analysis.ipynb", as_version=4).cells if c.cell_type == "code"]
    newest = f"from moe.report import source; source.REPORTS = __import__('pathlib').Path({str(tmp_path)!r})"
    (tmp_path / "latest").symlink_to(SAMPLE)
    program = "\n".join([newest, *(c.source for c in cells)])
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    measured = moe.rows(moe.load_run(SAMPLE / "comparison.json")).query("status == 'ok' and not control")
    assert len((tmp_path / "my_rows.csv").read_text().splitlines()) == 1 + len(measured) > 5
