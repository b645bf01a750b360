"""Measuring a checkpoint's layer: from Python, from the shell, and going on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import moe
from moe.cli import main
from moe.measure.agreement import Referee
from moe.report import comparison
from moe.run import RunFileError

from .checkpoints import CONFIG, mixtral, write_folder

pytestmark = pytest.mark.usefixtures("brief")

QUICK: dict[str, Any] = {"processes": 1, "turn_s": 0.0, "turn_forwards": 1, "warm_up_s": 0.0, "warm_up_most_s": 0.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "tiny", mixtral(), CONFIG)
    return tmp_path / "tiny"


def test_workers_get_the_checkpoints_weights(folder: Path, tmp_path: Path) -> None:
    found = moe.load_checkpoint(folder, layer=1)
    referee = Referee(tmp_path, 2, found.weights)
    config = found.config(tokens=5)
    mapped = moe.measure.mapped.MappedWeights(referee.weights_at(config), config).take()
    for name, array in found.weights.arrays().items():
        assert np.array_equal(getattr(mapped, name), array)
    assert referee.references(config)[0].problem.weights is found.weights


def test_a_run_says_whose_weights_it_measured_and_goes_on_with_no_others(folder: Path, tmp_path: Path) -> None:
    found = moe.load_checkpoint(folder, layer=1)
    path = tmp_path / "run.json"
    run = moe.compare(["numpy"], found.config(3), checkpoint=found, path=path, budget_s=1, progress=False, **QUICK)
    assert [m.status for m in run.measurements] == ["ok", "ok"]
    assert run.protocol["checkpoint"] == found.origin
    assert str(tmp_path) not in path.read_text()
    again = moe.load_run(path)
    assert again.protocol["checkpoint"]["sha256"] == found.origin["sha256"]

    def go_on(checkpoint: moe.Checkpoint | None) -> moe.Run:
        more = QUICK | {"budget_s": 1, "progress": False, "path": path, "resume": True, "checkpoint": checkpoint}
        return moe.compare(["numpy"], found.config(3), **more)

    assert go_on(found).complete
    write_folder(folder, mixtral(seed=1), CONFIG)
    for other in (moe.load_checkpoint(folder, layer=1), None):
        with pytest.raises(RunFileError, match="can't be continued, since checkpoint changed"):
            go_on(other)


def test_only_its_own_layer_is_measured_with_its_weights(folder: Path) -> None:
    found = moe.load_checkpoint(folder, layer=1)
    for config in (moe.PRESETS["smoke"], moe.MoEConfig(3, 4, 6, 3, 2), found.config()):
        fits = config == found.config()
        if not fits:
            with pytest.raises(ValueError, match=r"layer 1 of tiny is .* only tokens can be chosen"):
                moe.compare(["numpy"], config, checkpoint=found, budget_s=1)
        else:
            found.require(config.with_tokens(99))
    with pytest.raises(ValueError, match="only tokens can be chosen"):
        moe.sweep(["numpy"], {"top_k": [1, 2]}, found.config(), checkpoint=found)
    with pytest.raises(ValueError, match="scheduler's workers have no checkpoint"):
        moe.sweep(["numpy"], {"tokens": [1]}, found.config(), checkpoint=found, scheduler="tcp://nowhere:1")


def test_from_the_shell(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whose = ["--checkpoint", str(folder), "--layer", "1"]
    quick = ["--budget", "1", "--anyway"]
    assert main(["bench", "numpy", *whose, "--config", "tokens=3", *quick, "--json", str(tmp_path / "a.json")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "layer 1 of tiny (mixtral)"
    run = moe.load_run(tmp_path / "a.json")
    assert {m.config.label for m in run.measurements} == {"T=3 d=4 f=6 E=3 k=2 expert=swiglu"}
    assert main(["sweep", "numpy", *whose, "--over", "tokens=1,2", *quick, "--json", str(tmp_path / "b.json")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "layer 1 of tiny (mixtral)"
    assert [m.config.tokens for m in moe.load_run(tmp_path / "b.json").measurements] == [1, 1, 2]
    assert main(["check", "numpy", "python", *whose, "--threads", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[5] for line in lines[:-1]] == ["T=0", "T=1", "T=16"] * 2
    assert lines[-1] == "6 agree with the reference, 0 failed, 0 not run"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "1"], "--checkpoint FOLDER and --layer N belong together"),
        (["--checkpoint", "tiny"], "--checkpoint FOLDER and --layer N belong together"),
        (["--checkpoint", "tiny", "--layer", "-1"], "the number of a layer like 3"),
        (["--checkpoint", "tiny", "--layer", "9"], "tiny: has no layer 9; layers: 0 to 1, with experts: 1"),
        (["--checkpoint", "tiny", "--layer", "0"], "layer 0 has no experts"),
        (["--checkpoint", "none", "--layer", "1"], "none/config.json: no such file"),
        (
            ["--checkpoint", "tiny", "--layer", "1", "--config", "seed"],
            "--config takes tokens=… and seed=…, got seed",
        ),
        (
            ["--checkpoint", "tiny", "--layer", "1", "--config", "d_model=4"],
            "--config takes tokens=… and seed=…, got d_model",
        ),
    ],
)
@pytest.mark.parametrize("command", ["bench", "sweep"])
def test_bad_input_leaves_with_2_and_one_line(
    command: str, arguments: list[str], said: str, folder: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(folder.parent)
    try:
        code: object = main([command, "numpy", *arguments])
    except SystemExit as leaving:
        code = leaving.code
    printed = capsys.readouterr()
    assert code == 2
    assert said in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_a_page_compares_on_a_checkpoints_weights(folder: Path) -> None:
    asked: dict[str, Any] = {"config": "tokens=3,seed=5", "checkpoint": str(folder), "layer": 1}
    effort = {"implementations": "numpy", "cuda": False, "threads": "1", "budget_s": 1.0, "processes": 1}
    found = comparison.arguments(**asked, **effort)
    assert found["config"] == moe.load_checkpoint(folder, layer=1).config(3, seed=5)
    assert found["checkpoint"].folder == "tiny"
    with pytest.raises(ValueError, match="layer must be a whole number of at least 0"):
        comparison.arguments(**asked | {"layer": -1}, **effort)
    assert comparison.arguments(**asked | {"checkpoint": ""}, **effort)["checkpoint"] is None
