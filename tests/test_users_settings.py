"""What a user has set for their own notebooks and figures leaves a report's as they are."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import matplotlib
import nbformat
import pytest

from moe.report import pipeline
from moe.report.origin import Foot
from moe.report.parameters import NOTEBOOKS
from moe.report.render import NotebookFailedError, execute, render

SAMPLE = NOTEBOOKS.parent / "docs" / "sample"
# Each changes a figure, or needs what is not there.
THEIRS = {
    "text.usetex": True,
    "font.family": "monospace",
    "font.size": 17.0,
    "axes.formatter.use_locale": True,
    "axes.labelcolor": "red",
    "axes.unicode_minus": False,
    "errorbar.capsize": 9.0,
    "figure.dpi": 30.0,
    "figure.facecolor": "black",
    "legend.frameon": False,
    "lines.linewidth": 9.0,
    "path.sketch": (1.0, 100.0, 2.0),
    "savefig.bbox": "tight",
    "savefig.transparent": True,
    "svg.image_inline": False,
    "xtick.labelsize": 20.0,
}
USERS = """
print("from a start-up file")
import pandas
pandas.set_option("styler.render.repr", "latex")
"""
PROGRAM = """
import os, sys
print(sys.executable)
print(os.environ["NAMED"])
import matplotlib
print(matplotlib.rcParams["text.usetex"])
1
2
"""


def drawn(name: str, folder: Path) -> dict[str, bytes]:
    """Every figure of a notebook's, from the sample's run."""
    folder.mkdir()
    for path in (*SAMPLE.glob("*.json"), *SAMPLE.glob("*.yaml")):
        shutil.copy(path, folder)
    cells = [c.source for c in nbformat.read(NOTEBOOKS / f"{name}.ipynb", 4).cells if c.cell_type == "code"]
    program = "\n".join([cells[0], f"run = {str(folder / f'{name}.json')!r}", *cells[1:]])
    exec(program, {})
    return {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}


@pytest.mark.long
@pytest.mark.parametrize("name", list(pipeline.EXPERIMENTS))
def test_figures_are_drawn_under_our_own_settings(name: str, tmp_path: Path) -> None:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        ours = drawn(name, tmp_path / "ours")
    with matplotlib.rc_context(THEIRS):
        theirs = drawn(name, tmp_path / "theirs")
        assert matplotlib.rcParams["text.usetex"]
    assert ours
    assert [figure for figure in ours if ours[figure] != theirs[figure]] == []


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A notebook of one cell, in a folder whose name is no template."""
    monkeypatch.setenv("NAMED", "of $HOME")
    source = tmp_path / "source.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(PROGRAM)]), source)
    return source


def outputs(executed: Path) -> tuple[str, list[str]]:
    """What a notebook's cell printed, and its results."""
    (cell,) = nbformat.read(executed, as_version=4).cells
    said = "".join(output["text"] for output in cell.outputs if output.output_type == "stream")
    return said, [output["data"]["text/plain"] for output in cell.outputs if "data" in output]


def kernelspec(folder: Path, python: str) -> None:
    (folder / "kernels" / "python3").mkdir(parents=True)
    spec = {"argv": [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "x"}
    (folder / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec | {"language": "python"}))


@pytest.mark.parametrize("python", ["another name", "another", "missing"])
def test_a_page_runs_in_this_python_whatever_kernelspecs_say(
    python: str, notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among them one that names this Python by another path, and one of a Python that has nothing of ours."""
    path = tmp_path / "other" / "bin" / "python"
    if python == "another name":
        (tmp_path / "other").symlink_to(sys.prefix)
    elif python == "another":
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\nexit 1\n")
        path.chmod(0o755)
    kernelspec(tmp_path / "jupyter", str(path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    said, _ = outputs(execute(notebook, tmp_path / "executed.ipynb", {}))
    assert said.splitlines()[0] == sys.executable


def test_a_users_profile_and_settings_do_not_reach_a_page(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    profile = home / ".ipython" / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup" / "00.py").write_text(USERS)
    (profile / "ipython_config.py").write_text('c.InteractiveShell.ast_node_interactivity = "all"\n')
    (home / "rc").write_text("text.usetex: True\nnonsense\n")
    (home / "start.py").write_text(USERS)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    monkeypatch.setenv("MATPLOTLIBRC", str(home / "rc"))
    monkeypatch.setenv("PYTHONSTARTUP", str(home / "start.py"))
    said, last = outputs(execute(notebook, tmp_path / "executed.ipynb", {}))
    assert said.splitlines()[-2:] == ["of $HOME", "False"]
    assert "start-up" not in said
    assert last == ["2"]


def test_a_users_templates_do_not_shape_a_page(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lab", "base", "report"):
        folder = tmp_path / "jupyter" / "nbconvert" / "templates" / name
        folder.mkdir(parents=True)
        (folder / "index.html.j2").write_text("somebody's own")
        (folder / "base.html.j2").write_text("somebody's own")
    shown = (notebook, Foot((), ""), ["comparison"], SAMPLE / "comparison.json")
    before = render(*shown)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    assert render(*shown) == before


def test_a_kernel_that_dies_says_what_to_do(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os\nos._exit(3)")]), notebook)
    with pytest.raises(NotebookFailedError, match=r"its kernel died, .*ipykernel_launcher; what it said last stands"):
        execute(notebook, tmp_path / "executed.ipynb", {})
