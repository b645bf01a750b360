"""The frames that others compute with hold the numbers that pages print."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf, isnan
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

import moe
from moe.analysis import Interval
from moe.report import scaling_views, tables
from moe.report.text import power_of_ten, significant, span, times
from moe.run import Run, load_run

from .synthetic import synthetic_run

SAMPLE = Path(__file__).parent.parent / "docs" / "sample"
NOTHING = "–"


def printed(html: str) -> list[dict[str, str]]:
    """A table's rows by their headings."""
    table = BeautifulSoup(html, "html.parser").find("table")
    assert table is not None
    heads = [th.get_text(strip=True) for th in table.find_all("th")]
    return [
        dict(zip(heads, [td.get_text(strip=True) for td in row.find_all("td")], strict=True))
        for row in table.find_all("tr")
        if row.find("td")
    ]


def interval(row: dict[str, Any], name: str) -> Interval:
    value, low, high = (row[name + end] for end in ("", "_low", "_high"))
    return Interval(value, 0.0, inf) if isnan(low) else Interval(value, low, high)


def text(row: dict[str, Any], name: str, factor: float = 1.0) -> str:
    return NOTHING if isnan(row[name]) else span(interval(row, name), factor)


def records(frame: Any) -> Iterator[dict[str, Any]]:
    yield from frame.to_dict("records")


def comparison() -> Run:
    return load_run(SAMPLE / "comparison.json")


def test_rows_are_what_the_table_of_results_prints() -> None:
    run = comparison()
    rows = [r for r in records(moe.rows(run)) if not r["control"] and r["device"] == "cpu"]
    rows.sort(key=lambda r: (r["threads"], -r["tokens_per_s"]))
    lines = printed(tables.results(moe.rows(run)))
    assert len(rows) == len(lines) > 5
    for row, line in zip(rows, lines, strict=True):
        assert line["implementation"].startswith(row["label"])
        assert line["threads"] == str(row["threads"])
        assert line["latency, ms"] == text(row, "latency_s", 1e3)
        assert line["tokens/s"] == significant(row["tokens_per_s"])
        assert line["GFLOP/s"] == significant(row["flops_per_s"] / 1e9)
        assert line["% of limit"] == text(row, "share_of_limit", 100)
        assert line["error"] == power_of_ten(row["max_rel_error"])
        if row["label"] != "numpy":
            assert line["× numpy"].startswith(times(interval(row, "speedup")))
            assert line["× numpy"].endswith("not resolved)") is not row["resolved"]


def test_controls_and_what_was_not_run_have_rows_too() -> None:
    frame = moe.rows(comparison())
    assert len(frame) == len(comparison().measurements)
    control = frame[frame.control].iloc[0]
    assert control.label == "numpy (control)"
    assert not control.resolved
    assert control.speedup == pytest.approx(1, rel=0.5)
    missing = frame[frame.status == "not_run"]
    assert len(missing)
    assert missing.latency_s.isna().all()
    assert missing.reason.str.len().min() > 0
    assert frame.resolved.dtype == bool
    assert not frame[frame.label == "numpy"].resolved.any()


def test_another_baseline() -> None:
    frame = moe.rows(comparison(), baseline="torch")
    torch = frame[frame.label == "torch"]
    assert torch.speedup.isna().all()
    numpy = frame[(frame.label == "numpy") & (frame.threads == 1)].iloc[0]
    over = moe.rows(comparison()).query("label == 'torch' and threads == 1").iloc[0]
    assert numpy.speedup == pytest.approx(1 / over.speedup)


def test_an_interval_that_is_not_there_has_no_ends() -> None:
    row = moe.rows(synthetic_run({"numpy": 0.02, "mojo": 0.01}, rounds=3)).query("label == 'mojo'").iloc[0]
    assert row.speedup == pytest.approx(2)
    assert isnan(row.speedup_low)
    assert isnan(row.speedup_high)
    assert not row.resolved


def test_disturbed_turns_are_counted_and_have_no_part_in_values() -> None:
    run = synthetic_run({"numpy": 0.02, "mojo": 0.01})
    mojo = next(m for m in run.measurements if m.label == "mojo")
    mojo.disturbed = [place == 0 for place in range(len(mojo.samples_s))]
    mojo.samples_s[0] = [9.0]
    row = moe.rows(run).query("label == 'mojo'").iloc[0]
    assert (row.disturbed, row.rounds) == (1, len(mojo.samples_s) - 1)
    assert row.latency_s_high == pytest.approx(0.01)


@pytest.mark.parametrize("name", ["mojo", "numpy to torch"])
def test_factors_are_what_the_table_of_factors_prints(name: str) -> None:
    run = load_run(SAMPLE / "breakdown.json")
    frame = moe.factors(run)
    rows = {r["factor"]: r for r in records(frame[frame.experiment == name])}
    lines = printed(tables.factors(frame, name))
    assert {line["factor"].partition(" ")[0] for line in lines} == rows.keys()
    for line in lines:
        row = rows[line["factor"].partition(" ")[0]]
        assert line["times as fast"].startswith(text(row, "times"))
        if row["factor"] != "all":
            share = line["share, %"].partition(" ")[0].replace("−", "-")
            assert share == significant(100 * row["share"], 2)
            assert (line["least with any others on"], line["most with any others on"]) == (
                significant(row["least"]),
                significant(row["most"]),
            )
    parts = [row["times"] for factor, row in rows.items() if factor != "all"]
    product = 1.0
    for part in parts:
        product *= part
    assert product == pytest.approx(rows["all"]["times"])


def test_factors_of_a_run_without_a_breakdown() -> None:
    frame = moe.factors(comparison())
    assert len(frame) == 0
    assert "times_low" in frame.columns


def test_cells_are_what_the_table_of_cells_prints() -> None:
    run = load_run(SAMPLE / "scaling.json")
    frame = moe.cells(run)
    assert len(frame) == len(run.measurements)
    lines = printed(scaling_views.cells_table(scaling_views.parts_of(run)))
    cells = [own for _, own in frame[frame.status == "ok"].groupby("cell", sort=False)]
    assert len(cells) == len(lines) > 5
    for own, line in zip(cells, lines, strict=True):
        rows = {r["label"]: r for r in records(own)}
        for label in ("numpy", "torch", "mojo"):
            assert line[f"{label}, ms"] == text(rows[label], "latency_s", 1e3)
        mojo = rows["mojo"]
        assert line["mojo × torch"].startswith(times(interval(mojo, "ratio")))
        assert line["mojo × torch"].endswith("not resolved)") is not mojo["resolved"]
        assert line["threads"] == str(mojo["threads"])
