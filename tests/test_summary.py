from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import seaborn as sns
from matplotlib.colors import to_rgb

import moe
from moe.analysis import Interval, summarise
from moe.report import figures, sentences, tables
from moe.report.findings import comparison as said
from moe.report.finish import INTERVAL, UNSURE, finish
from moe.report.style import COLOURS, OTHERS, WIDTH
from moe.report.text import percent, power_of_ten, seconds, significant, span, times

from .synthetic import synthetic_run

TIMES = {"python": 40.0, "numpy": 0.02, "torch": 0.025, "mojo": 0.01}
SEEN = 3.0  # the least contrast of what is drawn, by WCAG


def test_speedup_is_tokens_a_second_over_the_baseline_on_as_many_threads() -> None:
    summary = summarise(synthetic_run(TIMES, (1, 2)))
    speedups = {(r.label, r.threads): r.speedup and r.speedup.value for r in summary.rows}
    assert speedups == {
        ("python", 1): pytest.approx(0.0005),
        ("numpy", 1): None,
        ("torch", 1): pytest.approx(0.8),
        ("mojo", 1): pytest.approx(2),
        ("numpy", 2): None,
        ("torch", 2): pytest.approx(0.8),
        ("mojo", 2): pytest.approx(2),
    }


def test_flops_and_tokens_a_second() -> None:
    row = moe.rows(synthetic_run(TIMES)).query("label == 'mojo' and threads == 1").iloc[0]
    assert row.tokens_per_s == pytest.approx(102_400)
    assert row.flops_per_s == pytest.approx(moe.PRESETS["seed"].flops / 0.01)


def test_resolution_is_the_far_end_of_the_control_on_as_many_threads() -> None:
    run = synthetic_run(TIMES, (1, 2), noise=0.05)
    for m in run.measurements:
        if m.threads == 1:
            m.samples_s = [[0.01] * 3 for _ in m.samples_s]
    summary = summarise(run)
    assert summary.resolution == {1: pytest.approx(0), 2: pytest.approx(0.05, abs=0.04)}
    (control,) = summary.controls[2]
    assert summary.resolution[2] == max(control.high, 1 / control.low) - 1


def test_without_its_control_a_number_of_threads_has_no_resolution() -> None:
    run = synthetic_run(TIMES, (1, 2), noise=0.01)
    control = next(m for m in run.measurements if m.control and m.threads == 2)
    control.disturbed = [True] * len(control.samples_s)
    resolution = summarise(run).resolution
    assert resolution[1] is not None
    assert resolution[2] is None
    text = sentences.resolution(summarise(run))
    assert "on 1 thread" in text
    assert "2 threads" not in text


def test_too_few_rounds_resolve_nothing() -> None:
    summary = summarise(synthetic_run(TIMES, rounds=3))
    assert summary.resolution == {1: None}
    assert "about 2.0 × (3 rounds, 4 needed: --budget 80)" in " ".join(said.against_best(summary))
    assert "[?]" in tables.results(moe.rows(summary.run))


def test_a_row_is_compared_with_the_baseline_on_its_own_layer() -> None:
    run = synthetic_run({"numpy": 0.02, "mojo": 0.01})
    small = synthetic_run({"numpy": 0.4, "mojo": 0.1})
    for m in small.measurements:
        m.config = moe.MoEConfig(m.config.tokens, 8, 8, 4, 2)
    run.measurements = small.measurements + run.measurements
    rows = [(r.label, r.speedup.value) for r in summarise(run).rows if r.speedup]
    assert rows == [("mojo", pytest.approx(4)), ("mojo", pytest.approx(2))]


def test_no_speedup_across_devices() -> None:
    run = synthetic_run({"numpy": 0.02, "torch": 0.01, "torch[device=cuda]": 0.001})
    cuda = next(r for r in summarise(run).rows if r.measurement.device == "cuda")
    assert cuda.latency is not None
    assert cuda.speedup is None


def test_mojo_is_compared_with_the_fastest_of_the_others() -> None:
    one = summarise(synthetic_run({"numpy": 0.02, "torch": 0.025, "mojo": 0.01}, (1, 2)))
    other = summarise(synthetic_run({"numpy": 0.02, "torch": 0.005, "mojo": 0.03}, (1, 2), noise=0.05))
    assert said.against_best(one)[0] == "Mojo over NumPy, the best of the others, on 1 thread: 2.00 × [2.00–2.00]."
    assert said.against_best(other)[0].startswith("Mojo over PyTorch, the best of the others, on 1 thread: 0.1")


