"""What is said of sweeps whose times are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bs4 import BeautifulSoup

import moe
from moe.analysis.scaling import Scaling
from moe.implementations import parse_variant
from moe.measure.grid import cells_of
from moe.measure.plan import plan_cells
from moe.models import MODELS, held, title_of
from moe.report import scaling, scaling_figures, scaling_views
from moe.run import Run

from .synthetic import MACHINE, PARITY, PROTOCOL
from .test_sentences import said

PROCESSES = 5
GRIDS: list[dict[str, Any]] = [
    {"tokens": [1, 16, 256, 1024], "d_model": [64, 256, 512], "threads": [2]},
    {"tokens": [1, 16, 256, 1024], "num_experts": [4, 16, 64], "threads": [2], "d_model": [64], "d_ff": [128]},
    {"tokens": [1024], "threads": [1, 2]},
    {"tokens": [256], "skew": [0, 90], "threads": [2]},
    {"config": [held(MODELS["olmoe-1b-7b"].config, 2**28)], "tokens": [16], "threads": [2]},
]
CALL_S = {"numpy": 50e-6, "torch": 100e-6, "mojo": 5e-6}
FLOPS_PER_S = {"numpy": 5e10, "torch": 9e10, "mojo": 1e11}


def a_sweep(
    call_s: dict[str, float] = CALL_S, rate: dict[str, float] = FLOPS_PER_S, noise: float = 0.01, hot: float = 1.5
) -> Run:
    """A forward takes a call and its operations at a rate: half on two threads, `hot` times as long when skewed."""
    random = np.random.default_rng(4)
    cells = list(dict.fromkeys(cell for grid in GRIDS for cell in cells_of(moe.PRESETS["seed"], grid)[0]))
    measurements = plan_cells([parse_variant(name) for name in call_s], cells)
    for m in measurements:
        seconds = call_s[m.implementation] + m.config.flops / rate[m.implementation] / m.threads
        seconds *= hot if m.config.skew else 1.0
        m.status, m.reason, m.parity = "ok", "", PARITY
        m.processes = list(range(PROCESSES))
        m.samples_s = [[float(seconds * np.exp(random.normal(0, noise)))] * 3 for _ in range(PROCESSES)]
        m.others_cores, m.stolen_cores = [0.0] * PROCESSES, [0.0] * PROCESSES
        m.details["lines"] = {"Python": 100}
    rates = {2**22: 1e11, 2**27: 2e10}
    probes = [{"bytes": size, "read_bytes_per_s": r, "triad_bytes_per_s": r} for size, r in rates.items()]
    limits = [{"threads": t, "by": "probes", "flops_per_s": t * 1.2e11, "bandwidth": probes} for t in (1, 2)]
    protocol = {**PROTOCOL, "threads": [1, 2], "processes": PROCESSES}
    return Run(dict(MACHINE), {"moe": "1", "python": "3"}, protocol, measurements, limits, complete=True)


def test_cells_are_found_again() -> None:
    found = Scaling(a_sweep())
    assert [c.config.tokens for c in found.line("tokens", lambda c: c.threads == 2 and c.config.d_model == 256)] == [
        *(1, 16, 256, 1024),
    ]
    assert [c.threads for c in found.line("threads")] == [1, 2]
    assert [c.config.skew for c in found.line("skew")] == [0, 90]
    assert set(found.plane("tokens", "d_model")) == {(t, d) for t in (1, 16, 256, 1024) for d in (64, 256, 512)}
    assert set(found.plane("tokens", "num_experts")) == {(t, e) for t in (1, 16, 256, 1024) for e in (4, 16, 64)}
    assert found.plane("tokens", "num_experts")[1, 64].config.d_ff == 128


def test_the_fastest_is_only_named_where_it_is_told() -> None:
    even = a_sweep(dict.fromkeys(CALL_S, 5e-6), dict.fromkeys(CALL_S, 1e11), noise=0.1)
    assert sum(cell.fastest is None for cell in Scaling(even).cells) > len(Scaling(even).cells) / 2
    assert not any(cell.resolved for cell in Scaling(even).cells)
    assert {cell.fastest.label for cell in Scaling(a_sweep()).cells if cell.fastest} == {"mojo"}
    assert all(cell.resolved for cell in Scaling(a_sweep(noise=0.001)).cells)


def test_who_is_fastest_is_resolved_by_holm_over_all_cells() -> None:
    """What one cell by itself would call a difference, with p = 0.03, is none where all cells have it."""
    run = a_sweep({"numpy": 1.0, "torch": 1e-3, "mojo": 1e-3}, dict.fromkeys(CALL_S, 1e13), noise=0.0)
    for m in run.measurements:
        if m.label == "mojo":
            gains = np.exp(0.1 + 0.043 * np.arange(-2, 3))
            m.samples_s = [[s / gain for s in turn] for turn, gain in zip(m.samples_s, gains, strict=True)]
    alike = Scaling(run)
    assert all(cell.lead and cell.lead.excludes(1.0) for cell in alike.cells)
    assert not any(cell.fastest or cell.resolved for cell in alike.cells)
    run.measurements = [m for m in run.measurements if m.details["cell"] == 0]
    assert [cell.fastest.label for cell in Scaling(run).cells if cell.fastest and cell.resolved] == ["mojo"]
    near = Scaling(a_sweep({"numpy": 1.0, "torch": 2e-6, "mojo": 1e-6}, dict.fromkeys(CALL_S, 1e13), noise=0.001))
    for cell in near.cells:
        assert cell.leaders == {"mojo", "torch"}
        assert cell.fastest is None or cell.resolved  # the same two, and the same verdict


def test_a_row_alone_is_the_fastest_of_its_cell() -> None:
    assert all(cell.fastest and not cell.lead for cell in Scaling(a_sweep({"torch": 1e-4})).cells)


def test_a_disturbed_row_is_no_fastest_and_bends_no_growth() -> None:
    run = a_sweep()
    for m in run.measurements:
        if m.label == "mojo":
            m.disturbed = [True] * PROCESSES
    found = Scaling(run)
    assert not any(cell.fastest or cell.resolved for cell in found.cells)
    assert {g.label: g.exponent.bounded for g in found.growth("tokens")} == {
        "numpy": True,
        "torch": True,
        "mojo": False,
    }


def test_growth_pairs_processes_whatever_numbers_their_rounds_have() -> None:
    run = a_sweep(noise=0.002)
    plain = Scaling(run).growth("tokens")
    for number, m in enumerate(run.measurements):
        m.rounds = [number * 10 + process for process in range(PROCESSES)]
    assert [g.exponent for g in Scaling(run).growth("tokens")] == [g.exponent for g in plain]


def test_a_crossover_lies_where_another_becomes_the_fastest() -> None:
    run = a_sweep({"numpy": 5e-6, "torch": 100e-6, "mojo": 5e-3}, {"numpy": 5e10, "torch": 9e10, "mojo": 2e11})
    found = Scaling(run)
    pairs = [
        (a.config.tokens, b.config.tokens, a.fastest.label, b.fastest.label)
        for a, b in found.changes()
        if a.fastest and b.fastest
    ]
    assert pairs == [(1, 16, "numpy", "torch"), (256, 1024, "torch", "mojo")]
    assert "overtakes numpy" in scaling_views.crossovers(found)
    assert scaling_views.crossovers(Scaling(a_sweep())).startswith("Along tokens no other")


def test_growth_is_the_exponent() -> None:
    run = a_sweep(dict.fromkeys(CALL_S, 0.0), noise=0.002)
    by_axis = {(g.axis, g.label): g for axis in ("tokens", "d_model") for g in Scaling(run).growth(axis)}
    for axis in ("tokens", "d_model"):
        measured = by_axis[axis, "mojo"]
        assert measured.exponent.value == pytest.approx(1.0, abs=0.05)
        assert measured.exponent.bounded
    flat = a_sweep(dict.fromkeys(CALL_S, 1.0), noise=0.002)
    assert abs(Scaling(flat).growth("tokens")[0].exponent.value) < 0.02
    assert "expected" in scaling_views.growth_table({"": Scaling(run)})


def test_a_models_row_says_how_many_experts_are_held() -> None:
    table = BeautifulSoup(scaling_views.models_table({"": Scaling(a_sweep())}), "html.parser")
    (row,) = table.select("tbody tr")
    cells = [cell.get_text() for cell in row.find_all("td")]
    assert cells[0] == "OLMoE 1B-7B, 16 of 64 experts held"
    assert "% of" not in cells[0]
    assert "[" in cells[5]
    assert "%" in cells[6]
    assert title_of(MODELS["mixtral-8x7b"].config) == "Mixtral 8×7B"
    assert title_of(moe.PRESETS["seed"]) is None


@pytest.mark.parametrize(
    "function",
    [
        *(scaling_views.headline, scaling_views.winners, scaling_views.extremes, scaling_views.crossovers),
        *(scaling_views.throughput, scaling_views.roofline, scaling_views.threads, scaling_views.skew),
        lambda found: scaling_views.regime(found, "d_model"),
        lambda found: scaling_views.regime(found, "num_experts"),
    ],
)
def test_sentences_follow_the_run(function: Any) -> None:
    other = a_sweep(
        {"numpy": 5e-6, "torch": 20e-6, "mojo": 5e-3}, {"numpy": 3e11, "torch": 9e11, "mojo": 5e10}, 0.02, hot=3.0
    )
    other.machine["processor"] = "Slowium"
    for m in other.measurements:
        if m.threads == 1:
            m.samples_s = [[s * 4 for s in turn] for turn in m.samples_s]
    other.limits = [entry | {"flops_per_s": 9e11} for entry in other.limits]
    assert not said(function, Scaling(a_sweep())) & said(function, Scaling(other))


FIGURES = [
    *(scaling_figures.throughput, scaling_figures.roofline, scaling_figures.threads, scaling_figures.skew),
    scaling_figures.speed_and_lines,
    *(
        lambda found: scaling_figures.regime(found, "d_model"),
        lambda found: scaling_figures.regime(found, "num_experts"),
    ),
]


@pytest.mark.parametrize("figure", FIGURES)
def test_figures_are_drawn_of_much_and_of_nothing(figure: Any, tmp_path: Path) -> None:
    run = a_sweep(noise=0.2)
    figure(Scaling(run)).savefig(tmp_path / "much.png")
    run.measurements, run.limits = [], []
    figure(Scaling(run)).savefig(tmp_path / "nothing.png")


def test_hatches_mark_what_is_not_told() -> None:
    def hatched(run: Run) -> int:
        figure = scaling_figures.regime(Scaling(run), "d_model")
        return sum(bool(patch.get_hatch()) for patch in figure.axes[0].patches)

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
    assert len(page.select("#T_cells tbody tr")) == len(Scaling(run).cells) > 5
    assert len(page.find_all("img")) == len(FIGURES)
