"""What is said of sweeps whose times are known."""

from __future__ import annotations

import re
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup

import moe
from moe.analysis.scaling import Scaling
from moe.models import MODELS, title_of
from moe.report import scaling, scaling_views
from moe.report.style import COLOURS
from moe.run import Run

from .opposite import said
from .scaling_page import FIGURES, drawn
from .synthetic import synthetic_run
from .synthetic_pages import CALL_S, PROCESSES, a_sweep


def cells_of_line(found: Scaling, axis: str) -> list[int]:
    """The places on an axis of the cells along it."""
    return list(found.line(axis).drop_duplicates("cell")[axis])


def test_cells_are_found_again() -> None:
    found = Scaling(a_sweep())
    assert cells_of_line(found, "tokens") == [1, 16, 256, 1024]
    assert set(found.line("tokens").d_model) == {512}  # of several lines the one of the most work
    assert cells_of_line(found, "threads") == [1, 2]
    assert cells_of_line(found, "skew") == [0, 90]
    plane = found.plane("d_model")
    assert set(zip(plane.tokens, plane.d_model, strict=True)) == {
        (t, d) for t in (1, 16, 256, 1024) for d in (64, 256, 512)
    }
    plane = found.plane("num_experts")
    assert set(zip(plane.tokens, plane.num_experts, strict=True)) == {
        (t, e) for t in (1, 16, 256, 1024) for e in (4, 16, 64)
    }
    assert set(plane.d_ff) == {128}


def test_a_cell_is_the_whole_problem_where_a_variant_got_fewer_tokens() -> None:
    run = a_sweep()
    for m in run.measurements:
        if m.label == "numpy" and m.config.tokens == 1024:
            m.config = m.config.with_tokens(8)
    frame = moe.cells(run)
    fewer = frame[frame.tokens == 8]
    assert set(fewer.cell_tokens) == {1024}
    assert all(config.startswith("T=1024 ") for config in fewer.config)
    assert 8 not in set(Scaling(run).cells.tokens)
    assert 1024 in cells_of_line(Scaling(run), "tokens")


def test_a_run_without_cells_is_no_sweep() -> None:
    with pytest.raises(ValueError, match="no sweep"):
        moe.cells(synthetic_run({"numpy": 0.02, "mojo": 0.01}))


def test_the_fastest_is_only_named_where_it_is_told() -> None:
    even = Scaling(a_sweep(dict.fromkeys(CALL_S, 5e-6), dict.fromkeys(CALL_S, 1e11), noise=0.1)).problems
    assert sum(even.fastest == "") > len(even) / 2
    assert not even.resolved.any()
    assert set(Scaling(a_sweep()).problems.fastest) - {""} == {"mojo"}
    assert Scaling(a_sweep(noise=0.001)).problems.resolved.all()


def test_who_is_fastest_is_resolved_by_holm_over_all_cells() -> None:
    """What one cell by itself would call a difference, with p = 0.03, is none where all cells have it."""
    run = a_sweep({"numpy": 1.0, "torch": 1e-3, "mojo": 1e-3}, dict.fromkeys(CALL_S, 1e13), noise=0.0)
    for m in run.measurements:
        if m.label == "mojo":
            gains = np.exp(0.1 + 0.043 * np.arange(-2, 3))
            m.samples_s = [[s / gain for s in turn] for turn, gain in zip(m.samples_s, gains, strict=True)]
    alike = Scaling(run).problems
    assert (alike.ratio_low > 1).all()
    assert set(alike.fastest) == {""}
    assert not alike.resolved.any()
    run.measurements = [m for m in run.measurements if m.details["cell"] == 0]
    alone = Scaling(run).problems
    assert list(alone.fastest) == ["mojo"]
    assert alone.resolved.all()
    near = Scaling(a_sweep({"numpy": 1.0, "torch": 2e-6, "mojo": 1e-6}, dict.fromkeys(CALL_S, 1e13), noise=0.001))
    assert set(near.problems.fastest) <= {"", "mojo", "torch"}
    assert near.problems.resolved[near.problems.fastest != ""].all()  # the same two, and the same verdict


def test_a_row_alone_is_the_fastest_of_its_cell() -> None:
    alone = Scaling(a_sweep({"torch": 1e-4})).problems
    assert set(alone.fastest) == {"torch"}
    assert alone.ratio.isna().all()