def test_mojo_is_held_against_the_fastest_of_the_others_on_as_many_threads() -> None:
    run = synthetic_run({"python": 40.0, "numpy": 0.02, "torch": 0.005, "mojo": 0.01}, (1, 2), noise=0.01)
    for m in run.measurements:
        if m.label == "torch" and m.threads == 2:
            m.samples_s = [[s * 8 for s in turn] for turn in m.samples_s]
    ahead = summarise(run).ahead
    assert {t: (a.mojo.label, a.other.label, a.mojo.threads, a.other.threads) for t, a in ahead.items()} == {
        1: ("mojo", "torch", 1, 1),
        2: ("mojo", "numpy", 2, 2),
    }
    assert [a.ratio.value for a in ahead.values()] == [pytest.approx(0.5, rel=0.02), pytest.approx(2, rel=0.02)]
    assert all(a.resolved for a in ahead.values())


def test_a_difference_must_survive_the_comparisons_of_the_whole_run() -> None:
    """One that is a difference where it is alone is none beside others, whose intervals all leave out 1 too."""

    def resolved(*names: str) -> list[bool]:
        run = synthetic_run(dict.fromkeys(names, 0.02))
        for m in run.measurements:
            if m.label.startswith(("mojo", "torch")):  # processes differ a little, as much in all three
                gains = [np.exp(0.1 + 0.031 * (process - 1)) for process in m.processes]
                m.samples_s = [[s / gain for s in turn] for turn, gain in zip(m.samples_s, gains, strict=True)]
        found = summarise(run)
        assert found.compared == 2 * len(names) - 3 - (len(names) > 3)
        assert all(row.speedup.excludes(1.0) for row in found.rows if row.speedup)
        return [row.resolved for row in found.rows if row.speedup]

    assert resolved("numpy", "mojo") == [True]
    assert resolved("numpy", "torch", "torch-loop", "mojo") == [False] * 3


def test_cells_of_a_sweep_are_compared_one_by_one() -> None:
    run = synthetic_run(TIMES)
    for m in run.measurements:
        m.details["cell"] = 0
    assert summarise(run).ahead == {}


def test_a_disturbed_row_has_values_and_no_intervals() -> None:
    run = synthetic_run(TIMES, noise=0.01)
    mojo = next(m for m in run.measurements if m.label == "mojo")
    mojo.disturbed = [True] * 10 + [False] * 2
    summary = summarise(run)
    row = summary.row("mojo", 1)
    assert row is not None
    assert row.speedup is not None
    assert row.latency is not None
    assert row.latency.value == pytest.approx(0.01, rel=0.02)
    assert (row.latency.bounded, row.speedup.bounded, row.speedup.p_value, row.resolved) == (False, False, 1.0, False)
    assert not summary.ahead[1].resolved
    assert row.speedup.value == pytest.approx(2, rel=0.02)


def test_disturbed_turns_are_left_out() -> None:
    run = synthetic_run(TIMES)
    mojo = next(m for m in run.measurements if m.label == "mojo")
    mojo.disturbed = [number % 4 == 0 for number in range(len(mojo.samples_s))]
    for turn, disturbed in zip(mojo.samples_s, mojo.disturbed, strict=True):
        turn[:] = [s * (3 if disturbed else 1) for s in turn]
    row = moe.rows(run).query("label == 'mojo' and threads == 1").iloc[0]
    assert (row.latency_s, row.latency_s_high) == pytest.approx((0.01, 0.01))
    assert row.variation == pytest.approx(0)


def test_where_nothing_was_resolved_the_report_says_so() -> None:
    summary = summarise(synthetic_run({"numpy": 0.02, "torch": 0.02, "mojo": 0.02}, noise=0.1))
    assert ", not resolved" in " ".join(said.against_best(summary))
    assert "(not resolved)" in tables.results(moe.rows(summary.run))


def test_what_is_missing_is_named_with_its_reason() -> None:
    run = synthetic_run(TIMES)
    mojo = next(m for m in run.measurements if m.label == "mojo")
    mojo.status, mojo.reason, mojo.samples_s, mojo.processes = "not_run", "no <compiler> here", [], []
    summary = summarise(run)
    (missing,) = sentences.without_numbers(run)
    assert missing == "mojo on 1 thread, T=1024 d=256 f=1024 E=4 k=2: not run, no <compiler> here"
    assert "no &lt;compiler&gt; here" in tables.results(moe.rows(summary.run))
    assert "was not measured" in said.scaling(summary)
    assert figures.over_threads(figures.drawn(moe.rows(run)), "mojo").empty


