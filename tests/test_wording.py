"""One way to say what a run can tell and what not."""

from __future__ import annotations

import math

import moe
from moe.analysis import Interval, summarise
from moe.report import sentences, tables
from moe.report.findings.comparison import against_best, headline, speedup
from moe.report.terminal import table_lines
from moe.report.text import lacking, ratio_text
from moe.run import Measurement, Run

from .synthetic import synthetic_run

TIMES = {"numpy": 0.02, "torch": 0.015, "mojo": 0.01}


def only(run: Run, label: str, threads: int = 1) -> Measurement:
    return next(m for m in run.measurements if (m.label, m.threads) == (label, threads))


def test_a_ratio_is_resolved_or_not_or_without_an_interval() -> None:
    ratio = Interval(1.31, 1.12, 1.53)
    assert ratio_text(ratio, True) == "1.31 × [1.12–1.53]"
    assert ratio_text(ratio, False) == "1.31 × [1.12–1.53], not resolved"
    unknown = Interval(3.49, 0.0, math.inf)
    assert ratio_text(unknown, False, why="3 rounds, 4 needed: --budget 80") == (
        "about 3.5 × (3 rounds, 4 needed: --budget 80)"
    )
    assert ratio_text(unknown, False) == "about 3.5 ×, without an interval"


def test_why_there_is_no_interval_and_what_would_give_one() -> None:
    run = synthetic_run(TIMES, rounds=3)
    m = only(run, "mojo")
    assert lacking(m, run) == "3 rounds, 4 needed: --budget 80"
    m.processes = [0, 0, 0]
    assert lacking(m, run) == "1 process, 2 needed"
    m.disturbed = [True, True, False]
    assert lacking(m, run) == "the machine gave too few undisturbed turns on 1 thread"
    enough = synthetic_run(TIMES, rounds=6)
    assert lacking(only(enough, "mojo"), enough) == "too few rounds in common with what it is compared with"


def test_both_sentences_on_a_row_say_the_same() -> None:
    """What the first calls not resolved, the second does not call faster."""
    for noise in (0.0, 0.1, 0.3, 0.6):
        summary = summarise(synthetic_run({"numpy": 0.02, "mojo": 0.016}, noise=noise))
        first, second = speedup(summary), against_best(summary)[0]
        assert ("not resolved" in first) == ("not resolved" in second)
        assert ("not resolved" in second) == (not summary.ahead[1].resolved)


def test_a_control_that_differs_by_multiples_of_itself_is_no_percentage() -> None:
    run = synthetic_run(TIMES, noise=1.5)
    said = sentences.resolution(summarise(run))
    assert said.startswith("Too noisy to compare on 1 thread: numpy against itself differed up to ")
    assert "%" not in said
    assert "Too noisy to compare" in "\n".join(table_lines(summarise(run)))


def test_resolution_is_the_control_s_on_each_number_of_threads() -> None:
    run = synthetic_run(TIMES, (1, 2), noise=0.02)
    for samples in only(run, "torch", 2).samples_s[::2]:
        samples[:] = [s * 3 for s in samples]  # a row that varies makes no control vary
    summary = summarise(run)
    assert set(summary.resolution) == {1, 2}
    assert all(share is not None and share < 0.1 for share in summary.resolution.values())
    assert " on 1 thread and " in sentences.resolution(summary)


def test_disturbed_turns_are_said_and_rows_without_enough_of_others_are_named() -> None:
    run = synthetic_run(TIMES, (1, 2))
    for m in run.measurements:
        m.capacities = [[1e11 * m.threads] * 2 for _ in m.samples_s]
        m.disturbed = [False] * len(m.samples_s)
    only(run, "torch", 2).disturbed[0] = True
    mojo = only(run, "mojo", 2)
    mojo.disturbed = [True] * (len(mojo.samples_s) - 2) + [False] * 2
    summary = summarise(run)
    text = " ".join([speedup(summary), *sentences.trust(summary, run)])
    assert f"Disturbed turns: {len(mojo.samples_s) - 1} of {4 * len(mojo.samples_s)} on 2 threads, the" in text
    assert "The machine gave too few undisturbed turns on 2 threads: the medians of mojo are of all turns" in text
    assert "Mojo about 2.0 × (the machine gave too few undisturbed turns on 2 threads)" in text
    assert "cores may be hardware threads" not in text