def test_the_fastest_is_told_from_all_others_and_not_only_from_the_next() -> None:
    run = a_sweep({"numpy": 3e-3, "torch": 2e-3, "mojo": 1e-3}, dict.fromkeys(CALL_S, 1e13), noise=0.001)
    assert set(Scaling(run).problems.fastest) == {"mojo"}
    for m in run.measurements:
        if m.label == "numpy":  # behind both in the middle, and ahead of both in some rounds
            m.samples_s = [[s * by for s in turn] for turn, by in zip(m.samples_s, (1, 1, 1, 0.1, 0.1), strict=True)]
    unsure = Scaling(run).problems
    assert set(unsure.fastest) == {""}
    assert unsure.resolved.all()
    assert scaling_views.winners(Scaling(run)).endswith("the fastest is not resolved from all others.")


def test_in_a_cell_without_tokens_nothing_is_the_fastest() -> None:
    run = a_sweep(noise=0.001)
    for m in run.measurements:
        if m.details["cell"] == 0:
            m.config = m.config.with_tokens(0)
    cells = moe.cells(run)
    nothing = cells[cells.cell == 0]
    assert set(nothing.status) == {"ok"}
    assert nothing.tokens_per_s.isna().all()
    assert nothing.ratio.isna().all()
    assert set(nothing.fastest) == {""}
    assert set(cells[cells.cell != 0].fastest) == {"mojo"}


def test_a_disturbed_row_is_no_fastest_and_bends_no_growth() -> None:
    run = a_sweep()
    for m in run.measurements:
        if m.label == "mojo":
            m.disturbed = [True] * PROCESSES
    found = Scaling(run)
    assert set(found.problems.fastest) == {""}
    assert not found.problems.resolved.any()
    assert {g["label"]: not isnan(g["exponent_high"]) for g in found.growth("tokens")} == {
        "numpy": True,
        "torch": True,
        "mojo": False,
    }


def test_growth_pairs_processes_whatever_numbers_their_rounds_have() -> None:
    run = a_sweep(noise=0.002)
    plain = Scaling(run).growth("tokens")
    for number, m in enumerate(run.measurements):
        m.rounds = [number * 10 + process for process in range(PROCESSES)]
    assert Scaling(run).growth("tokens") == plain


def test_a_crossover_lies_where_another_becomes_the_fastest() -> None:
    run = a_sweep({"numpy": 5e-6, "torch": 100e-6, "mojo": 5e-3}, {"numpy": 5e10, "torch": 9e10, "mojo": 2e11})
    found = Scaling(run)
    pairs = [(a["tokens"], b["tokens"], a["fastest"], b["fastest"]) for a, b in found.changes()]
    assert pairs == [(1, 16, "numpy", "torch"), (256, 1024, "torch", "mojo")]
    assert "overtakes numpy" in scaling_views.crossovers(found)
    assert scaling_views.crossovers(Scaling(a_sweep())).startswith("Along tokens no change")


def test_growth_is_the_exponent() -> None:
    run = a_sweep(dict.fromkeys(CALL_S, 0.0), noise=0.002)
    for axis in ("tokens", "d_model"):
        measured = next(g for g in Scaling(run).growth(axis) if g["label"] == "mojo")
        assert measured["exponent"] == pytest.approx(1.0, abs=0.05)
        assert measured["exponent_low"] <= measured["exponent"] <= measured["exponent_high"]
    flat = a_sweep(dict.fromkeys(CALL_S, 1.0), noise=0.002)
    assert abs(Scaling(flat).growth("tokens")[0]["exponent"]) < 0.02
    assert "expected" in scaling_views.growth_table({"": Scaling(run)})


def test_more_threads_are_compared_with_the_fewest_and_skew_with_none() -> None:
    found = Scaling(a_sweep(dict.fromkeys(CALL_S, 0.0), noise=0.002))
    threads, skew = found.over_first("threads"), found.over_first("skew")
    assert list(threads.times[threads.threads == 2]) == pytest.approx([2.0] * 3, rel=0.01)
    assert list(skew.times[skew["skew"] == 90]) == pytest.approx([1.5] * 3, rel=0.01)
    first = threads[threads.threads == 1]
    assert list(first.times) == [1.0] * 3
    assert first.times_high.isna().all()
    assert (threads.times_low < threads.times)[threads.threads == 2].all()


def test_a_models_row_says_how_many_experts_are_held() -> None:
    table = BeautifulSoup(scaling_views.models_table({"": Scaling(a_sweep())}), "html.parser")
    assert len(table.select("tbody tr")) == 1
    names, cells = ([part.get_text() for part in table.select(kind)] for kind in ("th", "tbody td"))
    found = dict(zip(names, cells, strict=True))
    assert found["model"] == "OLMoE 1B-7B, 10 of 64 experts held"
    assert found["precision"] == "float32"
    assert all("× [" in found[f"mojo × {other}"] for other in ("numpy", "torch"))
    assert "% of memory" in found["% of limit"]
    assert title_of(MODELS["mixtral-8x7b"].config) == "Mixtral 8×7B"
    assert title_of(moe.PRESETS["seed"]) is None
    (caption,) = table.select("caption")
    assert caption.get_text() == scaling_views.AS_PUBLISHED


