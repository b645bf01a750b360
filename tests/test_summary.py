from __future__ import annotations

import pytest

import moe
from moe.analysis import Interval, summarise
from moe.report import figures, sentences, tables
from moe.report.text import percent, power_of_ten, seconds, significant, span, times

from .synthetic import synthetic_run

TIMES = {"python": 40.0, "numpy": 0.02, "torch": 0.025, "mojo": 0.01}


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
    row = summarise(synthetic_run(TIMES)).row("mojo", 1)
    assert row is not None
    assert row.throughput is not None
    assert row.throughput.value == pytest.approx(102_400)
    assert row.flops_per_s == pytest.approx(moe.PRESETS["seed"].flops / 0.01)


def test_resolution_is_never_less_than_the_widest_interval_shown() -> None:
    quiet, noisy = (summarise(synthetic_run(TIMES, noise=n)) for n in (0.0, 0.2))
    assert quiet.resolution == pytest.approx(0)
    assert noisy.resolution is not None
    assert noisy.resolution >= max(r.latency.half_width for r in noisy.measured if r.latency)


def test_too_few_rounds_resolve_nothing() -> None:
    summary = summarise(synthetic_run(TIMES, rounds=3))
    assert summary.resolution is None
    assert "too few rounds" in " ".join(sentences.headline(summary))
    assert "[?]" in tables.results(summary)


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


def test_the_headline_compares_mojo_with_the_fastest_of_the_others() -> None:
    one = summarise(synthetic_run({"numpy": 0.02, "torch": 0.025, "mojo": 0.01}, (1, 2)))
    other = summarise(synthetic_run({"numpy": 0.02, "torch": 0.005, "mojo": 0.03}, (1, 2), noise=0.05))
    assert "mojo is 2.00 ×" in " ".join(sentences.headline(one))
    assert "The fastest on 1 thread is torch" in " ".join(sentences.headline(other))


def test_where_nothing_was_resolved_the_report_says_so() -> None:
    summary = summarise(synthetic_run({"numpy": 0.02, "torch": 0.02, "mojo": 0.02}, noise=0.1))
    assert "torch no difference resolved" in " ".join(sentences.headline(summary))
    assert "no difference resolved" in tables.results(summary)


def test_what_is_missing_is_named_with_its_reason() -> None:
    run = synthetic_run(TIMES)
    mojo = next(m for m in run.measurements if m.label == "mojo")
    mojo.status, mojo.reason, mojo.samples_s, mojo.processes = "not_run", "no <compiler> here", [], []
    summary = summarise(run)
    assert "mojo on 1 thread: not run, no <compiler> here" in sentences.not_measured(summary)
    assert "no &lt;compiler&gt; here" in tables.results(summary)
    assert "was not measured" in sentences.scaling(summary)
    assert figures.scaling(summary)


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
    assert summary.resolution is None
    assert "numpy (control) on 1 thread: failed, killed by SIGKILL" in sentences.headline(summary)


def test_a_report_of_nothing_says_so() -> None:
    run = synthetic_run({"numpy": 0.02})
    for m in run.measurements:
        m.status, m.reason, m.samples_s, m.processes = "failed", "gone", [], []
    summary = summarise(run)
    for figure in (figures.latency(summary), figures.speedup(summary), figures.scaling(summary)):
        assert (
            "nothing" in figure.axes[0].texts[0].get_text() or "no throughput" in figure.axes[0].texts[0].get_text()
        )
    assert sentences.latency(summary) == "Nothing was measured."
    assert sentences.agreement(summary)
    assert sentences.what_is_measured(summary)
    assert "failed" in tables.results(summary)


def test_names_are_text_in_tables() -> None:
    run = synthetic_run(TIMES)
    run.measurements[1].label = "<script>alert(1)</script>"
    run.machine["processor"] = "<script>"
    html = tables.results(summarise(run)) + tables.machine(summarise(run))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_figures_show_every_measured_row() -> None:
    summary = summarise(synthetic_run(TIMES, (1, 2)))
    for figure in (figures.latency(summary), figures.throughput(summary)):
        axes = figure.axes[0]
        assert [t.get_text() for t in axes.get_yticklabels()] == [
            "python (8 of 1,024 tokens)",
            "numpy",
            "torch",
            "mojo",
        ]
        assert len(axes.texts) == len(summary.measured)
        assert axes.get_xscale() == "log"
        assert "log scale" in axes.get_xlabel()


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
