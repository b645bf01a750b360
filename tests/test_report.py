"""Reports read back from their HTML, and everything that must stop one."""

from __future__ import annotations

import base64
import gzip
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup, Tag

import moe
from moe import mojo_build
from moe.cli import main
from moe.report import breakdown, claims, comparison, parameters, pipeline
from moe.report.index import Findings, Page, render_index
from moe.report.origin import foot, write_parameters
from moe.report.render import NotebookFailedError, execute
from moe.run import load_run

from .synthetic import synthetic_run

MOST_BYTES = 1.5e6
FIGURES = ["fastest", "latency", "throughput", "speedup", "optimisations"]  # on one thread


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(pipeline, "REPORTS", tmp_path)
    return tmp_path


def read(page: Path) -> BeautifulSoup:
    """A page, with blanks where its lines don't end."""
    return BeautifulSoup(page.read_text().replace("\N{NO-BREAK SPACE}", " "), "html.parser")


@pytest.fixture(scope="module")
def page(smoke: Path) -> BeautifulSoup:
    return read(smoke / "comparison.html")


def table_rows(page: BeautifulSoup, name: str) -> list[dict[str, str]]:
    table = page.find(id=f"T_{name}")
    assert isinstance(table, Tag)
    heads = [th.get_text(strip=True) for th in table.select("thead th")]
    return [
        dict(zip(heads, [td.get_text(strip=True) for td in tr.select("td")], strict=True))
        for tr in table.select("tbody tr")
    ]


def by_name(page: BeautifulSoup) -> dict[str, dict[str, str]]:
    """Rows of results, whatever the machine did meanwhile."""
    rows = table_rows(page, "results")
    return {row["implementation"].removesuffix(" ★").removesuffix(" (disturbed)"): row for row in rows}


def test_all_rows_have_measured_numbers(mojo: str, page: BeautifulSoup) -> None:
    rows = by_name(page)
    for name in ("python", "numpy", "torch-naive", "torch", "mojo"):
        assert float(rows[name]["latency, ms"].split()[0].replace(",", "")) > 0
        assert float(rows[name]["error"]) < 1e-5
    assert rows["numpy"]["× numpy"] == "baseline"


def test_numbers_are_the_runs(smoke: Path, page: BeautifulSoup) -> None:
    run = load_run(smoke / "comparison.json")
    rows = by_name(page)
    for m in run.to_frame().to_dict("records"):
        if m["label"] in ("numpy", "torch", "mojo") and m["status"] == "ok":
            shown = float(rows[m["label"]]["latency, ms"].split()[0].replace(",", ""))
            assert shown == pytest.approx(m["median_s"] * 1e3, rel=0.01)


def test_a_parameter_changes_the_shape(smoke: Path, page: BeautifulSoup) -> None:
    assert "T=48 d=64 f=128 E=4 k=2" in page.get_text()
    assert {m.config.tokens for m in load_run(smoke / "comparison.json").measurements} == {48}