def test_a_run_from_before_layers_had_forms_says_that_it_has_a_models_shape_alone() -> None:
    run = a_sweep()
    for m in run.measurements:
        if title_of(m.config):
            m.config = moe.MoEConfig(m.config.tokens, 2048, 1024, m.config.num_experts, 8)
    table = BeautifulSoup(scaling_views.models_table({"": Scaling(run)}), "html.parser")
    assert table.select_one("tbody td").get_text() == "OLMoE 1B-7B, 10 of 64 experts held"  # type: ignore[union-attr]
    assert table.select_one("caption").get_text() == scaling_views.SHAPES_ALONE  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def unlike() -> tuple[Scaling, Scaling]:
    """Two sweeps that lead to opposite findings."""
    other = a_sweep(
        {"numpy": 5e-6, "torch": 20e-6, "mojo": 5e-3}, {"numpy": 3e11, "torch": 9e11, "mojo": 5e10}, 0.02, hot=3.0
    )
    other.machine["processor"] = "Slowium"
    for m in other.measurements:
        if m.threads == 1:
            m.samples_s = [[s * 4 for s in turn] for turn in m.samples_s]
    other.limits = [entry | {"flops_per_s": 9e11} for entry in other.limits]
    return Scaling(a_sweep()), Scaling(other)


@pytest.mark.parametrize(
    "function",
    [
        *(scaling_views.details, scaling_views.winners, scaling_views.crossovers),
        scaling_views.roofline,
        lambda found: scaling_views.along(found, "tokens", "tokens_per_s"),
        lambda found: scaling_views.along(found, "d_model", "latency_s"),
        lambda found: scaling_views.along(found, "threads", "times"),
        lambda found: scaling_views.along(found, "skew", "times"),
        lambda found: scaling_views.regime(found, "d_model"),
        lambda found: scaling_views.regime(found, "num_experts"),
    ],
)
def test_sentences_follow_the_run(function: Any, unlike: tuple[Scaling, Scaling]) -> None:
    one, other = unlike
    assert not said(function, one) & said(function, other)


@pytest.mark.long
def test_figures_are_drawn_of_much_and_of_nothing() -> None:
    run, nothing = a_sweep(noise=0.2), a_sweep()
    for m in nothing.measurements:
        m.status, m.samples_s, m.processes = "not_run", [], []
    nothing.limits = []
    grids = drawn({"much": run, "nothing": nothing})
    for name in FIGURES:
        full, empty = grids[name].axes.flat
        assert np.isfinite(full.dataLim.bounds).all()
        assert not np.isfinite(empty.dataLim.bounds).all()
        assert full.get_title().startswith("much: ")
        assert empty.get_title().startswith("nothing: ")
        assert "measured" in empty.get_title() or "not known" in empty.get_title()
        assert "much: " in grids["captions"][name]
        assert "nothing: " in grids["captions"][name]


def test_a_line_is_drawn_through_what_was_measured_with_its_interval() -> None:
    found = Scaling(a_sweep(noise=0.2))
    (axes,) = drawn({"": found.run}, ["tokens"])["tokens"].axes.flat
    own = found.line("tokens").query("label == 'mojo'")
    line = next(line for line in axes.lines if line.get_color() == COLOURS["mojo"] and len(line.get_xdata()) == 4)
    assert list(line.get_xdata()) == list(own.tokens)
    assert list(line.get_ydata()) == pytest.approx(list(own.tokens_per_s))
    bars = [bar.get_segments() for bar in axes.collections]
    ends = sorted(tuple(segment[:, 1]) for segments in bars for segment in segments if len(segment))
    for low, high in zip(own.tokens_per_s_low, own.tokens_per_s_high, strict=True):
        assert any((low, high) == pytest.approx(sorted(pair)) for pair in ends)
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        *("NumPy", "PyTorch", "Mojo", "the machine's limit"),
    }


