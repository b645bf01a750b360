"""The pages and `explore.ipynb` in a real browser: `make test-browser`."""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unicodedata import normalize

import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.sync_api import Browser, Locator, Page, expect
from pypdf import PdfReader

from moe.report import source
from moe.report.findings.words import MOST_WORDS
from moe.report.parameters import NOTEBOOKS
from moe.report.pipeline import EXPERIMENTS

from .opened import PAGES, WIDTHS, Opened

pytestmark = pytest.mark.browser

SAMPLE = NOTEBOOKS.parent / "docs" / "sample"
# The labels of figures that are cut off, and those that lie upon another.
LABELS = """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  const labels = [...svg.querySelectorAll('text')].map(label => [label.textContent, label.getBoundingClientRect()]);
  const cut = ([, box]) => box.left < frame.left - 1 || box.right > frame.right + 1
    || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1
    && a.top < b.bottom - a.height / 3 && b.top < a.bottom - a.height / 3;
  const on = labels.flatMap(([text, box], i) =>
    labels.slice(i + 1).filter(([, other]) => meet(box, other)).map(([other]) => `${text} on ${other}`));
  return [...labels.filter(cut).map(([text]) => text), ...on].map(said => `${svg.closest('figure').id}: ${said}`);
})"""
LAB_TIMEOUT_MS = 300_000
STOP_AFTER_MS = 15_000  # by when some rounds have been made


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_by_itself(browser: Browser, smoke: Path, name: str, width: int, scheme: str) -> None:
    path = smoke / f"{name}.html"
    opened = Opened(browser, path, width, scheme)
    assert [url for url in opened.requests if not url.startswith("data:")] == [path.as_uri()]
    assert opened.complaints == []
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    figures = opened.page.evaluate(
        "[...document.querySelectorAll('figure svg')].map(s => [s.ariaLabel, s.getBoundingClientRect().width])"
    )
    assert figures
    assert opened.page.evaluate(LABELS) == []
    for alternative, shown in figures:
        assert 0 < shown <= width
        assert len(alternative.split()) > 10, alternative
    box = opened.page.locator(".headline")
    assert box.count() == 1
    assert 0 < len(box.inner_text().split()) <= MOST_WORDS
    opened.page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_breaks_no_rule_of_axe(browser: Browser, smoke: Path, name: str, scheme: str) -> None:
    opened = Opened(browser, smoke / f"{name}.html", scheme=scheme)
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    found = Axe().run(opened.page)
    assert found.violations_count == 0, found.generate_report()
    opened.page.context.close()


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_a_page_alone_has_no_dead_link(browser: Browser, smoke: Path, tmp_path: Path, name: str) -> None:
    opened = Opened(browser, Path(shutil.copy(smoke / f"{name}.html", tmp_path)))
    for link in opened.page.locator("a").evaluate_all("all => all.map(a => a.getAttribute('href'))"):
        assert link.startswith(("#", "https://")), link
        assert not link.startswith("#") or opened.page.locator(f"[id='{link[1:]}']").count() == 1
    expect(opened.page.locator("nav.pages")).to_contain_text("all: moe report --share")
    opened.page.context.close()


def test_from_the_index_one_goes_from_page_to_page_and_back(browser: Browser, smoke: Path) -> None:
    opened = Opened(browser, smoke / "index.html")
    opened.page.locator(".card > p a").nth(1).click()
    for name in (*list(EXPERIMENTS)[2:], "index"):
        opened.page.locator("nav.pages").get_by_role("link", name=name, exact=True).click()
        assert Path(opened.page.url.partition("#")[0]).name == f"{name}.html"
    opened.page.context.close()


def test_the_values_of_a_figure_are_read_with_the_keyboard(browser: Browser, smoke: Path) -> None:
    opened = Opened(browser, smoke / "scaling.html")
    figure = opened.page.locator("#figure-tokens")
    titles = [" ".join(text.split()) for text in figure.locator("svg title").all_text_contents()]
    assert any(text.startswith("NumPy, tokens a second ") for text in titles)
    figure.locator(".picture").focus()
    for expected in titles[:2]:
        opened.page.keyboard.press("ArrowRight")
        expect(figure.locator(".value")).to_have_text(expected)
    opened.page.context.close()


def printed(page: Page) -> str:
    """The text of a page as it is printed, without blanks."""
    read = PdfReader(io.BytesIO(page.pdf(format="A4")))
    return squeezed("".join(sheet.extract_text() for sheet in read.pages))


def squeezed(text: str) -> str:
    """A text without blanks, and without letters that are drawn as one."""
    return "".join(normalize("NFKC", text).split())


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_lost_on_paper(browser: Browser, smoke: Path, name: str) -> None:
    opened = Opened(browser, smoke / f"{name}.html")
    text = printed(opened.page)
    for table in opened.page.locator(".table table").all():
        *_, last = table.locator("thead th").all_text_contents()
        assert squeezed(last) in text
        for cell in table.locator("tbody td:last-child").all_text_contents():
            assert squeezed(cell)[:12] in text
    opened.page.context.close()


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_code_unfolds_and_folds(browser: Browser, smoke: Path, name: str) -> None:
    opened = Opened(browser, smoke / f"{name}.html")
    folded = opened.page.locator("details.code").first
    code = folded.locator("pre").first
    expect(code).to_be_hidden()
    folded.locator("summary").click()
    expect(code).to_be_visible()
    folded.locator("summary").click()
    expect(code).to_be_hidden()
    opened.page.context.close()


