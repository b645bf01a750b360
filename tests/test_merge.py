"""Runs of several machines as one, in a file and on a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from moe.cli import main
from moe.measure.merge import merge_runs
from moe.report import scaling, scaling_views
from moe.run import Run, load_run

from .conftest import validate_run
from .scaling_page import FIGURES, drawn
from .synthetic import synthetic_run
from .synthetic_pages import a_sweep


def on(key: str, run: Run, processor: str = "Testium") -> Run:
    run.machine |= {"key": key, "processor": processor}
    return run


def test_each_machine_gets_back_what_it_measured(tmp_path: Path) -> None:
    runs = {"aa": on("aa", a_sweep()), "bb": on("bb", a_sweep(hot=3.0), "Slowium")}
    for key, run in runs.items():
        run.save(tmp_path / f"{key}.json")
    both = tmp_path / "both.json"
    assert main(["merge", str(tmp_path / "aa.json"), str(tmp_path / "bb.json"), "--json", str(both)]) == 0
    validate_run(json.loads(both.read_text()))
    parts = load_run(both).by_machine()
    assert list(parts) == ["aa", "bb"]
    for key, part in parts.items():
        assert part.machine == runs[key].machine
        assert [m.samples_s for m in part.measurements] == [m.samples_s for m in runs[key].measurements]
        assert len(part.limits) == len(runs[key].limits)
    cells = [m.details["cell"] for m in load_run(both).measurements]
    assert len(set(cells)) == 2 * len({m.details["cell"] for m in runs["aa"].measurements})
    assert main(["merge", str(both), "--json", str(both)]) == 2  # it exists
    assert merge_runs([load_run(both)]) == load_run(both)


def test_a_cell_that_is_measured_again_replaces_the_first() -> None:
    old, new = on("aa", a_sweep()), on("aa", a_sweep(noise=0.1))
    merged = merge_runs([old, new])
    assert [m.samples_s for m in merged.measurements] == [m.samples_s for m in new.measurements]
    for m in new.measurements:
        m.status, m.samples_s, m.processes = "not_run", [], []
    merged = merge_runs([old, new])
    assert [m.samples_s for m in merged.measurements] == [m.samples_s for m in old.measurements]


def test_one_machine_with_other_versions_is_another() -> None:
    old, new = on("aa", a_sweep()), on("aa", a_sweep())
    new.versions = {**new.versions, "torch": "9"}
    merged = merge_runs([old, new])
    assert list(merged.machines) == ["aa", "aa-2"]
    assert list(scaling_views.parts_of(merged)) == [f"Testium (2 usable cores), {key}" for key in ("aa", "aa-2")]


def test_runs_that_are_no_sweeps_are_cells_too() -> None:
    run = on("aa", synthetic_run({"numpy": 0.02, "mojo": 0.01}, (1, 2)))
    merged = merge_runs([run, on("bb", a_sweep())])
    assert len({m.details["cell"] for m in merged.by_machine()["aa"].measurements}) == 2


def test_what_was_measured_in_another_way_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    on("aa", a_sweep()).save(tmp_path / "one.json")
    other = on("bb", a_sweep())
    other.protocol["turn_s"] = 3.0
    other.save(tmp_path / "other.json")
    assert main(["merge", str(tmp_path / "one.json"), str(tmp_path / "other.json")]) == 2
    assert capsys.readouterr().err == "moe: runs can't be merged: their turn_s are 0.02 and 3.0\n"
    with pytest.raises(ValueError, match="at least one run"):
        merge_runs([])


@pytest.mark.long
def test_a_page_has_a_panel_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    merge_runs([on("aa", a_sweep()), on("bb", a_sweep(hot=3.0), "Slowium")]).save(path)
    found = scaling.load(str(path))
    names = ["Testium (2 usable cores)", "Slowium (2 usable cores)"]
    figures = drawn({name: part.run for name, part in found.items()})
    for figure in FIGURES:
        assert [axes.get_title().split(":")[0] for axes in figures[figure].axes.flat] == names
        (caption,) = BeautifulSoup(figures["captions"][figure], "html.parser").find_all("figcaption")
        first, _, second = caption.get_text().partition(f" {names[1]}: ")
        assert first.startswith(f"{names[0]}: ")
        assert second
        assert figure != "skew" or first.removeprefix(f"{names[0]}: ") != second
    said = scaling_views.of_each(found, scaling_views.details)
    assert {line.split(":")[0] for line in said} == set(names)
    ids = [
        str(table["id"])
        for table in BeautifulSoup(scaling_views.machines(found).data, "html.parser").find_all("table")
    ]
    assert ids == ["T_machine", "T_machine-2"]
    for table in (scaling_views.cells_table, scaling_views.growth_table, scaling_views.models_table):
        rows = BeautifulSoup(table(found), "html.parser").select("tbody tr")
        first = [row.td.get_text() for row in rows if row.td]
        assert set(first) == set(names)
    whole = scaling_views.findings(load_run(path)).headline  # of both together
    assert f"{sum(len(part.problems) for part in found.values())} measured combinations" in whole[0]
