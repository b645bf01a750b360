"""Overhead and rate from synthetic times that are a line, and from such as are none."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest

import moe
from moe.analysis.breakdown import AUTOGRAD, Breakdown
from moe.analysis.factors import calls, overheads
from moe.analysis.frames import interval_of
from moe.analysis.overhead import fit_line
from moe.report import breakdown, figures, tables
from moe.report.findings import breakdown as said

from .synthetic_pages import OF_LINE, SIZES, a_run, measured


def test_a_line_comes_back() -> None:
    points = fit_line(measured(20e-6, 1e5, noise=0.0))
    assert [point["tokens"] for point in points] == list(SIZES)
    line = points[0]
    assert line["overhead_s"] == pytest.approx(20e-6)
    assert line["rate"] == pytest.approx(1e5)
    assert line["half"] == pytest.approx(2)
    assert line["off"] == pytest.approx(0, abs=1e-9)
    assert line["overhead_share"] == pytest.approx(20 / 30)


def test_intervals_cover_the_truth() -> None:
    lines = [fit_line(measured(20e-6, 1e5, seed=seed))[0] for seed in range(200)]
    assert sum(not interval_of(line, "overhead_s").excludes(20e-6) for line in lines) >= 186
    assert sum(not interval_of(line, "rate").excludes(1e5) for line in lines) >= 186
    assert all(line["fits"] for line in lines)


def test_what_is_no_line_is_said_to_be_none() -> None:
    assert not fit_line(measured(20e-6, 1e5, bend=2.0))[0]["fits"]


def with_overheads(bend: float = 1.0, overhead: float = 20e-6) -> Breakdown:
    run = a_run().run
    run.measurements += measured(overhead, 1e5, bend)
    return Breakdown(run)


def overhead(found: Breakdown) -> str:
    return said.overhead(found, overheads(found.run))


def test_implementations_that_are_not_installed_here_have_their_line() -> None:
    """A report reads the run, not what this machine has."""
    run = a_run().run
    theirs = measured(20e-6, 1e5)
    for m in theirs:
        m.label = m.implementation = "theirs"
    assert list(overheads(replace(run, measurements=[*run.measurements, *theirs])).label.unique()) == ["theirs"]


def test_overheads_are_said_and_stand_apart_from_the_experiments() -> None:
    found = with_overheads()
    assert set(overheads(found.run).label) == {"mojo"}
    assert {row.measurement.config.tokens for row in found.summary.rows} == {1024}
    assert re.search(r"at d=256 f=1024 E=4 k=2, on 1 thread: Mojo (19|20)\.\d \[", overhead(found))
    assert "tokens/s" in overhead(found)
    table = tables.overheads(overheads(found.run))
    assert all(f"T={tokens}<" in table for tokens in SIZES)


def test_the_line_is_drawn_through_what_it_fits_and_nothing_else() -> None:
    for found, lines in ((with_overheads(), 1), (with_overheads(bend=3.0), 0)):
        points = figures.over_tokens(overheads(found.run))
        axes = plt.figure().add_subplot()
        figures.fits(points)
        assert len(axes.lines) == lines
        for line in axes.lines:
            own = points[points.tokens == 1].iloc[0]
            assert line.get_ydata()[0] == pytest.approx(1e3 * (own.overhead_s + 1 / own.rate))
        plt.close("all")


def test_a_line_that_does_not_fit_is_not_given() -> None:
    found = with_overheads(bend=3.0)
    assert "lie on no line" in overhead(found)
    assert " %)" not in tables.overheads(overheads(found.run))
    none = with_overheads(overhead=0.0)
    assert "not resolved" in overhead(none)


def test_a_bend_is_no_overhead() -> None:
    line = fit_line(measured(1e-6, 1e5, noise=0.001))[0]  # of 11 µs for one token
    assert line["overhead_s_low"] > 0
    assert line["has_overhead"]
    points = measured(1e-6, 1e5, noise=0.001)
    points[1].samples_s = [[1.17 * s for s in turn] for turn in points[1].samples_s]
    bent = fit_line(points)[0]
    assert bent["fits"]
    assert bent["overhead_s_low"] > 0
    assert not bent["has_overhead"]


def test_a_line_that_may_not_rise_is_not_given() -> None:
    assert not fit_line(measured(20e-6, 1e9, noise=0.02))[0]["fits"]
    run = a_run().run
    flat = Breakdown(replace(run, measurements=[*run.measurements, *measured(20e-6, 1e9, noise=0.02)]))
    assert "Mojo's times do not grow with tokens beyond their noise" in overhead(flat)


def test_without_a_process_in_common_a_line_has_no_interval() -> None:
    found = with_overheads()
    last = found.run.measurements[-1]
    last.processes = [9 + p for p in last.processes]
    points = overheads(found.run)
    assert points.rate[0] == pytest.approx(1e5, rel=0.05)
    assert not points.fits.any()
    assert "Mojo has too few rounds" in overhead(found)


def test_a_line_goes_through_rounds_that_not_all_sizes_have() -> None:
    """No round has all of them, and every size lacks other ones."""
    points = measured(20e-6, 1e5)
    for place, m in enumerate(points):
        m.rounds = list(range(len(OF_LINE)))
        m.disturbed = [number % len(points) == place for number in m.rounds]
        m.samples_s = [[s * (1 + out) for s in turn] for turn, out in zip(m.samples_s, m.disturbed, strict=True)]
    line = fit_line(points)[0]
    assert line["fits"]
    assert not interval_of(line, "overhead_s").excludes(20e-6)
    assert not interval_of(line, "rate").excludes(1e5)
    assert line["variation"] < 0.1  # of turns that count


def test_a_size_that_was_disturbed_all_along_leaves_no_interval() -> None:
    points = measured(20e-6, 1e5)
    points[2].disturbed = [True] * len(OF_LINE)
    rows = fit_line(points)
    assert rows[0]["overhead_s"] == pytest.approx(20e-6, rel=0.2)
    assert not interval_of(rows[0], "overhead_s").bounded
    assert [interval_of(row, "latency_s").bounded for row in rows] == [True, True, False, True, True]


def test_nothing_measured_is_said() -> None:
    found = a_run()
    assert "was not measured" in overhead(found)
    assert overheads(found.run).empty
    assert "none was measured" in tables.overheads(overheads(found.run))


def test_an_implementation_gets_the_sizes_that_it_can_afford() -> None:
    chosen = breakdown.by_tokens(moe.PRESETS["seed"], "1, 512 8")
    assert [config.tokens for name, config in chosen if name == "python"] == [1, 8]
    assert [config.tokens for name, config in chosen if name == "mojo"] == [1, 8, 512]
    assert {(config.d_model, config.d_ff) for _, config in chosen} == {(64, 128)}


def test_a_line_needs_three_sizes() -> None:
    found = with_overheads()
    few = [m for m in found.run.measurements if m.label != "mojo" or m.config.tokens < 16]
    found.run.measurements = few
    assert overheads(found.run).empty


def test_points_of_another_layer_are_on_no_line() -> None:
    found = with_overheads()
    before = overheads(found.run)
    wider = [replace(m, config=replace(m.config, d_model=512, tokens=2)) for m in found.run.measurements[-2:]]
    found.run.measurements += wider
    assert overheads(found.run).equals(before)


def test_what_autograd_adds_is_said() -> None:
    run = a_run().run
    assert "was not measured" in said.autograd(Breakdown(run))
    plain, recorded = (measured(s, 1e5, noise=0.0, name=n) for s, n in zip((20e-6, 50e-6), AUTOGRAD, strict=True))
    found = Breakdown(replace(run, measurements=[*run.measurements, *plain, *recorded]))
    assert said.autograd(found) == (
        "Recorded for autograd instead of under inference_mode, torch-loop's forward at T=1 d=256 f=1024 E=4 k=2 "
        "takes 2.00 × [2.00–2.00] as long."
    )
    same = Breakdown(replace(run, measurements=[*run.measurements, *plain, *measured(20e-6, 1e5, name=AUTOGRAD[1])]))
    assert "a difference is not resolved" in said.autograd(same)


def test_calls_are_listed_once_from_the_fewest_threads() -> None:
    found = a_run()
    for m in found.run.measurements:
        m.details["calls"] = [{"call": f"a call of {m.implementation}", "seconds": [m.threads * 1e-6] * 5}]
    table = tables.calls(calls(found.run))
    assert table.count("a call of mojo") == 1
    assert "1.00 µs" in table
    assert "2.00 µs" not in table
    assert "none was measured" in tables.calls(calls(a_run().run))
