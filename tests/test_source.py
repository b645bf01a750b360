"""Where a notebook's numbers come from, and how what it gets shows itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import moe
from moe.report import breakdown, source
from moe.run import Run, RunFileError

from .synthetic import synthetic_run

SAMPLE = Path(__file__).parent.parent / "docs" / "sample"


class Measure:
    """Stands in for measuring; it notes how it was called."""

    def __init__(self) -> None:
        self.called: list[dict[str, Any]] = []

    def __call__(self, **arguments: Any) -> Run:
        self.called.append(arguments)
        return synthetic_run({"numpy": 1.0})


@pytest.fixture
def measure() -> Measure:
    return Measure()


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for reports in which there is none."""
    monkeypatch.setattr(source, "REPORTS", tmp_path)
    return tmp_path


@pytest.fixture
def newest(reports: Path) -> Path:
    """The newest report's folder."""
    (reports / source.LATEST).symlink_to(SAMPLE)
    return SAMPLE


def arguments() -> dict[str, Any]:
    return {"implementations": ["numpy"], "processes": 1}


def test_a_notebook_that_is_given_no_run_shows_the_newest_report_s_and_says_so(
    newest: Path, measure: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    run = source.load_or_measure(None, "comparison", arguments, measure)
    assert run == moe.load_run(newest / "comparison.json")
    assert not measure.called
    told = capsys.readouterr().out
    assert str(newest / "comparison.json") in told
    assert 'run = "new"' in told


def test_it_measures_where_there_is_no_report_and_in_enough_processes_for_an_interval(
    reports: Path, measure: Measure
) -> None:
    source.load_or_measure(None, "comparison", arguments, measure)
    assert measure.called == [{"implementations": ["numpy"], "processes": 3}]


def test_it_measures_when_it_is_told_to(newest: Path, measure: Measure) -> None:
    source.load_or_measure("new", "comparison", lambda: arguments() | {"processes": 5}, measure)
    assert measure.called == [{"implementations": ["numpy"], "processes": 5}]


def test_it_shows_the_run_that_it_was_given(
    newest: Path, measure: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    run = source.load_or_measure(str(SAMPLE / "breakdown.json"), "comparison", arguments, measure)
    assert run == moe.load_run(SAMPLE / "breakdown.json")
    assert capsys.readouterr().out == ""


def test_the_breakdown_beside_a_comparison_is_of_the_same_report(newest: Path) -> None:
    assert breakdown.beside(None) is not None
    assert breakdown.beside(str(SAMPLE / "comparison.json")) is not None
    assert breakdown.beside("new") is None


def test_latest_is_the_newest_report_s_run_by_page(newest: Path) -> None:
    assert moe.latest() == moe.load_run(SAMPLE / "comparison.json")
    assert moe.latest("scaling") == moe.load_run(SAMPLE / "scaling.json")
    with pytest.raises(RunFileError, match="nothing"):
        moe.latest("nothing")


def test_without_a_report_latest_says_how_to_get_one(reports: Path) -> None:
    with pytest.raises(RunFileError, match="make report"):
        moe.latest()


@pytest.mark.parametrize("name", ["comparison", "breakdown", "scaling"])
def test_a_run_shows_itself_in_a_line_and_a_short_table(name: str) -> None:
    run = moe.load_run(SAMPLE / f"{name}.json")
    assert len(repr(run)) < 200
    assert all(len(repr(m)) < 1000 for m in run.measurements)
    shown = run._repr_html_()
    assert len(shown) < 60_000
    assert f"{sum(m.status == 'ok' for m in run.measurements)} ok" in shown
    assert "latency_ms" in shown


def test_the_short_table_has_the_sizes_that_differ() -> None:
    from moe.analysis.frames import short

    comparison, scaling = (short(moe.load_run(SAMPLE / f"{name}.json")) for name in ("comparison", "scaling"))
    assert "d_model" not in comparison
    assert {"tokens", "d_model", "num_experts", "skew"} <= set(scaling)
    rows = moe.rows(moe.load_run(SAMPLE / "comparison.json"))
    assert comparison["latency_ms"].tolist() == pytest.approx((1e3 * rows["latency_s"]).tolist(), nan_ok=True)


def test_runs_of_whatever_machines_and_sizes_stand_in_one_frame() -> None:
    first, second = synthetic_run({"numpy": 1.0, "mojo": 0.5}), synthetic_run({"numpy": 2.0})
    second.machine["processor"] = "another"
    both = moe.frame(first, second)
    assert both["run"].tolist() == [1] * len(first.measurements) + [2] * len(second.measurements)
    assert both[both["run"] == 2]["processor"].unique().tolist() == ["another"]
    assert both[both["run"] == 1].drop(columns=["run", "processor"]).equals(moe.rows(first))


@pytest.mark.long
def test_a_reader_s_own_figures_appear_beside_the_package_s() -> None:
    """The package chooses no backend: in a notebook that would take the reader's figures away without an error."""
    code = "import matplotlib; import moe.report.figures; print(matplotlib.rcParams._get_backend_or_none())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=no_backend())
    assert done.stdout.strip() == "None"


def no_backend() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
