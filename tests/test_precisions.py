"""float32 beside bfloat16 in a breakdown: what is planned, what a made run gives, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import moe
from moe.analysis import factors
from moe.analysis.breakdown import CONTROLLED, Breakdown
from moe.implementations import parse_variant
from moe.measure.plan import plan
from moe.report import breakdown, figures, tables
from moe.report.findings import breakdown as said
from moe.run import Measurement, Run

from .synthetic import MACHINE, PARITY, PROTOCOL

SEED = moe.PRESETS["seed"]
ROUNDS = 12
SECONDS = {1: 2e-3, 256: 2e-2}
PEAK = 1e11
# Of one token reading takes longer than arithmetic, of 256 it does not.
GAINS = {("mojo", 1): 1.9, ("torch", 1): 1.0, ("mojo", 256): 1.5, ("torch", 256): 0.25}


def a_run(
    gains: Mapping[tuple[str, int], float] = GAINS, peak_times: float = 2.0, noise: float = 0.01, tokens: int = 1024
) -> Run:
    """Each implementation gains so much by bfloat16; the layer itself is measured with `tokens`."""
    random = np.random.default_rng(4)
    layer = SEED.with_tokens(tokens)
    further = [(parse_variant(name), size) for name, size in breakdown.in_both(layer, "1, 256")]
    measurements = plan([parse_variant(CONTROLLED)], layer, [1], further)
    for m in measurements:
        gain = gains.get((m.label, m.config.tokens), 1.0) if m.config.precision == "bfloat16" else 1.0
        seconds = SECONDS.get(m.config.tokens, 0.1) / gain
        m.status, m.parity, m.processes = "ok", PARITY, [i * 4 // ROUNDS for i in range(ROUNDS)]
        m.samples_s = [[float(seconds * np.exp(random.normal(0, noise)))] * 3 for _ in range(ROUNDS)]
        m.others_cores = m.stolen_cores = [0.0] * ROUNDS
    bandwidth = [{"bytes": 2**22, "read_bytes_per_s": 1e10, "triad_bytes_per_s": 1e10}]
    limits = {"threads": 1, "by": "probes", "flops_per_s": PEAK, "bandwidth": bandwidth}
    limits["bfloat16_flops_per_s"] = PEAK * peak_times
    versions = {"moe": "1", "python": "3"}
    return Run(dict(MACHINE), versions, dict(PROTOCOL), measurements, [limits], complete=True)


def row_of(run: Run, label: str, tokens: int, precision: str = "bfloat16") -> Measurement:
    return next(
        m for m in run.measurements if (m.label, m.config.tokens, m.config.precision) == (label, tokens, precision)
    )


def lines_of(run: Run) -> list[str]:
    return said.precisions(factors.precisions(run))


def test_both_precisions_of_the_layer_are_measured_at_few_and_at_many_tokens() -> None:
    planned = breakdown.in_both(SEED, "256, 1")
    assert [(name, size.tokens, size.precision) for name, size in planned] == [
        (name, tokens, precision)
        for tokens in (1, 256)
        for precision in ("float32", "bfloat16")
        for name in ("mojo", "torch")
    ]
    assert {replace(size, precision="float32", tokens=1) for _, size in planned} == {SEED.with_tokens(1)}
    assert breakdown.in_both(SEED, " ") == []


def test_what_bfloat16_gives_comes_back_from_a_run() -> None:
    rows = factors.precisions(a_run(noise=0.0))
    assert len(rows) == 8
    half = rows[rows.precision == "bfloat16"].set_index(["label", "tokens"])
    assert half.times.to_dict() == pytest.approx(GAINS)
    assert rows[rows.precision == "float32"].times.isna().all()
    assert half.limit_times.tolist() == pytest.approx([2.0] * 4)  # half the bytes, and twice the peak
    assert half.bound.to_dict() == {place: "memory" if place[1] == 1 else "arithmetic" for place in GAINS}
    config = replace(SEED, tokens=256)
    whole = rows[(rows.label == "mojo") & (rows.tokens == 256)].set_index("precision")
    assert whole.share_of_peak["float32"] == pytest.approx(config.flops / PEAK / SECONDS[256])
    assert whole.share_of_peak["bfloat16"] == pytest.approx(config.flops / (2 * PEAK) / SECONDS[256] * 1.5)
    assert whole.share_of_bandwidth["float32"] == pytest.approx(config.expected_bytes / 1e10 / SECONDS[256], rel=1e-3)


def test_sentences_say_what_binds_and_who_gains_or_loses() -> None:
    few, many = lines_of(a_run())
    assert few.startswith(
        "At 1 token on 1 thread memory is the limit in both precisions: with half the bytes, and a peak 2.00 × "
        "float32's by this run's probes, bfloat16 could be 2.00 × as fast. What it gives: Mojo 1.89 ×"
    )
    assert few.split("; ")[1].startswith("PyTorch 1.0") or few.split("; ")[1].startswith("PyTorch 0.99")
    assert few.endswith("not resolved.")
    assert tables.precisions(factors.precisions(a_run())).count("(not resolved)</td>") == 1
    assert many.startswith("At 256 tokens on 1 thread arithmetic is the limit in both precisions")
    assert many.endswith(", slower.")
    assert "not resolved" not in many


def test_a_limit_may_be_another_in_each_precision() -> None:
    _, many = lines_of(a_run(peak_times=16.0))
    assert "arithmetic is the limit in float32 and memory in bfloat16" in many
    assert "a peak 16.0 × float32's" in many
    few, many = lines_of(a_run(peak_times=1.0))
    assert "with half the bytes, and the same peak by this run's probes, bfloat16 could be 2.00 × as fast." in few
    assert "and the same peak by this run's probes, bfloat16 could be no faster." in many


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    run = a_run()
    for tokens in (1, 256):
        torch = row_of(run, "torch", tokens)
        torch.status, torch.reason, torch.samples_s = "not_run", "PyTorch is not installed", []
    first = row_of(run, "mojo", 256, "float32")
    first.status, first.reason = "failed", "killed by SIGSEGV"
    few, many = lines_of(run)
    assert few.endswith("PyTorch can't be told (bfloat16 not run, PyTorch is not installed).")
    assert "Mojo can't be told (float32 failed, killed by SIGSEGV)" in many
    rows = factors.precisions(run)
    assert len(figures.precisions(rows)) == 1
    assert "killed by SIGSEGV" in tables.precisions(rows)


def test_one_process_decides_nothing() -> None:
    run = a_run()
    for m in run.measurements:
        m.processes = [0] * ROUNDS
    few, _ = lines_of(run)
    assert "Mojo about 1.9 ×, without an interval" in few
    assert not factors.precisions(run).resolved.any()


def test_without_probes_no_limit_is_named() -> None:
    run = a_run()
    run.limits = []
    few, _ = lines_of(run)
    assert few.startswith("At 1 token on 1 thread the machine's limits were not measured. What it gives: Mojo 1.89 ×")
    assert factors.precisions(run).share_of_peak.isna().all()
    assert figures.precisions(factors.precisions(run)).on.iloc[0] == "at 1 token"
    assert "1.89" in tables.precisions(factors.precisions(run))


def test_what_a_layer_notes_about_itself_is_said() -> None:
    run = a_run()
    row_of(run, "mojo", 1).details["note"] = "bfloat16 widened in registers"
    few, many = lines_of(run)
    assert "Mojo (bfloat16 widened in registers) 1.89 ×" in few
    assert "widened" not in many


def test_a_run_without_it_says_that_it_was_not_asked_for() -> None:
    run = a_run()
    run.measurements = [m for m in run.measurements if m.label == CONTROLLED]
    rows = factors.precisions(run)
    assert said.precisions(rows) == ["What bfloat16 gives in place of float32 was not asked for in this run."]
    assert figures.precisions(rows).empty
    assert "none was measured" in tables.precisions(rows)


def test_a_figure_has_a_panel_for_each_number_of_tokens_and_the_limit_in_it() -> None:
    drawn = figures.precisions(factors.precisions(a_run()))
    assert list(dict.fromkeys(drawn.on)) == ["at 1 token, limited by memory", "at 256 tokens, limited by arithmetic"]
    assert list(drawn.name) == ["Mojo", "PyTorch"] * 2
    assert drawn.limit.tolist() == pytest.approx([2.0] * 4)


def test_the_other_experiments_of_a_run_know_nothing_of_it() -> None:
    run = a_run(tokens=256)  # as many as precisions are compared at
    found = Breakdown(run)
    assert [row.label for row in found.summary.rows] == [CONTROLLED]
    assert factors.overheads(found.run).empty
    assert not found.asked_for(found.mojo)
    assert "1 measurements beside those of overhead and of both precisions" in said.what_is_measured(found)