def test_rounds_are_paired_by_process_and_place() -> None:
    """A run that was cut short mid-round has given some variants one round more."""
    run = synthetic_run(TIMES)
    mojo = next(m for m in run.measurements if m.label == "mojo")
    mojo.samples_s.insert(4, [1.0])
    mojo.processes.insert(4, 0)
    row = summarise(run).row("mojo", 1)
    assert row is not None
    assert row.speedup is not None
    assert row.speedup.value == pytest.approx(2)


def test_a_failed_control_is_named() -> None:
    run = synthetic_run(TIMES)
    control = run.measurements[-1]
    control.status, control.reason, control.samples_s, control.processes = "failed", "killed by SIGKILL", [], []
    summary = summarise(run)
    assert summary.resolution == {1: None}
    assert any(
        line.startswith("numpy (control) on 1 thread") and line.endswith(": failed, killed by SIGKILL")
        for line in sentences.trust(summary, run)
    )


def test_a_report_of_nothing_says_so() -> None:
    run = synthetic_run({"numpy": 0.02})
    for m in run.measurements:
        m.status, m.reason, m.samples_s, m.processes = "failed", "gone", [], []
    summary = summarise(run)
    drawn = figures.drawn(moe.rows(run))
    grid = sns.FacetGrid(figures.ends(drawn, "latency_s"), **figures.panels(drawn))
    caption = said.extremes(drawn, "latency_s")
    shown = figures.show(grid, "latency_s", "latency", caption, None).data
    assert "Nothing was measured." in shown
    assert "<img" not in shown
    assert sentences.agreement(summary)
    assert sentences.what_is_measured(summary)
    assert "failed" in tables.results(moe.rows(summary.run))


def test_names_are_text_in_tables() -> None:
    run = synthetic_run(TIMES)
    run.measurements[1].label = "<script>alert(1)</script>"
    run.machine["processor"] = "<script>"
    html = tables.results(moe.rows(run)) + tables.machine(summarise(run))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def bars(rows: pd.DataFrame, scale: str) -> sns.FacetGrid:
    """As the notebook draws, finished."""
    grid = sns.FacetGrid(figures.ends(rows, "tokens_per_s"), **figures.panels(rows))
    grid.map_dataframe(sns.barplot, x="tokens_per_s", y="name", **figures.bars(rows))
    grid.set(xscale=scale)
    finish(grid, "tokens_per_s")
    plt.close(grid.figure)
    return grid


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_figures_show_every_row_the_fastest_first_and_say_log_only_where_they_are(scale: str) -> None:
    rows = figures.drawn(moe.rows(synthetic_run(TIMES, (1, 2))))
    grid = bars(rows, scale)
    one, two = grid.axes.flat
    fast = ["Mojo", "NumPy", "PyTorch"]
    assert [t.get_text() for t in one.get_yticklabels()] == [*fast, "pure Python\n(8 of 1,024 tokens)"]
    assert [t.get_text() for t in two.get_yticklabels()] == fast
    assert [t.get_text() for t in two.texts] == ["205,000 (2.00 ×)", "102,000", "81,900 (0.800 ×)"]
    assert one.get_title() == "on 1 thread"
    assert ("log scale" in two.get_xlabel()) == (scale == "log")
    # What is drawn is said at the top, where it is seen first.
    assert [axes.xaxis.label.get_visible() for axes in (one, two)] == [True, False]
    assert one.xaxis.get_label_position() == "top"
    assert grid.figure.get_figwidth() == pytest.approx(WIDTH)


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_what_an_axis_shows_is_not_cut(scale: str) -> None:
    grid = bars(figures.drawn(moe.rows(synthetic_run(TIMES, (1, 2)))), scale)
    grid.figure.draw_without_rendering()
    for text in (axes.xaxis.label for axes in grid.axes.flat):
        extent = text.get_window_extent()
        assert grid.figure.bbox.x0 <= extent.x0 < extent.x1 <= grid.figure.bbox.x1, text.get_text()


