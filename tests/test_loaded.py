"""Workers and kernels import what their parent does, whatever lies in the folder that one stands in."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

import moe
from moe.measure import child as child_module
from moe.measure.child import Child, WorkerFailedError
from moe.measure.loaded import loaded_files, require_files, shown
from moe.report.render import execute
from moe.run import Run, read_run

from .conftest import briefly, validate_run

pytestmark = pytest.mark.usefixtures("brief")

TINY = moe.MoEConfig(6, 8, 16, 3, 2)


def measure(*names: str) -> Run:
    effort = {"budget_s": 0.5, "processes": 1, "turn_s": 0.0, "warm_up_s": 0.0, "warm_up_most_s": 0.0}
    return moe.compare(names, TINY, progress=False, **effort)


@pytest.fixture(scope="module")
def strange_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files that are called like what a worker imports, and another checkout."""
    folder = tmp_path_factory.mktemp("strange")
    for name in ("statistics", "numpy", "torch"):
        (folder / f"{name}.py").write_text("raise ImportError('from the folder that one stands in')\n")
    (folder / "random.py").write_text("print('hello')\n")
    (folder / "moe" / "measure").mkdir(parents=True)
    for package in ("moe", "moe/measure"):
        (folder / package / "__init__.py").write_text("")
    (folder / "moe" / "measure" / "worker.py").write_text("raise ImportError('another checkout')\n")
    return folder


@pytest.fixture(scope="module")
def strange_run(strange_folder: Path) -> Run:
    """A run of one who stands in that folder."""
    with briefly(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(strange_folder)
        return measure("numpy", "torch")


def test_the_folder_that_one_stands_in_is_not_imported_from(strange_run: Run) -> None:
    assert [(m.label, m.status) for m in strange_run.measurements] == [
        ("numpy", "ok"), ("torch", "ok"), ("numpy (control)", "ok")
    ]  # fmt: skip


def test_a_run_says_what_its_workers_imported(strange_run: Run) -> None:
    run = read_run(strange_run.to_json(), "it")
    validate_run(json.loads(run.to_json()))
    numpy, torch, control = (m.details["files"] for m in run.measurements)
    assert numpy == control
    assert numpy["implementation"] == str(Path("moe", "implementations", "numpy_layer.py"))
    assert numpy["moe"] == torch["moe"] == str(Path("moe", "__init__.py"))
    assert numpy["numpy"] == torch["numpy"] == shown(np.__file__)
    assert torch["torch"].endswith(str(Path("torch", "__init__.py")))
    assert "torch" not in numpy


def test_a_peer_is_named_from_the_checkout_on() -> None:
    assert shown(loaded_files("jax")["implementation"]) == str(Path("peers", "jax_layer.py"))


def test_what_a_worker_imports_from_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__file__", "/elsewhere/numpy/__init__.py")
    numpy, _ = measure("numpy").measurements
    assert numpy.status == "failed"
    assert numpy.reason.startswith("it imported numpy from ")
    assert numpy.reason.endswith(", and this process from /elsewhere/numpy/__init__.py")


def test_a_library_that_only_the_worker_has_imported_is_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    files = loaded_files("torch")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert require_files("torch", files) == {what: shown(file) for what, file in files.items()}
    with pytest.raises(WorkerFailedError, match=r"it imported torch from /x/torch\.py"):
        require_files("torch", files | {"torch": "/x/torch.py"})
    with pytest.raises(WorkerFailedError, match="it does not say what it imported"):
        require_files("torch", {})


def test_files_are_named_without_saying_whose_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    assert shown("/home/someone/lib/numpy/__init__.py") == str(Path("~", "lib", "numpy", "__init__.py"))
    assert shown("/opt/numpy/__init__.py") == "/opt/numpy/__init__.py"
    monkeypatch.setattr(sys, "prefix", "/opt/environments/numeric")
    assert shown("/opt/environments/numeric/lib/numpy/__init__.py") == str(Path("numeric", "lib/numpy/__init__.py"))


def test_what_is_on_the_parents_path_alone_is_on_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "beside.py").write_text("FACTOR = 1\n")
    layer = "import beside\nfrom moe.implementations.numpy_layer import NumpyLayer\nclass Mine(NumpyLayer): pass\n"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text(layer)
    monkeypatch.syspath_prepend(tmp_path)
    mine = f"{tmp_path / 'own' / 'mine.py'}:Mine"
    measured, _ = measure(mine).measurements
    assert (measured.status, measured.reason) == ("ok", "")
    assert measured.details["files"]["implementation"] == shown(str(tmp_path / "own" / "mine.py"))


def test_what_a_worker_prints_before_it_can_be_asked_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "WORKER", "print('a banner', flush=True); input()")
    worker = Child(1)
    with pytest.raises(WorkerFailedError, match="something printed where its answers go: b'a banner'"):
        worker.ask("limits", timeout=60)
    assert worker.ended


def test_a_kernel_imports_what_the_report_does(strange_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(strange_folder)
    (strange_folder / "own").mkdir()
    (strange_folder / "own" / "mine.py").write_text("")
    monkeypatch.syspath_prepend(strange_folder / "own")
    code = "import numpy, moe, mine; print(numpy.__file__, moe.__file__)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbformat.write(notebook, strange_folder / "made.ipynb")
    executed = execute(strange_folder / "made.ipynb", strange_folder / "done.ipynb", {})
    (cell,) = nbformat.read(executed, as_version=4).cells
    assert cell.outputs[0].text == f"{np.__file__} {moe.__file__}\n"
