"""The table of models' layers: what is measured for it, and what it says of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import moe
from moe import shapes
from moe.cli import main
from moe.implementations import parse_variant
from moe.measure.grid import cells_of
from moe.measure.plan import plan_cells
from moe.models import MODELS, held
from moe.report.marks import models_table
from moe.run import Run, load_run

from .synthetic import MACHINE, PARITY, PROTOCOL

OLMOE = held(MODELS["olmoe-1b-7b"].config, 2**28)
AXES: dict[str, list[Any]] = {
    "config": [OLMOE, moe.config("seed,expert=swiglu")], "tokens": [16, 1], "precision": ["bfloat16", "float32"],
    "threads": [2, 1],
}  # fmt: skip
PROCESSES = 5


def a_sweep() -> Run:
    """zentorch takes half of the kernel's time on OLMoE's layer, and twice of it on the other; torch did not run."""
    cells, _ = cells_of(moe.PRESETS["seed"], AXES)
    measurements = plan_cells([parse_variant(name) for name in ("torch", "mojo", "zentorch")], cells)
    for m in measurements:
        if m.implementation == "torch":
            m.reason = "PyTorch is not installed"
            continue
        factor = 1.0 if m.implementation == "mojo" else 0.5 if m.config.num_experts > 4 else 2.0
        m.status, m.reason, m.parity = "ok", "", PARITY
        m.details |= {"note": "its fused operator"} if m.implementation == "zentorch" else {}
        m.processes = list(range(PROCESSES))
        m.samples_s = [[factor * m.config.tokens * 1e-3 / m.threads * (1 + i / 1000)] for i in range(PROCESSES)]
        m.others_cores, m.stolen_cores, m.waited = [0.0] * PROCESSES, [0.0] * PROCESSES, [None] * PROCESSES
    protocol = {**PROTOCOL, "threads": [1, 2], "processes": PROCESSES}
    return Run(dict(MACHINE), {"moe": "1", "python": "3"}, protocol, measurements, complete=True)


def lines_below(text: str, head: str) -> list[list[str]]:
    """The cells of each line of the table that begins with `head`."""
    own = text[text.index(f"| {head} |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in own]


def test_a_line_for_each_layer_precision_and_number_of_tokens() -> None:
    text = models_table(a_sweep())
    one, two = (lines_below(text, head) for head in ("1 thread", "2 threads"))
    seed, olmoe = "d=256 f=1024 E=4 k=2 expert=swiglu", "OLMoE 1B-7B, 10 of 64 experts held"
    order = [(name, p, t) for name in (seed, olmoe) for p in ("float32", "bfloat16") for t in ("1", "16")]
    assert [tuple(line[:3]) for line in one] == [tuple(line[:3]) for line in two] == order
    for line in (*one, *two):
        kernel, torch, zentorch = line[3:]
        assert torch == "–"
        assert zentorch.startswith("2.00 × [" if line[0] == seed else "**0.500 × [")
        assert "[?]" not in kernel
    assert one[1][3].startswith("16.0 [")
    assert two[1][3].startswith("8.0")
    assert text.count("torch: not run, PyTorch is not installed") == 1
    assert text.count("- zentorch, bfloat16: its fused operator") == 1


def test_what_did_not_run_has_a_line_a_reason_and_says_where_if_it_is_one_place() -> None:
    run = a_sweep()
    late = [m for m in run.measurements if m.label != "torch" and (m.config, m.threads) == (OLMOE.with_tokens(1), 2)]
    assert len(late) > 1
    for m in late:
        m.status, m.reason, m.samples_s, m.processes = "not_run", "no time was left", [], []
    *_, everywhere, there = sorted(models_table(run).splitlines()[-2:], reverse=True)
    assert everywhere == "- torch: not run, PyTorch is not installed"
    olmoe = "OLMoE 1B-7B, 10 of 64 experts held"
    assert there == f"- mojo, zentorch: not run, no time was left ({olmoe}, {OLMOE.with_tokens(1).label}, 2 threads)"


def test_a_page_gets_the_table_between_its_marks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{shapes.MODELS_MARK}\nstale\n{shapes.MODELS_MARK}\nafter\n")
    arguments = ["peers", "--models", "--folder", str(tmp_path), "--page", str(page)]
    assert main(arguments) == 2
    assert "`moe peers --models` writes it" in capsys.readouterr().err
    a_sweep().save(tmp_path / shapes.MODELS)
    assert main(arguments) == 0
    assert "| 2 threads | precision | T | mojo | torch | zentorch |" in page.read_text()
    assert "stale" not in page.read_text()


def test_what_is_measured_is_every_layer_with_as_many_experts_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(shapes, "sweep", lambda names, axes, **rest: asked.append(axes | rest) or a_sweep())
    common = ["--folder", str(tmp_path), "--anyway", "--budget", "3"]
    assert main(["peers", "--models", *common]) == 0
    assert main(["peers", "--models", "granite-3.0-1b-a400m", "--threads", "2", *common]) == 0
    assert main(["peers", "--models", "granite", *common]) == 2
    *every, one = asked
    assert [len(sweep["config"]) for sweep in every] == [1] * 2 * len(shapes.MODEL_SHAPES)
    layers = [sweep["config"][0] for sweep in every]
    assert layers[::2] == layers[1::2]
    assert [(c.num_experts, c.d_model) for c in layers[::2]] == [(4, 256), (32, 1024), (16, 2048), (21, 2048)]
    assert {sweep["budget_s"] for sweep in asked} == {3}
    assert [sweep["threads"] for sweep in every] == [[1], [2]] * len(shapes.MODEL_SHAPES)
    assert (one["config"], one["threads"]) == ([MODELS["granite-3.0-1b-a400m"].config], [2])
    assert {sweep["precision"] for sweep in every} == {("float32", "bfloat16")}
    assert (tmp_path / shapes.MODELS).exists()


def test_layers_of_earlier_runs_stay_unless_they_were_measured_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(experts: int, python: str) -> set[int]:
        """The numbers of experts in the file, after a sweep of a layer that has so many."""
        run = a_sweep()
        run.measurements = [m for m in run.measurements if m.config.num_experts == experts]
        run.versions["python"] = python
        monkeypatch.setattr(shapes, "sweep", lambda *_, **__: run)
        name = "olmoe-1b-7b" if experts > 4 else "seed,expert=swiglu"
        assert main(["peers", "--models", name, "--threads", "2", "--folder", str(tmp_path), "--anyway"]) == 0
        return {m.config.num_experts for m in load_run(tmp_path / shapes.MODELS).measurements}

    olmoe = OLMOE.num_experts
    assert measured(olmoe, "3") == {olmoe}
    assert measured(4, "3") == {olmoe, 4}
    assert measured(olmoe, "4") == {olmoe}