def test_figures_stand_in_the_page_and_beside_it(smoke: Path, page: BeautifulSoup) -> None:
    images = page.select('figure svg[role="img"]')
    assert len(images) == len(FIGURES)
    alternatives = [str(image["aria-label"]) for image in images]
    assert len(set(alternatives)) == len(FIGURES)
    assert min(len(text) for text in alternatives) >= 20
    captions = [caption.get_text() for caption in page.find_all("figcaption")]
    assert [caption.split(". ")[0] for caption in captions] == [f"Figure {n}" for n in range(1, len(FIGURES) + 1)]
    assert not set(alternatives) & {caption.split(". ", 1)[1] for caption in captions}
    for name in FIGURES:
        assert (smoke / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (smoke / "figures" / f"{name}.svg").read_text()


def test_the_page_loads_nothing(page: BeautifulSoup) -> None:
    data, script = page.find_all("script")
    assert data["type"] == "application/gzip"
    assert set(script.attrs) == set()
    assert page.find_all("link") == []
    assert [tag for tag in page.find_all(src=True) if not str(tag["src"]).startswith("data:")] == []
    policy = page.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert isinstance(policy, Tag)
    assert str(policy["content"]).startswith("default-src 'none'")
    assert "url(" not in "".join(style.get_text() for style in page.find_all("style"))


@pytest.mark.parametrize("name", list(pipeline.EXPERIMENTS))
def test_a_page_is_well_made(smoke: Path, name: str) -> None:
    page = read(smoke / f"{name}.html")
    assert len(page.find_all("h1")) == 1
    assert page.title is not None
    assert page.h1 is not None
    assert page.title.get_text() == page.h1.get_text()
    ids = [tag["id"] for tag in page.find_all(id=True)]
    assert len(ids) == len(set(ids))
    sections = [str(section["id"]) for section in page.find_all("h2")]
    for contents in ("nav.contents a", "details.contents a"):
        assert [str(link["href"]) for link in page.select(contents)] == [f"#{section}" for section in sections]
    assert len((smoke / f"{name}.html").read_bytes()) < MOST_BYTES
    assert page.select("table th") == page.select('table th[scope="col"]')
    for code in page.select(".highlight"):
        assert code.find_parent("details") is not None
    assert "Traceback" not in page.get_text()
    assert "Warning" not in page.get_text()


@pytest.mark.parametrize("name", list(pipeline.EXPERIMENTS))
def test_the_first_screen_is_three_sentences_and_a_figure(mojo: str, smoke: Path, name: str) -> None:
    page = read(smoke / f"{name}.html")
    (box,) = page.select(".headline")
    assert len(box.find_all("li")) <= 3
    assert len(box.get_text(" ").split()) <= 80
    figure, section = page.find("figure"), page.find("h2")
    assert figure is not None
    assert section is not None
    assert [box, figure, section] == sorted([box, figure, section], key=lambda tag: (tag.sourceline, tag.sourcepos))


def test_what_is_not_there_is_said_and_not_drawn(smoke: Path, page: BeautifulSoup) -> None:
    assert "Mojo was measured on 1 thread only: this run says nothing of how it scales." in page.get_text()
    assert not (smoke / "figures" / "scaling.png").exists()


def test_results_come_first_and_the_machine_last(page: BeautifulSoup) -> None:
    sections = [section.get_text() for section in page.find_all("h2")]
    assert sections[0] == "Results"
    assert sections[-2:] == ["Machine and versions", "Every sample"]
    for what in ("processor", "numpy", "torch", "max", "moe", "Mojo library", "limits on 1 thread"):
        assert any(row["what"] == what and row["value"] for row in table_rows(page, "machine"))


def test_the_compiled_library_is_named(mojo: str, smoke: Path, page: BeautifulSoup) -> None:
    run = load_run(smoke / "comparison.json")
    library = next(m for m in run.measurements if m.label == "mojo").details["library"]
    row = next(row for row in table_rows(page, "beside") if row["implementation"] == "mojo")
    assert library["sha256"][:12] in row["compiled library"]
    assert "Mojo 1.2" in row["compiled library"]


def test_no_path_of_this_machine_in_the_page(smoke: Path) -> None:
    assert str(mojo_build.SOURCE.parent) not in (smoke / "comparison.html").read_text()


def test_the_index_says_what_each_page_found(mojo: str, smoke: Path) -> None:
    index = read(smoke / "index.html")
    links = [str(link["href"]) for link in index.select(".card > p a")]
    assert links == [f"{name}.html#report" for name in pipeline.EXPERIMENTS]
    for name, found in (
        ("comparison", comparison.findings(load_run(smoke / "comparison.json"))),
        ("breakdown", breakdown.findings(load_run(smoke / "breakdown.json"))),
        ("claims", claims.findings(smoke / "claims.json")),
    ):
        assert (smoke / f"{name}.html").exists()
        assert all(line in index.get_text() for line in [*found.headline, *found.missing])
        assert any(found.caption in caption.get_text() for caption in index.find_all("figcaption"))
    assert table_rows(index, "results") == table_rows(read(smoke / "comparison.html"), "results")
    assert len(table_rows(index, "inside-Mojo")) == 3
    assert len(index.select('figure svg[role="img"]')) == len(pipeline.EXPERIMENTS)
    (box,) = index.select(".headline")
    assert claims.findings(smoke / "claims.json").headline[1] in box.get_text()


@pytest.mark.long
def test_a_run_that_cannot_be_read_costs_its_own_page(smoke: Path, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    shutil.copytree(smoke, folder)
    (folder / "breakdown.json").unlink()
    (folder / "comparison.html").unlink()
    assert pipeline.render_again(folder) == 1
    assert (folder / "comparison.html").exists()
    assert "This page could not be made" in (folder / "index.html").read_text()
    for name in pipeline.EXPERIMENTS:
        (folder / f"{name}.json").unlink(missing_ok=True)
    (folder / "comparison.json").write_text("{}")
    with pytest.raises(ValueError, match="no run that can be read"):
        pipeline.render_again(folder)


def test_what_an_index_holds_is_text(tmp_path: Path) -> None:
    run = synthetic_run({"numpy": 1.0})
    run.machine["processor"] = "<b>fast</b>"
    run.measurements[0].label = "<s>numpy</s>"
    write_parameters(tmp_path, "moe report -p '<em>=1'", {})
    found = comparison.findings(run)
    hostile = Findings(["<script>alert(1)</script>", *found.headline], '">', found.table, ["<tt>"])
    page = Page("comparison", "<i>title</i>", tmp_path / "none.png", hostile, "<u>why</u>")
    html = render_index([page], foot([run], tmp_path))
    for text in ("<b>", "<i>", "<script>alert", "<u>", "<tt>", "<em>", "<s>"):
        assert text not in html
    assert "&lt;s&gt;numpy" in html
    assert BeautifulSoup(html, "html.parser").find_all("svg") == []
    assert "This page could not be made" in html


def test_a_page_says_where_it_comes_from(smoke: Path) -> None:
    for name in ("index", *pipeline.EXPERIMENTS):
        footer = read(smoke / f"{name}.html").footer
        assert footer is not None
        text = footer.get_text()
        assert smoke.resolve().name in text
        assert "moe report --profile smoke -p tokens=48 -p threads=1" in text
        assert load_run(smoke / "comparison.json").versions["torch"] in text
        assert re.search(r", of \d{4}-\d\d-\d\d, measured in", text)


def test_a_report_is_packed_as_it_was_rendered(
    smoke: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "report"
    shutil.copytree(smoke, folder)
    (folder / "claims.html").write_text("as it was")
    monkeypatch.setattr(pipeline, "execute", None)
    assert main(["report", "--from", str(folder), "--share"]) == 0
    packed = Path(capsys.readouterr().out.strip())
    assert packed.parent == tmp_path
    assert packed.name.startswith("moe-")
    assert packed.name.endswith("-report.zip")
    with zipfile.ZipFile(packed) as archive:
        names = archive.namelist()
        assert names[0] == f"{packed.stem}/READ-ME-FIRST.txt"
        assert "Open index.html" in archive.read(names[0]).decode()
        assert archive.read(f"{packed.stem}/claims.html") == b"as it was"
    sent = {name.removeprefix(f"{packed.stem}/") for name in names}
    assert {"index.html", "comparison.json", "results.csv", "figures/speedup.svg"} <= sent
    (folder / "index.html").unlink()
    assert main(["report", "--from", str(folder), "--share"]) == 2
    assert "has no index.html to send" in capsys.readouterr().err


def test_all_rows_are_in_one_file(smoke: Path) -> None:
    found = pd.read_csv(smoke / "results.csv")
    for name in pipeline.EXPERIMENTS:
        own = moe.rows(load_run(smoke / f"{name}.json"))
        there = found[found.page == name]
        assert list(there.label) == list(own.label)
        assert list(there.latency_s.fillna(0)) == pytest.approx(list(own.latency_s.fillna(0)))
        assert set(own.columns) <= set(there.columns)


def test_a_page_has_its_runs_file(smoke: Path) -> None:
    for name in pipeline.EXPERIMENTS:
        file = read(smoke / f"{name}.html").find(id="run-file")
        assert isinstance(file, Tag)
        assert file["data-name"] == f"{name}.json"
        assert gzip.decompress(base64.b64decode(file.get_text())) == (smoke / f"{name}.json").read_bytes()


def test_what_is_no_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no report: it has no parameters.json"):
        pipeline.render_again(tmp_path)
    (tmp_path / "parameters.json").write_text("{}")
    with pytest.raises(ValueError, match=r"parameters.json is malformed"):
        pipeline.render_again(tmp_path)


@pytest.mark.long
def test_rendering_again_gives_the_same_bytes(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "REPORTS", smoke.parent)
    pages = [smoke / f"{name}.html" for name in ("index", *pipeline.EXPERIMENTS)]
    before = [page.read_bytes() for page in pages]
    assert pipeline.render_again(smoke) == 0
    assert [page.read_bytes() for page in pages] == before


@pytest.mark.long
def test_without_mojo_the_report_says_so(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> mojo_build.Toolchain:
        raise mojo_build.MojoBuildError(f"Mojo is not installed: {mojo_build.HOW_TO_INSTALL}")

    monkeypatch.setattr(mojo_build, "find_toolchain", missing)
    chosen = ["implementations=numpy,mojo", "cuda=false", "threads=1", "budget_s=1"]
    assert pipeline.make_report("smoke", chosen) == 0
    page = read(reports / "latest" / "comparison.html")
    mojo = table_rows(page, "results")[1]
    assert mojo["latency, ms"] == "not run"
    assert "max==26.7.0" in mojo["implementation"]


THIRD_PARTY = """
from moe.implementations.numpy_layer import NumpyLayer


class Theirs(NumpyLayer):
    name = "theirs"
    description = "somebody's own"
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of somebody's own, installed by pip into a folder of this Python's path."""
    wheel, site = tmp_path / "theirs-1.0-py3-none-any.whl", tmp_path / "site"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr("theirs.py", THIRD_PARTY)
        package.writestr("theirs-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        package.writestr("theirs-1.0.dist-info/WHEEL", tag)
        package.writestr("theirs-1.0.dist-info/entry_points.txt", "[moe.implementations]\ntheirs = theirs:Theirs\n")
        package.writestr("theirs-1.0.dist-info/RECORD", "")
    install = ["install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", *install, str(wheel)], check=True)
    monkeypatch.syspath_prepend(site)
    return "theirs"


@pytest.mark.long
def test_an_installed_package_is_in_the_report_and_what_fails_stops_nothing(
    reports: Path, tmp_path: Path, third_party: str
) -> None:
    wrong = Path(__file__).with_name("misbehaving.py")
    (tmp_path / "clashes.py").write_text("raise ImportError('needs another NumPy')\n")
    failing = [f"{wrong}:Exits", f"{wrong}:GivesNaN", f"{tmp_path / 'clashes.py'}:Layer"]
    chosen = [f"implementations=installed,{','.join(failing)}", "cuda=false", "threads=1", "budget_s=2"]
    assert pipeline.make_report("smoke", chosen) == 1
    rows = {row["implementation"]: row for row in table_rows(read(reports / "latest" / "comparison.html"), "results")}
    theirs = next(row for name, row in rows.items() if name.split()[0] == third_party)  # it may be disturbed
    assert float(theirs["latency, ms"].split()[0]) > 0
    why = ["exited with code 3: last words", "disagrees with the reference", "ImportError: needs another NumPy"]
    for name, reason in zip(failing, why, strict=True):
        row = next(row for label, row in rows.items() if label.startswith(name))
        assert row["latency, ms"] in ("failed", "not run")
        assert reason in row["implementation"]


def notebook(folder: Path, *cells: str) -> Path:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    path = folder / "made.ipynb"
    nbformat.write(made, path)
    return path


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["x = 1", "1 / 0", "x"], r"made.ipynb failed in cell \[2\]: ZeroDivisionError: division by zero"),
        (["x = 1", "import sys; sys.exit(0)", "x"], r"made.ipynb stopped at code cell 2 of 3"),
        (["import os; os._exit(0)"], r"made.ipynb failed"),
    ],
)
def test_a_notebook_that_does_not_reach_its_end_fails(tmp_path: Path, cells: list[str], message: str) -> None:
    with pytest.raises(NotebookFailedError, match=message):
        execute(notebook(tmp_path, *cells), tmp_path / "executed.ipynb", {})


@pytest.mark.long
def test_a_failed_notebook_leaves_no_page_and_the_old_latest(
    reports: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebooks = tmp_path / "notebooks"
    shutil.copytree(parameters.NOTEBOOKS, notebooks)
    monkeypatch.setattr(parameters, "NOTEBOOKS", notebooks)
    monkeypatch.setattr(pipeline, "NOTEBOOKS", notebooks)
    broken = nbformat.read(notebooks / "comparison.ipynb", as_version=4)
    broken.cells.append(nbformat.v4.new_code_cell("raise KeyError('gone')"))
    nbformat.write(broken, notebooks / "comparison.ipynb")
    chosen = ["implementations=numpy", "cuda=false", "threads=1", "budget_s=1"]
    assert pipeline.make_report("smoke", chosen) == 1
    assert "KeyError: 'gone'" in capsys.readouterr().err
    (index,) = reports.glob("*/index.html")
    assert "This page could not be made: comparison.ipynb failed" in index.read_text()
    assert not (reports / "latest").exists()
    assert list(reports.glob("*/comparison.json"))
    assert not list(reports.glob("*/comparison.html"))


def test_a_wrong_profile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebooks = tmp_path / "notebooks"
    shutil.copytree(parameters.NOTEBOOKS, notebooks)
    monkeypatch.setattr(parameters, "NOTEBOOKS", notebooks)
    (notebooks / "profiles" / "odd.yaml").write_text("comparison:\n  proceses: 3\n")
    with pytest.raises(ValueError, match="unknown parameter 'proceses'; did you mean processes"):
        parameters.resolve("odd", [], ["comparison"])
    (notebooks / "profiles" / "odd.yaml").write_text("comparison:\n  processes: many\n")
    with pytest.raises(ValueError, match="processes must be of type int, got 'many'"):
        parameters.resolve("odd", [], ["comparison"])
