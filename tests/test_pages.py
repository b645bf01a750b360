"""What all pages have: folds, numbered figures, names of other pages, and data."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
from email.message import Message
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup, Tag

from moe.report import origin, pages
from moe.report.index import Findings, Page, render_index
from moe.report.origin import Foot, foot, write_parameters
from moe.report.pages import DATA, finished, fold, navigation, with_contents, with_data
from moe.report.pipeline import EXPERIMENTS
from moe.report.show import show_sentences, show_table
from moe.report.tables import html_table
from moe.run import read_run

from .synthetic import synthetic_run


def test_sections_get_anchors_and_a_page_without_any_gets_nothing() -> None:
    html = with_contents("<nav><!-- contents --></nav><h2>A &amp; b?</h2><h2>C</h2>")
    assert html.count('href="#a-amp-b"') == 2
    assert '<h2 id="a-amp-b">A &amp; b?</h2>' in html
    assert with_contents("<p>nothing</p>") == "<p>nothing</p>"


def test_figures_are_numbered_where_they_stand_and_where_they_are_named() -> None:
    figures = "".join(f'<figure id="figure-{n}"><figcaption>Of {n}.</figcaption></figure>' for n in ("b", "a-1"))
    html = finished(f'<p>See <a href="#figure-a-1">below</a>.</p>{figures}')
    assert '<a href="#figure-a-1">Figure 2</a>' in html
    assert "<figcaption><b>Figure 1.</b> Of b." in html
    assert "<figcaption><b>Figure 2.</b> Of a-1." in html


def test_another_page_is_named_and_not_linked() -> None:
    html = finished(navigation("claims", ["index", "comparison", "claims"]) + '<a href="scaling.html">sizes</a>')
    page = BeautifulSoup(html, "html.parser")
    assert page.find_all("a") == []
    assert [str(name["data-page"]) for name in page.select("[data-page]")] == [
        *("index.html", "comparison.html", "scaling.html"),
    ]


def test_a_page_says_what_the_others_answer() -> None:
    pages_of = ["index", *EXPERIMENTS]
    for name in EXPERIMENTS:
        said = BeautifulSoup(navigation(name, pages_of), "html.parser").get_text()
        for other in EXPERIMENTS:
            assert (f"{other} (" in said) == (other != name)
        assert said.endswith(" · all: moe report --share")
    one = Page("comparison", "t", Path("none.svg"), Findings(["Mojo leads."], "", "", []))
    card = BeautifulSoup(render_index([one], Foot([], "")), "html.parser").select("section.card")[0]
    assert [link.get_text() for link in card.select("a")] == ["comparison.html"]
    assert "if it was sent too" in card.get_text()


@pytest.mark.parametrize(
    ("tagged", "opens", "closes"),
    [((1,), [1], [2]), ((3,), [3], [3]), ((1, 3), [1, 3], [2, 3]), ((), [], [])],
)
def test_tagged_sections_are_folded_up_to_the_next(
    tagged: tuple[int, ...], opens: list[int], closes: list[int]
) -> None:
    new = nbformat.v4
    cells = [new.new_code_cell("x"), new.new_markdown_cell("## A's\n\ntext"), new.new_code_cell("y")]
    book = new.new_notebook(cells=[*cells, new.new_markdown_cell("## B"), new.new_markdown_cell("## C")])
    for place in tagged:
        book.cells[place].metadata["tags"] = [pages.FOLDED]
    folded = fold(book).cells
    assert [i for i, cell in enumerate(folded) if "opens" in cell.metadata] == opens
    assert [i for i, cell in enumerate(folded) if "closes" in cell.metadata] == closes
    if 1 in tagged:
        assert (folded[1].metadata["opens"], folded[1].source) == ("A's", "text")


def data_of(html: str) -> tuple[str, str, bytes | None]:
    """What a page says of its run, and the name and the bytes of what is in it."""
    page = BeautifulSoup(html, "html.parser")
    said, file = page.find(id="run-data"), page.find(id="run-file")
    assert isinstance(said, Tag)
    if not isinstance(file, Tag):
        return said.get_text(), "", None
    return said.get_text(), str(file["data-name"]), gzip.decompress(base64.b64decode(file.get_text()))


def test_a_run_is_in_its_page_as_much_of_it_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    run = synthetic_run({"numpy": 0.02, "mojo": 0.01})
    numbers = random.Random(1)
    for m in run.measurements:
        m.samples_s = [[numbers.random() for _ in range(200)] for _ in m.samples_s]
    raw = run.to_json().encode()
    assert data_of(with_data(DATA, raw, "comparison.json"))[1:] == ("comparison.json", raw)
    monkeypatch.setattr(pages, "MOST_BYTES", 30_000)
    said, name, kept = data_of(with_data(DATA, raw, "comparison.json"))
    assert "every sample is in comparison.json beside it" in said
    assert name == "comparison-values.json"
    assert kept is not None
    values = read_run(kept.decode(), name)
    assert [m.values_s for m in values.measurements] == [m.values_s for m in run.measurements]
    assert {len(turn) for m in values.measurements for turn in m.samples_s} == {1}
    monkeypatch.setattr(pages, "MOST_BYTES", 100)
    said, _, kept = data_of(with_data(DATA, raw, "comparison.json"))
    assert "too much for this page" in said
    assert kept is None
    assert json.loads(raw)["schema"] == 1


def test_the_policy_allows_the_one_script_alone() -> None:
    digest = base64.b64encode(hashlib.sha256(pages.SCRIPT.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in pages.POLICY
    assert pages.POLICY.startswith("default-src 'none'")
    assert "</script" not in pages.SCRIPT


def test_addresses_are_links_in_sentences_and_captions() -> None:
    shown = show_sentences("Read https://example.org/a_b.md, or <b>.").data
    assert '<a href="https://example.org/a_b.md">https://example.org/a_b.md</a>, or &lt;b&gt;.' in shown
    table = show_table(
        html_table("t", [{"url": "https://example.org"}], "From “x”, https://example.org/c. More.")
    ).data
    assert table.count("<a ") == 1
    assert '<a href="https://example.org/c">https://example.org/c</a>. More.' in table
    assert 'aria-label="Table: From “x”, https://example.org/c"' in table


def test_no_line_ends_inside_a_number_with_its_unit_or_an_interval() -> None:
    said = "It is 1.4 × NumPy [1.06–1.72] × 2 in 24.7 ms on 2 threads, 95 % of 3 GB/s; 2 sizes."
    page = BeautifulSoup(show_sentences(said).data, "html.parser")
    text = page.get_text()
    assert text.replace("\N{NO-BREAK SPACE}", " ") == said
    for kept in ("1.4\xa0× NumPy", "24.7\xa0ms on 2\xa0threads", "95\xa0% of 3\xa0GB/s", "2 sizes"):
        assert kept in text
    assert [span.get_text() for span in page.select("span.number")] == ["[1.06–1.72]"]
    rows = [{"name": "mojo[simd=on,tile=off]", "number": "1.4 × [1.06–1.72]"}]
    table = BeautifulSoup(show_table(html_table("t", rows, "95 % of it.")).data, "html.parser")
    assert [cell.get_text() for cell in table.select("td")] == ["mojo[simd=on,tile=off]", "1.4 × [1.06–1.72]"]
    assert "mojo<wbr/>[simd=on,<wbr/>tile" in str(table)
    assert "95\xa0% of it." in table.get_text()


def test_what_is_too_noisy_is_marked() -> None:
    said = show_sentences(["How sure: clear on 1 thread (3 %), too noisy on 2 (54 %).", "Too noisy to compare."]).data
    marked = [found.get_text() for found in BeautifulSoup(said, "html.parser").select("strong.warning")]
    assert marked == ["too noisy on 2", "Too noisy to compare"]
    one = Page("comparison", "t", Path("none.svg"), Findings(["How sure: too noisy to cite."], "", "", []))
    html = BeautifulSoup(render_index([one], Foot([], "")), "html.parser")
    assert html.select_one(".headline strong.warning") is not None
    assert html.select_one(".card strong.warning") is not None


def test_a_page_names_the_repository_where_the_package_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "remotes", list)
    write_parameters(tmp_path, "moe report", {})
    run = synthetic_run({"numpy": 1.0})
    for address in ("https://example.org/moe", ""):
        named = Message()
        if address:
            named["Project-URL"] = f"Source, {address}"
        monkeypatch.setattr(origin, "metadata", lambda name, named=named: named)
        html = render_index([], foot([run], tmp_path))
        links = [str(link["href"]) for link in BeautifulSoup(html, "html.parser").select("footer a")]
        assert links == ([address] if address else [])


@pytest.mark.parametrize(
    ("remotes", "address"),
    [
        (["https://example.org/moe.git"], "https://example.org/moe.git"),
        (["git@example.org:moe.git", "https://me:secret@example.org:8443/moe?x=1"], "https://example.org:8443/moe"),
        ([f"{os.pardir}/moe", "ssh://example.org/moe", Path("moe").absolute().as_uri(), "https://[broken"], ""),
        ([], ""),
    ],
)
def test_a_page_names_the_repository_that_its_checkout_came_from(
    remotes: list[str], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "remotes", lambda: remotes)
    monkeypatch.setattr(origin, "metadata", lambda name: Message())
    write_parameters(tmp_path, "moe report", {})
    assert "secret" not in (tmp_path / "parameters.json").read_text()
    monkeypatch.setattr(origin, "remotes", lambda: ["https://example.org/of-the-reader"])
    assert foot([synthetic_run({"numpy": 1.0})], tmp_path).address == address