def test_a_map_counts_what_there_is_and_nothing_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = scaling_views.regime(Scaling(a_sweep(noise=0.001)), "d_model")
    cells = r"12 cells of tokens and d_model \(d_ff 1024, 4 experts, 2.threads\)"
    assert re.fullmatch(rf"Mojo is faster than PyTorch in all {cells}: [\d.]+ to [\d.]+ ×\.", fast)
    even = a_sweep(dict.fromkeys(CALL_S, 5e-6), dict.fromkeys(CALL_S, 1e11), noise=0.1)
    none = scaling_views.regime(Scaling(even), "d_model")
    assert re.fullmatch(rf"Between Mojo and PyTorch nothing is resolved in {cells}\.", none)
    some = Scaling(a_sweep(noise=0.001))
    plane = some.plane("d_model").copy()
    plane.loc[plane.tokens == plane.tokens.max(), "resolved"] = False
    plane.loc[plane.tokens == plane.tokens.min(), "ratio"] = 0.5
    monkeypatch.setattr(some, "plane", lambda _: plane)
    assert re.fullmatch(
        rf"Mojo is faster than PyTorch in 6 and slower in 3 of {cells}: 0\.500 to [\d.]+ ×\. 3 are not resolved\.",
        scaling_views.regime(some, "d_model"),
    )
    one = plane.index[plane.resolved & (plane.ratio > 1)][0]
    plane = plane.assign(ratio=plane.ratio.where(plane.index == one))
    assert re.fullmatch(
        r"Mojo is faster than PyTorch in 1 cell of tokens and d_model \(.*\): [\d.]+ ×\.",
        scaling_views.regime(some, "d_model"),
    )


def test_a_map_says_on_how_many_threads_it_is_and_where_its_colours_end() -> None:
    (axes,) = drawn({"": a_sweep()}, ["tokens-d_model"])["tokens-d_model"].axes.flat
    assert axes.get_title() == "Mojo over PyTorch, times as fast, on 2\N{NO-BREAK SPACE}threads"
    (scale,) = axes.child_axes
    assert [tick.get_text() for tick in scale.get_xticklabels()] == ["≤ 1/16", "1/4", "1", "4", "≥ 16"]


def test_hatches_mark_what_is_not_told() -> None:
    def hatched(run: Run) -> int:
        (axes,) = drawn({"": run}, ["tokens-d_model"])["tokens-d_model"].axes.flat
        return sum(bool(patch.get_hatch()) for patch in axes.patches)

    assert hatched(a_sweep(noise=0.001)) == 0
    even = a_sweep(dict.fromkeys(CALL_S, 5e-6), dict.fromkeys(CALL_S, 1e11), noise=0.1)
    assert hatched(even) == 12


PARAMETERS: dict[str, Any] = {
    "token_counts": "1, 16",
    "d_models": "8, 16",
    "experts": "4, 8",
    "skews": "0, 90",
    "models": "",
    "model_tokens": "1",
    "model_precisions": "float32, bfloat16",
    "model_mib": 1,
    "threads": "1,2",
    "variants": "numpy, mojo[simd=off,tile=off]",
    "budget_s": 5.0,
    "processes": 1,
}


def test_parameters_become_grids() -> None:
    asked = scaling.arguments(**PARAMETERS)
    assert asked["implementations"] == ["numpy", "mojo[simd=off,tile=off]"]
    assert [sorted(grid) for grid in asked["over"]] == [
        *(["threads", "tokens"], ["skew", "threads", "tokens"]),
        *(["d_model", "threads", "tokens"], ["d_ff", "d_model", "num_experts", "threads", "tokens"]),
    ]


def test_a_models_cells_are_in_each_precision_and_come_last() -> None:
    *_, last = scaling.arguments(**PARAMETERS | {"models": "olmoe-1b-7b", "model_tokens": "1, 16"})["over"]
    assert [config.num_experts < 64 for config in last["config"]] == [True]
    assert (last["tokens"], last["precision"]) == ([1, 16], ["float32", "bfloat16"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"token_counts": "1, many"}, "token_counts must be whole numbers"),
        ({"models": "mixtral"}, "did you mean mixtral-8x7b"),
        ({"variants": "nunpy"}, "did you mean numpy"),
        ({"skews": "101"}, "axis skew must be a whole number of at least 0, at most 100, got 101"),
    ],
)
def test_wrong_parameters_are_refused(changed: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scaling.arguments(**PARAMETERS | changed)


def test_the_page_has_every_cell(smoke: Path) -> None:
    run = moe.load_run(smoke / "scaling.json")
    page = BeautifulSoup((smoke / "scaling.html").read_text(), "html.parser")
    assert len(page.select("#T_cells tbody tr")) == len(Scaling(run).problems) > 5
    assert len(page.select('figure svg[role="img"]')) == len(FIGURES)
