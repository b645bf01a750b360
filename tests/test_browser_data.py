"""What tables and pages save of themselves, in a real browser: `make test-browser`."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

import moe
from moe.analysis.frames import records
from moe.analysis.scaling import Scaling
from moe.report.pipeline import EXPERIMENTS
from moe.run import Run, load_run

from .opened import PAGES, WIDTHS, Opened

pytestmark = pytest.mark.browser

SCALED = {"latency_s": 1e3, "flops_per_s": 1e-9, "share_of_limit": 100.0, "share": 100.0}
BOUNDED = ("latency_s", "speedup", "share_of_limit", "times", "share")


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def saved(page: Page, press: Locator) -> tuple[str, bytes]:
    """What pressing saves: its name and its bytes."""
    with page.expect_download() as download:
        press.click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


@pytest.mark.parametrize("name", PAGES)
def test_tables_save_the_numbers_that_they_show(browser: Browser, smoke: Path, name: str) -> None:
    opened = Opened(browser, smoke / f"{name}.html")
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    tables = opened.page.locator(".table table")
    presses = opened.page.get_by_role("button", name=re.compile("Save as .*csv"))
    assert tables.count() == presses.count() > 0
    numbers = 0
    for i in range(tables.count()):
        file, content = saved(opened.page, presses.nth(i))
        assert file == f"{name}-{(tables.nth(i).get_attribute('id') or '').removeprefix('T_')}.csv"
        rows = list(csv.reader(io.StringIO(content.decode())))
        cells = [row.locator("td") for row in tables.nth(i).locator("tbody tr").all()]
        assert len(rows) == len(cells) + 1
        assert {len(row) for row in rows} == {len(rows[0])}
        for row, shown in zip(rows[1:], cells, strict=True):
            for cell in shown.all():
                for end in ("value", "low", "high"):
                    if (number := cell.get_attribute(f"data-{end}")) is not None:
                        assert number in row
                        numbers += 1
                if (note := cell.get_attribute("data-note")) is not None:
                    assert note in row
        # A column of numbers has nothing else in it, a remark least of all.
        for column in zip(*rows, strict=True):
            found = [is_number(entry) for entry in column[1:] if entry]
            if column[0].endswith(("(low)", "(high)")) or f"{column[0]} (low)" in rows[0]:
                assert all(found)
            if column[0].endswith("(note)"):
                assert not any(found)
    assert numbers
    opened.page.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_table_that_scrolls_says_so(browser: Browser, smoke: Path, width: int) -> None:
    opened = Opened(browser, smoke / "comparison.html", width)
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    hints = opened.page.locator(".more-columns")
    scrolls = opened.page.evaluate(
        "[...document.querySelectorAll('.table')].map(table => table.scrollWidth > table.clientWidth)"
    )
    assert len(scrolls) == hints.count()
    assert any(scrolls) == (width < max(WIDTHS))
    for place, expected in enumerate(scrolls):
        expect(hints.nth(place)).to_be_visible(visible=expected)
    opened.page.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_every_table_fits_a_wide_screen(browser: Browser, smoke: Path, name: str) -> None:
    opened = Opened(browser, smoke / f"{name}.html", max(WIDTHS))
    opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    tables = opened.page.locator(".table")
    assert tables.count() > 0
    assert tables.evaluate_all("all => all.filter(t => t.scrollWidth > t.clientWidth).map(t => t.ariaLabel)") == []
    opened.page.context.close()


def test_results_are_the_frame_s_own_numbers(browser: Browser, smoke: Path) -> None:
    """Of the sweep, whose table has a row a cell: what is saved is not rounded."""
    opened = Opened(browser, smoke / "scaling.html")
    _, content = saved(opened.page, opened.page.get_by_role("button", name="Save as scaling-cells.csv"))
    found = list(csv.DictReader(io.StringIO(content.decode())))
    frame = Scaling(load_run(smoke / "scaling.json")).cells
    labels = list(dict.fromkeys(frame.label))
    for row, (_, own) in zip(found, frame.groupby("cell", sort=False), strict=True):
        for label in labels:
            expected = own[own.label == label].latency_s
            assert row[f"{label}, ms"] == ("" if expected.empty else repr(float(expected.iloc[0] * 1e3)))
    opened.page.context.close()


@pytest.mark.parametrize(
    ("page", "table", "of", "key", "columns"),
    [
        (
            "comparison",
            "results",
            moe.rows,
            "label",
            {
                "× numpy": "speedup",
                "latency, ms": "latency_s",
                "tokens/s": "tokens_per_s",
                "GFLOP/s": "flops_per_s",
                "% of limit": "share_of_limit",
                "error": "max_rel_error",
            },
        ),
        ("breakdown", "inside-Mojo", moe.factors, "factor", {"times as fast": "times", "share, %": "share"}),
    ],
)
def test_a_table_saves_its_frame(
    browser: Browser,
    smoke: Path,
    page: str,
    table: str,
    of: Callable[[Run], pd.DataFrame],
    key: str,
    columns: dict[str, str],
) -> None:
    opened = Opened(browser, smoke / f"{page}.html")
    _, content = saved(opened.page, opened.page.get_by_role("button", name=f"Save as {page}-{table}.csv"))
    frame = of(load_run(smoke / f"{page}.json"))
    frame = frame[(frame.device == "cpu") & ~frame.control] if "control" in frame else frame
    own = {row[key]: row for row in records(frame)}
    shown = list(csv.DictReader(io.StringIO(content.decode())))
    numbers = 0
    for line in shown:
        row = own[re.split(" [(★—]", next(iter(line.values())))[0]]
        for heading, column in columns.items():
            ends = ("", "_low", "_high") if column in BOUNDED else ("",)
            for end in ends:
                entry = line.get(f"{heading} ({end[1:]})" if end else heading, "")
                if entry:
                    assert float(entry) == pytest.approx(row[column + end] * SCALED.get(column, 1.0), rel=1e-12)
                    numbers += 1
    assert len(shown) == len(own)
    assert numbers >= len(shown)
    opened.page.context.close()


def test_a_heading_sorts_its_table_by_number_both_ways(browser: Browser, smoke: Path) -> None:
    opened = Opened(browser, smoke / "scaling.html")
    table = opened.page.locator("#T_cells")
    heads = table.locator("thead th")
    at = [head.inner_text().split(" ")[0] for head in heads.all()].index("numpy,")

    def values() -> list[float]:
        cells = table.locator(f"tbody tr td:nth-child({at + 1})")
        return [float(v) for v in cells.evaluate_all("all => all.map(c => c.dataset.value)") if v]

    before = values()
    heads.nth(at).locator("button").focus()
    opened.page.keyboard.press("Enter")
    assert values() == sorted(before)
    assert heads.nth(at).get_attribute("aria-sort") == "ascending"
    opened.page.keyboard.press("Enter")
    assert values() == sorted(before, reverse=True)
    opened.page.context.close()


@pytest.mark.parametrize("name", list(EXPERIMENTS))
def test_a_page_saves_its_run(browser: Browser, smoke: Path, tmp_path: Path, name: str) -> None:
    alone = shutil.copy(smoke / f"{name}.html", tmp_path)
    opened = Opened(browser, Path(alone))
    press = opened.page.get_by_role("button", name=f"Save {name}.json")
    assert saved(opened.page, press) == (f"{name}.json", (smoke / f"{name}.json").read_bytes())
    opened.page.context.close()
