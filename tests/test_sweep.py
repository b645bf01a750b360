"""Grids and sweeps: their cells, their order, and what an interruption leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import moe
from moe.cli import main
from moe.measure.grid import cells_of, read_axes
from moe.models import MODELS, held
from moe.run import NOT_REACHED, OVER_BUDGET, Run, RunFileError, load_run

from .conftest import validate_run

pytestmark = pytest.mark.usefixtures("brief")

MISBEHAVING = Path(__file__).with_name("misbehaving.py")
TINY = moe.MoEConfig(4, 8, 16, 3, 2)
QUICK: dict[str, Any] = {"processes": 1, "turn_s": 0.0, "turn_forwards": 1, "warm_up_s": 0.0, "warm_up_most_s": 0.0}


def test_cells_are_all_combinations_with_the_ends_first() -> None:
    cells, left_out = cells_of(TINY, {"tokens": [1, 2, 3, 4, 5], "threads": [1, 2]})
    assert not left_out
    assert {(cell.config.tokens, cell.threads) for cell in cells} == set(product(range(1, 6), (1, 2)))
    assert [cell.config.tokens for cell in cells] == [1, 1, 5, 5, 3, 3, 2, 2, 4, 4]
    assert all(cell.config == TINY.with_tokens(cell.config.tokens) for cell in cells)


def test_a_map_is_coarse_before_it_is_fine() -> None:
    cells, _ = cells_of(TINY, {"tokens": list(range(1, 10)), "d_model": list(range(1, 10))})
    assert {(c.config.tokens, c.config.d_model) for c in cells[:4]} == set(product((1, 9), (1, 9)))
    assert {(c.config.tokens, c.config.d_model) for c in cells[:9]} == set(product((1, 5, 9), (1, 5, 9)))
    assert {(c.config.tokens, c.config.d_model) for c in cells[:25]} == set(product((1, 3, 5, 7, 9), (1, 3, 5, 7, 9)))


def test_what_no_layer_can_have_is_left_out_and_named() -> None:
    cells, left_out = cells_of(TINY, {"num_experts": [1, 4], "top_k": [1, 2]})
    assert len(cells) == 3
    assert left_out == ["num_experts=1, top_k=2: top_k must be at most num_experts (1), got 2"]


def test_knobs_are_axes_too() -> None:
    axes = read_axes(["precision=float32,bfloat16", "expert=relu,swiglu", "scale=1,2.5", "renormalise=true,false"])
    cells, left_out = cells_of(TINY, axes)
    knobs = {(c.config.precision, c.config.expert, c.config.scale, c.config.renormalise) for c in cells}
    assert knobs == set(product(("float32", "bfloat16"), ("relu", "swiglu"), (1.0, 2.5), (True, False)))
    assert not left_out
    cells, left_out = cells_of(TINY, {"groups": [1, 2], "renormalise": [True]})
    assert [cell.config for cell in cells] == [TINY]
    assert left_out == ["groups=2, renormalise=true: groups must divide num_experts (3), got 2"]


def test_the_axis_config_takes_presets_and_models() -> None:
    cells, _ = cells_of(TINY, read_axes(["config=seed,olmoe-1b-7b", "tokens=1,16"]))
    shapes = {(c.config.tokens, c.config.d_model, c.config.num_experts) for c in cells}
    assert shapes == {(1, 256, 4), (16, 256, 4), (1, 2048, 64), (16, 2048, 64)}


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["tokens"], "an axis must look like tokens=1,16,256, got 'tokens'"),
        (["tokens="], "must look like"),
        (["token=1"], "did you mean tokens"),
        (["tokens=1", "tokens=2"], "given twice"),
        (["tokens=1,x"], "axis tokens must have whole numbers, got 'x'"),
        (["tokens=1,1"], "must not repeat"),
        (["config=sead"], "did you mean seed"),
        (
            ["expert=relu,swigloo"],
            "axis expert must be one of relu, .*, swiglu-oai, got 'swigloo'",
        ),
        (["renormalise=maybe"], "axis renormalise must be true or false, got 'maybe'"),
        (["scale=1,two"], "axis scale must be a number, got 'two'"),
        (["threads=1,0"], "axis threads must be a whole number of at least 1, at most 4096, got 0"),
    ],
)
def test_a_wrong_axis_is_refused(axes: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=message):
        cells_of(TINY, read_axes(axes))
    assert main(["sweep", "numpy", *(word for axis in axes for word in ("--over", axis))]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_models_experts_are_as_published_or_as_many_as_fit() -> None:
    config = MODELS["mixtral-8x7b"].config
    assert (config.d_model, config.d_ff, config.num_experts, config.top_k) == (4096, 14336, 8, 2)
    one = 3 * 4096 * 14336 * 4
    assert held(config, 100 * one) == config
    assert held(config, 3.5 * one).num_experts == 3
    assert held(config, 0).num_experts == config.top_k
    grouped = MODELS["deepseek-v3"].config
    assert held(grouped, 0).num_experts == 16  # of which four of eight groups hold the eight that a token takes
    assert held(grouped, 30 * grouped.expert_weights * 4).num_experts == 24


def rounds(run: Run) -> dict[tuple[int, str, bool], int]:
    return {(m.details["cell"], m.label, m.control): len(set(m.rounds)) for m in run.measurements}


@pytest.mark.long
def test_a_sweep_is_a_run_of_all_its_cells(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    wrong = f"{MISBEHAVING}:GivesNaN"
    axes: dict[str, list[str | int]] = {"tokens": [1, 4], "threads": [1, 2]}
    run = moe.sweep(["numpy", wrong], axes, TINY, path=path, progress=False, budget_s=30, **QUICK | {"processes": 2})
    validate_run(json.loads(path.read_text()))
    assert load_run(path) == run
    assert run.complete
    good = [m for m in run.measurements if m.label.startswith("numpy")]
    assert len(good) == 6
    assert {(m.config.tokens, m.threads) for m in good} == set(product((1, 4), (1, 2)))
    assert [m.details["cell"] for m in good if m.control] == [0, 1]
    assert all(m.status == "ok" and set(m.processes) == {0, 1} for m in good)
    assert all(m.parity and m.parity["passed"] for m in good)
    bad = [m for m in run.measurements if m.label == wrong]
    assert {m.status for m in bad} == {"failed"}
    assert all("disagrees with the reference" in m.reason for m in bad)
    assert {entry["threads"] for entry in run.limits} == {1, 2}
    with pytest.raises(RunFileError, match="exists"):
        moe.sweep(["numpy"], axes, TINY, path=path)


@pytest.mark.long
def test_a_budget_that_runs_out_leaves_cells_for_a_continuation(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    axes = {"tokens": list(range(1, 61))}  # six seconds of turns alone
    run = moe.sweep(["numpy"], axes, TINY, path=path, progress=False, budget_s=4.0, **QUICK | {"turn_s": 0.1})
    left = [m for m in run.measurements if m.status == "not_run"]
    assert left
    assert {m.code for m in left} <= {NOT_REACHED, OVER_BUDGET}
    assert not load_run(path).complete
    whole = moe.sweep(
        ["numpy"], axes, TINY, path=path, resume=True, progress=False, budget_s=60, **QUICK | {"turn_s": 0.1}
    )
    assert {m.status for m in whole.measurements} == {"ok"}
    assert whole.complete
    kept = {m.details["cell"]: m.samples_s for m in run.measurements if m.status == "ok" and not m.control}
    assert kept
    assert kept.items() <= {m.details["cell"]: m.samples_s for m in whole.measurements if not m.control}.items()


def test_what_memory_or_time_cannot_take_is_skipped_with_the_reason(tmp_path: Path) -> None:
    sizes = {"config": ["seed", "mixtral-8x7b"], "tokens": [1, 10_000_000]}
    run = moe.sweep(["numpy"], sizes, progress=False, budget_s=5, memory_bytes=2**30, **QUICK)
    found = {(m.config.d_model, m.config.tokens): (m.status, m.reason) for m in run.measurements}
    assert found[256, 1] == ("ok", "")
    assert found[256, 10_000_000][0] == "not_run"
    assert "left out for want of memory: about" in found[256, 10_000_000][1]
    assert "left out for want of memory: about" in found[4096, 1][1]
    slow = moe.sweep(["numpy"], {"tokens": [1, 300_000]}, progress=False, budget_s=5, **QUICK)
    assert [m.status for m in slow.measurements if not m.control] == ["ok", "not_run"]
    assert "left out for want of time: about" in slow.measurements[-1].reason
    assert not slow.complete


CELLS = 200
PROGRAM = """
import sys
import moe
tiny = moe.MoEConfig(4, 8, 16, 3, 2)
effort = {"processes": 1, "turn_s": 0.0, "turn_forwards": 1, "warm_up_s": 0.0, "warm_up_most_s": 0.0}
axes = {"tokens": range(1, 51), "d_model": [4, 8], "top_k": [1, 2]}
moe.sweep(["numpy"], axes, tiny, path=sys.argv[1], resume=True, progress=False, budget_s=300, **effort)
"""


@pytest.mark.long
def test_a_killed_sweep_measures_every_cell_once(tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    seen: dict[int, list[list[float]]] = {}
    while len(seen) < CELLS / 2:
        assert time.monotonic() < deadline
        assert first.poll() is None
        if path.exists():  # at every moment it is whole
            run = load_run(path)
            seen = {m.details["cell"]: m.samples_s for m in run.measurements if m.status == "ok" and not m.control}
    first.send_signal(signal.SIGKILL)
    first.wait()
    killed = load_run(path)
    done = {m.details["cell"]: m.samples_s for m in killed.measurements if m.status == "ok" and not m.control}
    assert CELLS / 2 <= len(done) < CELLS
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    run = load_run(path)
    assert run.complete
    assert len(rounds(run)) == CELLS + 1
    assert set(rounds(run).values()) == {1}
    assert {m.status for m in run.measurements} == {"ok"}
    after = {m.details["cell"]: m.samples_s for m in run.measurements if not m.control}
    assert done.items() <= after.items()