def test_contents_lead_to_their_sections(browser: Browser, smoke: Path) -> None:
    opened = Opened(browser, smoke / "comparison.html")
    expect(opened.page.locator("nav.contents")).to_be_visible()
    opened.page.locator("nav.contents").get_by_text("Results", exact=True).click()
    assert opened.page.evaluate("Math.abs(document.querySelector('#results').getBoundingClientRect().top) < 50")
    narrow = Opened(browser, smoke / "comparison.html", 390)
    expect(narrow.page.locator("nav.contents")).to_be_hidden()
    narrow.page.locator("details.contents summary").click()
    expect(narrow.page.locator("details.contents a").first).to_be_visible()
    for page in (opened.page, narrow.page):
        page.context.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """JupyterLab on a copy of the notebooks, where docs/sample is the newest report; gives the folder's address."""
    tmp_path = tmp_path_factory.mktemp("lab")
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (tmp_path / source.LATEST).symlink_to(SAMPLE)
    newest = f"import pathlib, moe.report.source as source; source.REPORTS = pathlib.Path({str(tmp_path)!r})"
    (startup / "newest.py").write_text(newest)
    folder = tmp_path / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns("my_*", ".*"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    settings = ["--IdentityProvider.token=", "--ServerApp.open_browser=False", str(folder)]
    config = {
        **os.environ,
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTER_CONFIG_DIR": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    process = subprocess.Popen(
        [*command, *settings], env=config, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{port}/lab/workspaces/test/tree/"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _open_lab(browser: Browser, lab: str, notebook: str) -> Page:
    """A notebook in JupyterLab, with a kernel that is ready."""
    page = browser.new_page(viewport={"width": 1400, "height": 1200})
    for _ in range(60):
        try:
            page.goto(f"{lab}{notebook}.ipynb?reset")
            break
        except Exception:  # it has not started yet
            page.wait_for_timeout(1000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=LAB_TIMEOUT_MS)
    expect(page.get_by_text("Python 3 (ipykernel) | Idle")).to_be_visible(timeout=LAB_TIMEOUT_MS)
    return page


def _run_all(page: Page) -> Locator:
    page.get_by_text("Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    return page.locator(".jp-Notebook")


def test_explore_measures_what_is_chosen(browser: Browser, lab: str, mojo: str) -> None:
    page = _open_lab(browser, lab, "explore")
    notebook = _run_all(page)
    expect(notebook.get_by_role("button", name="Measure")).to_be_enabled(timeout=LAB_TIMEOUT_MS)
    # The last cell races a layer and a kernel that the cells before it wrote.
    mine = "my_mojo_layer.py:MyMojoLayer"
    expect(notebook.locator("td", has_text=mine).first).to_be_attached(timeout=LAB_TIMEOUT_MS)
    for tokens, typed in (("40", "40"), ("24", "2.4e1")):
        field = notebook.locator(".widget-inline-hbox", has_text="tokens").locator("input")
        field.fill(typed)
        field.press("Enter")
        notebook.get_by_role("button", name="Measure").dblclick()
        expect(notebook.locator("td", has_text=f"T={tokens} ").first).to_be_attached(timeout=LAB_TIMEOUT_MS)
    results = notebook.locator(".jp-Cell").nth(1)
    expect(results.locator("tr", has_text="T=40 ")).to_have_count(3)  # once each, in spite of a double click
    expect(results.locator("figure svg").first).to_be_attached()
    for name, value in (("tokens", "56"), ("seconds", "600")):
        field = notebook.locator(".widget-inline-hbox", has_text=name).locator("input")
        field.fill(value)
        field.press("Enter")
    notebook.get_by_role("button", name="Measure").click()
    page.wait_for_timeout(STOP_AFTER_MS)
    notebook.get_by_role("button", name="Stop").click()
    expect(results.get_by_text("Stopped").first).to_be_visible(timeout=LAB_TIMEOUT_MS)
    expect(results.locator("td", has_text="T=56 ").first).to_be_attached()
    expect(notebook.get_by_role("button", name="Measure")).to_be_enabled()
    page.close()


def test_an_analysis_shows_the_newest_report_and_figures_that_one_changes(browser: Browser, lab: str) -> None:
    page = _open_lab(browser, lab, "analysis")
    notebook = _run_all(page)
    cell = notebook.locator(".jp-CodeCell", has_text="sns.catplot")
    picture = cell.locator(".jp-OutputArea img")
    expect(picture).to_be_attached(timeout=LAB_TIMEOUT_MS)
    before = picture.get_attribute("src")
    _type(page, cell, "sns.catplot(ends, kind='bar', x='rate', y='label', log_scale=True);")
    expect(picture).not_to_have_attribute("src", before or "", timeout=LAB_TIMEOUT_MS)
    cells = notebook.locator(".jp-CodeCell")
    own = cells.nth(cells.count() - 1)  # which running it makes the last no more
    _type(page, own, "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()")
    expect(own.locator(".jp-OutputArea img")).to_be_attached(timeout=LAB_TIMEOUT_MS)
    assert notebook.locator(".jp-RenderedText[data-mime-type*=error]").count() == 0
    page.close()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_notebook_runs_from_top_to_bottom_and_shows_intervals(browser: Browser, lab: str, name: str) -> None:
    page = _open_lab(browser, lab, name)
    notebook = _run_all(page)
    shown = BeautifulSoup((SAMPLE / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
    figures = len(shown.select("figure:has(svg)"))  # of what that run has
    expect(notebook.get_by_text("Shown is the newest report").first).to_be_attached(timeout=LAB_TIMEOUT_MS)
    expect(notebook.locator("figure svg").nth(figures - 1)).to_be_attached(timeout=LAB_TIMEOUT_MS)
    expect(notebook.locator("td", has_text=re.compile(r"\d \[[\d.,]+–[\d.,]+\]")).first).to_be_attached()
    page.close()


def _type(page: Page, cell: Locator, text: str) -> None:
    """Put a text in place of a cell's, and run it."""
    cell.locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)
    page.keyboard.press("Shift+Enter")
