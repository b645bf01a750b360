"""Files of one's own: whatever they are called and wherever they lie, and what lies beside them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import seaborn as sns

import moe
from moe import mojo_build
from moe.implementations import availability, own_files, parse_variant, registry
from moe.measure import worker
from moe.report import figures, pipeline
from moe.report.finish import finish
from moe.report.parameters import words
from moe.variant import Variant

from .conftest import require
from .synthetic import synthetic_run

pytestmark = pytest.mark.usefixtures("brief")

TINY = moe.MoEConfig(6, 8, 16, 3, 2)
LAYER = '''
from moe.implementations.numpy_layer import NumpyLayer

class Mine(NumpyLayer):
    """A layer of one's own."""

    name = "mine"

    def __init__(self, weights, *, top_k, threads, factor="1"):
        super().__init__(weights, top_k=top_k, threads=threads)
'''
NAMES = (
    "torch.py", "with space.py", " begins and ends .py", "a,b.py", "[.py", "].py", "a[b]c.py", "colon:in:it.py",
    "ж é.py", "-p.py", "-.py", ".py", "two.dots.py", "$x$.py", "_x.py", "{x}.py", "'.py", '".py', "#%&;|<b>.py",
    "new\nline.py", "x.py:Mine.py", os.fsdecode(b"no text \xff.py"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def forgotten() -> None:
    registry.load_again()


def measure(*names: str) -> moe.Run:
    effort = {"budget_s": 0.5, "processes": 1, "turn_s": 0.0, "warm_up_s": 0.0, "warm_up_most_s": 0.0}
    return moe.compare(names, TINY, progress=False, **effort)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_is_a_file_with_or_without_options(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text(LAYER)
    monkeypatch.chdir(tmp_path)
    for text in (f"{name}:Mine", f"{tmp_path / name}:Mine"):
        assert availability(text) == (True, "")
        assert parse_variant(text) == Variant(text)
        assert parse_variant(f"{text}[factor=2]") == Variant(text, {"factor": "2"})
        assert str(parse_variant(f"{text}[factor=2]")) == f"{text}[factor=2]"
        listed = f"numpy,{text},{text}[factor=2], torch[device=cuda,transfer=on] {text}"
        assert words(listed) == ["numpy", text, f"{text}[factor=2]", "torch[device=cuda,transfer=on]", text]
    problem = moe.make_problem(TINY)
    np.testing.assert_array_equal(
        moe.create(f"{name}:Mine", problem.weights, top_k=2)(problem.x),
        moe.create("numpy", problem.weights, top_k=2)(problem.x),
    )
    with pytest.raises(ValueError, match="has no class 'Other'"):
        parse_variant(f"{name}:Other")


def test_words_are_parted_as_ever() -> None:
    assert words(" numpy, torch  mojo[simd=off,tile=off],1,2\n") == [
        "numpy", "torch", "mojo[simd=off,tile=off]", "1", "2"
    ]  # fmt: skip
    assert words("") == words(" , ") == []
    assert words("numpy,nowhere/at all.py:Layer") == ["numpy", "nowhere/at", "all.py:Layer"]


def test_a_file_takes_no_modules_place(tmp_path: Path) -> None:
    known = sys.modules.get("torch"), sys.modules["json"]
    for name in ("torch", "json"):
        (tmp_path / f"{name}.py").write_text(LAYER)
        assert availability(f"{tmp_path / name}.py:Mine") == (True, "")
    assert (sys.modules.get("torch"), sys.modules["json"]) == known


def test_a_file_that_is_called_like_a_library_is_not_that_library(tmp_path: Path) -> None:
    (tmp_path / "absent_library.py").write_text(LAYER)
    asks = "\nimport importlib.util\nclass Asks(Mine):\n    @staticmethod\n    def available():\n        "
    asks += "return importlib.util.find_spec('absent_library') is None, 'there'\n"
    (tmp_path / "asks.py").write_text(LAYER + asks)
    assert availability(f"{tmp_path}/asks.py:Asks") == (False, "there")  # beside it there is
    before = importlib.util.find_spec
    seen = []

    def find_spec(name: str) -> object:
        seen.append(before("absent_library"))
        return before(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("moe.implementations.contract.find_spec", find_spec)
        availability("numba")
    assert seen[0] is None
    assert str(tmp_path) not in own_files.import_path()


def with_sibling(folder: Path, value: int) -> str:
    """A file that imports what lies beside it, at once and when it is made."""
    folder.mkdir()
    (folder / "sibling.py").write_text(f"VALUE = {value}\n")
    (folder / "later.py").write_text(f"VALUE = {value}\n")
    (folder / "statistics.py").write_text("raise ImportError('this is no library')\n")
    needs = "        import later, statistics\n        self.value = later.VALUE * (later.VALUE == sibling.VALUE)\n"
    (folder / "needs.py").write_text("import sibling\n" + LAYER + needs)
    return f"{folder}/needs.py:Mine"


def test_what_lies_beside_a_file_is_its_own(tmp_path: Path) -> None:
    problem = moe.make_problem(TINY)
    names = {with_sibling(tmp_path / f"v{value}", value): value for value in (1, 2)}
    for _ in range(2):
        for name, value in names.items():
            layer = moe.create(name, problem.weights, top_k=2)
            assert layer.implementation.value == value
    assert {m.status for m in measure(*names).measurements} == {"ok"}


def test_what_is_edited_beside_a_file_is_imported_anew(tmp_path: Path) -> None:
    name = with_sibling(tmp_path / "own", 1)
    weights = moe.make_problem(TINY).weights
    assert moe.create(name, weights, top_k=2).implementation.value == 1
    for edited in ("sibling.py", "later.py"):
        (tmp_path / "own" / edited).write_text("VALUE = 1_000\n")
    assert moe.create(name, weights, top_k=2).implementation.value == 1
    registry.load_again()
    assert moe.create(name, weights, top_k=2).implementation.value == 1000


@pytest.mark.long
@pytest.mark.parametrize("start", [["-P", "-m", "moe"], ["-m", "moe"]])
def test_the_command_takes_any_file(start: list[str], tmp_path: Path) -> None:
    """As `moe`, which has no folder of one's own on its path, and as `python -m moe`, which has."""
    with_sibling(tmp_path / "own", 1)
    (tmp_path / "own" / "needs.py").rename(tmp_path / "own" / "-a [b], c.py")
    (tmp_path / "own" / "statistics.py").unlink()
    budget = ["--config", "smoke,tokens=4", "--budget", "0.5", "--anyway", "--json", "a [b]/{c}.json"]
    command = [sys.executable, *start, "bench", *budget, "--", "-a [b], c.py:Mine", "./-a [b], c.py:Mine"]
    done = subprocess.run(command, cwd=tmp_path / "own", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    run = moe.load_run(tmp_path / "own" / "a [b]" / "{c}.json")
    assert [m.status for m in run.measurements] == ["ok"] * 3


@pytest.mark.long
def test_a_report_in_any_folder_of_any_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "re {por} [ts]: $é$"
    monkeypatch.setattr(pipeline, "REPORTS", folder)
    monkeypatch.setattr(pipeline, "EXPERIMENTS", {"comparison": pipeline.EXPERIMENTS["comparison"]})
    monkeypatch.chdir(tmp_path)
    chosen = ["torch.py", "$a, $b <i>.py", "_x.py", os.fsdecode(b"no text \xff.py")]
    for name in chosen:
        Path(name).write_text(LAYER)
    own = ",".join(f"{name}:Mine" for name in chosen)
    parameters = [f"implementations=numpy,{own}", "cuda=false", "threads=1", "budget_s=2", "tokens=8"]
    assert pipeline.make_report("smoke", parameters, share=True) == 0
    page = (folder / "latest" / "comparison.html").read_text(encoding="utf-8")
    assert "$a, $b &lt;i&gt;.py:Mine" in page
    assert "<i>" not in page
    assert pipeline.render_again(folder / "latest") == 0


def test_a_figure_shows_names_as_they_are() -> None:
    run = synthetic_run({"numpy": 0.02, "torch": 0.01}, (1,), noise=0.01)
    for m in run.measurements:
        m.label = {"torch": r"_$\nonsense$ ^{.py:Mine"}.get(m.label, m.label)
    drawn = figures.drawn(moe.rows(run)).assign(on="")
    bars = sns.FacetGrid(figures.ends(drawn, "tokens_per_s"), **figures.panels(drawn))
    bars.map_dataframe(sns.barplot, x="tokens_per_s", y="name", **figures.bars(drawn))
    lines = sns.FacetGrid(figures.ends(drawn, "tokens_per_s"), **figures.one_panel(drawn))
    lines.map_dataframe(sns.lineplot, x="threads", y="tokens_per_s", **figures.lines(drawn))
    for grid in (bars, lines):
        finish(grid, "tokens_per_s")
        grid.figure.draw_without_rendering()
    shown = [*lines.figure.legends[0].get_texts(), *bars.axes.flat[0].get_yticklabels()]
    names = [text.get_text().replace("\n", " ") for text in shown if "nonsense" in text.get_text()]
    assert names == [r"./_\$\nonsense\$ ^{.py:Mine"] * 2
    plt.close("all")


KERNEL = """
from beside import PLUS

@export
def plus(x: Int) abi("C") -> Int:
    return x + PLUS
"""


@pytest.mark.long
def test_a_mojo_file_of_any_name(mojo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require(mojo)
    import ctypes

    monkeypatch.setenv("MOE_CACHE", str(tmp_path / "ca [c]: he"))
    for plus, name in ((1, "-o my [k].mojo"), (2, "-o my [k].mojo")):
        folder = tmp_path / f"{{{plus}}} é"
        folder.mkdir()
        (folder / "beside.mojo").write_text(f"comptime PLUS = {plus}\n")
        (folder / name).write_text(KERNEL)
        monkeypatch.chdir(folder)
        assert ctypes.CDLL(str(mojo_build.build_file(name).path)).plus(40) == 40 + plus


def test_a_third_partys_library_is_its_own_affair() -> None:
    class Theirs:
        name = "theirs"
        library = "libm.so"

    assert worker.library_of(Theirs()) is None