def test_a_bar_without_an_interval_is_hatched_and_a_ratio_that_is_not_resolved_is_not_beside_it() -> None:
    same = figures.drawn(moe.rows(synthetic_run({"numpy": 0.02, "torch": 0.0199}, noise=0.1)))
    (axes,) = bars(same, "linear").axes.flat
    assert not any(bar.get_hatch() for bar in axes.patches)
    assert not any("×" in text.get_text() for text in axes.texts)
    ends = {name: same[name].where(same.label == "numpy") for name in ("tokens_per_s_low", "tokens_per_s_high")}
    grid = bars(same.assign(**ends), "linear")
    (axes,) = grid.axes.flat
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert [name for name, bar in zip(names, axes.patches, strict=True) if bar.get_hatch()] == ["PyTorch"]
    assert [text.get_text() for text in grid.figure.legends[0].get_texts()] == [UNSURE, INTERVAL]


def test_a_variant_has_one_colour_whether_the_plain_one_is_beside_it_or_not() -> None:
    rows = figures.drawn(moe.rows(synthetic_run({"numpy": 0.02, "numpy[dtype=float64]": 0.03, "mojo": 0.01})))
    alone = rows[rows.label != "numpy"]
    assert figures.colours(alone).items() < figures.colours(rows).items()


def test_panels_that_share_an_axis_are_widened_once() -> None:
    rows = figures.drawn(moe.rows(synthetic_run(TIMES, (1, 2))))
    grid = sns.FacetGrid(figures.ends(rows, "tokens_per_s"), **figures.panels(rows))
    grid.map_dataframe(sns.pointplot, x="tokens_per_s", y="name", **figures.points(rows))
    left, right = grid.axes.flat[0].get_xlim()
    finish(grid, "tokens_per_s")
    assert grid.axes.flat[-1].get_xlim() == pytest.approx((left, right + 0.15 * (right - left)))
    plt.close(grid.figure)


def test_what_is_far_slower_is_in_the_caption_and_not_in_the_figure() -> None:
    rows = figures.drawn(moe.rows(synthetic_run(TIMES)))
    assert list(figures.near(rows).label) == ["mojo", "numpy", "torch"]
    assert (
        "Far slower than others on as many threads, and so not drawn: pure Python on 1 thread, 25.6 tokens/s."
        in said.first_caption(rows)
    )


def test_whiskers_are_seen_on_white_and_on_every_bar() -> None:
    rows = figures.drawn(moe.rows(synthetic_run({"numpy": 0.02})))
    (axes,) = bars(rows, "linear").axes.flat
    (whisker,) = axes.lines
    assert whisker.get_color() == figures.WHISKER
    assert len(whisker.get_path_effects()) == 1
    assert contrast(figures.WHISKER, "white") >= SEEN
    assert contrast(figures.WHISKER, figures.HALO) >= SEEN
    for bar in (*COLOURS.values(), *OTHERS):
        assert max(contrast(figures.WHISKER, bar), contrast(figures.HALO, bar)) >= SEEN


def contrast(one: str, other: str) -> float:
    """How far apart two colours are in luminance, as WCAG has it: from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_intervals_are_drawn_as_they_are() -> None:
    rows = figures.drawn(moe.rows(synthetic_run({"numpy": 0.02, "mojo": 0.01}, noise=0.1)))
    (axes,) = bars(rows, "linear").axes.flat
    drawn = sorted(end for line in axes.lines for end in (np.nanmin(line.get_xdata()), np.nanmax(line.get_xdata())))
    assert drawn == pytest.approx(sorted([*rows.tokens_per_s_low, *rows.tokens_per_s_high]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (significant(1234567), "1,230,000"),
        (significant(0.00110), "0.00110"),
        (significant(99.96), "100"),
        (significant(9.996), "10.0"),
        (significant(0), "0"),
        (seconds(0.0123), "12.3 ms"),
        (seconds(2.5e-7), "250 ns"),
        (seconds(61), "61.0 s"),
        (percent(0.0314), "3.1 %"),
        (power_of_ten(3.9e-7), "3.9e-7"),
        (power_of_ten(1e-5), "1e-5"),
        (power_of_ten(0), "0"),
        (span(Interval(0.02, 0.019, 0.0215), 1e3), "20.0 [19.0–21.5]"),
        (times(Interval(1.5, 1.25, 2)), "1.50 × [1.25–2.00]"),
        (times(Interval(1.5, 0, float("inf"))), "1.50 × [?]"),
    ],
)
def test_numbers_as_text(text: str, expected: str) -> None:
    assert text == expected