def test_hardware_threads_that_are_sold_as_cores_are_told() -> None:
    run = synthetic_run(TIMES, (1, 2))
    for m in run.measurements:
        m.capacities = [[1e11 * (1.2 if m.threads == 2 else 1)] * 2 for _ in m.samples_s]
    assert "On 2 threads the machine never came near 2 times what it does on 1 thread" in " ".join(
        sentences.warnings(summarise(run))
    )


def test_a_share_above_the_limit_is_marked() -> None:
    run = synthetic_run(TIMES)
    probes = [{"bytes": 2**22, "read_bytes_per_s": 1e12, "triad_bytes_per_s": 1e12}]
    least = moe.PRESETS["seed"].flops / 0.011
    run.limits = [{"threads": 1, "by": "probes in Mojo", "flops_per_s": least, "bandwidth": probes}]
    assert "110 [110–110] (limit not measured well)" in tables.results(moe.rows(run))
    limit = headline(summarise(run))[1]
    assert "of what the machine can calculate on 1 thread (limit not measured well), NumPy 55.0 %." in limit
    assert "73.3 [73.3–73.3]</td>" in tables.results(moe.rows(run))


def test_a_disturbed_row_says_so_beside_its_name() -> None:
    run = synthetic_run(TIMES)
    mojo = only(run, "mojo")
    mojo.disturbed = [True] * len(mojo.samples_s)
    assert "mojo (disturbed)" in tables.results(moe.rows(run))
    assert "torch (disturbed)" not in tables.results(moe.rows(run))


def test_memory_says_whom_it_covers() -> None:
    run = synthetic_run(TIMES)
    for m in run.measurements:
        m.peak_rss_bytes = 300 * 2**20
    only(run, "torch").details["memory_of"] = ["torch", "torch-naive"]
    only(run, "mojo").details["memory_of"] = ["mojo"]
    html = tables.beside_the_time(run)
    assert html.count("300 (with torch-naive)") == 1
    assert html.count(">300<") == 2


def test_a_control_that_failed_is_among_the_lines() -> None:
    run = synthetic_run({"numpy": 1.0, "mojo": 0.5})
    control = next(m for m in run.measurements if m.control)
    assert not any("(control)" in line for line in table_lines(summarise(run)))
    control.status, control.reason, control.samples_s = "failed", "it changed its input", []
    assert any("(control)" in line and "failed: it changed its input" in line for line in table_lines(summarise(run)))


def test_how_many_processes_there_were_of_those_asked_for() -> None:
    run = synthetic_run(TIMES)
    for asked, made in ((3, "3 processes a variant"), (6, "3 processes a variant (6 were asked for)")):
        run.protocol["processes"] = asked
        assert f"12 rounds in {made}, caches" in " ".join(sentences.what_is_measured(summarise(run)))


def test_more_processes_of_some_variants_are_told() -> None:
    run = synthetic_run(TIMES)
    run.protocol["processes"] = 3
    mojo = next(m for m in run.measurements if m.variant == "mojo")
    mojo.samples_s, mojo.processes = mojo.samples_s * 2, [*mojo.processes, *[p + 3 for p in mojo.processes]]
    mojo.rounds = [*mojo.rounds, *[r + 100 for r in mojo.rounds]]
    (line,) = (line for line in sentences.what_is_measured(summarise(run)) if "a variant (" in line)
    assert "12 to 24 rounds in 3 to 6 processes a variant (more where a lead was uncertain), caches" in line


def test_a_terminal_says_that_ratios_are_not_those_of_the_medians() -> None:
    lines = table_lines(summarise(synthetic_run(TIMES)))
    (legend,) = (line for line in lines if line.startswith("Medians"))
    assert "the median of rounds' own ratios, which may differ from that of the medians" in legend
