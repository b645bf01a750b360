"""A run's file while it grows: what saving costs, full disks, and what an interruption says."""

from __future__ import annotations

import errno
import json
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import moe
from moe import processor
from moe.cli import main
from moe.measure import agreement, bench, saving
from moe.measure.child import Child
from moe.measure.saving import SHARE, RunEndedError, RunInterrupted, Saving
from moe.measure.worker import Worker
from moe.run import Measurement, Run, load_run

from .synthetic import synthetic_run

pytestmark = pytest.mark.usefixtures("brief")

TINY = "tokens=4,d_model=8,d_ff=16,num_experts=3,top_k=2"
BENCH = ["bench", "numpy", "--config", TINY, "--budget", "0.5", "--anyway", "--json"]
QUICK: dict[str, Any] = {"processes": 2, "turn_s": 0.0, "turn_forwards": 1, "warm_up_s": 0.0, "warm_up_most_s": 0.0}
FULL = OSError(errno.ENOSPC, "No space left on device")


class Hours:
    """A clock of a run on which saving takes a second for every ten thousand samples; no file is written."""

    def __init__(self, run: Run, monkeypatch: pytest.MonkeyPatch, every_s: float = 5.0) -> None:
        self.run, self.now, self.saved_s = run, 1000.0, 0.0
        monkeypatch.setattr(saving.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(Run, "save", self._save)
        self.saving = Saving(run, Path("run.json"), every_s)

    def _save(self, path: Path, *, force: bool) -> None:
        took_s = 0.01 + 1e-4 * sum(len(turn) for m in self.run.measurements for turn in m.samples_s)
        self.now += took_s
        self.saved_s += took_s

    def measure(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            self.run.measurements[0].samples_s.append([1e-6] * 20)
            self.saving.save_if_due()


@pytest.mark.parametrize("every_s", [0.0, 5.0])
def test_saving_takes_no_more_than_its_share_of_a_run(every_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(synthetic_run({"numpy": 1.0}, rounds=2), monkeypatch, every_s)
    with hours.saving.lasting():
        hours.measure(3600)
        before_s = hours.saved_s
    assert hours.saved_s - before_s > 7  # of every sample, at the end
    assert 10 < hours.saved_s < SHARE * 3600


def test_a_file_holds_what_a_dataclass_does() -> None:
    run = synthetic_run({"numpy": 1.0}, rounds=2)
    expected = json.loads(json.dumps(asdict(run)))
    for m, written in zip(run.measurements, expected["measurements"], strict=True):
        written["config"] = m.config.to_dict()
    assert json.loads(run.to_json()) == expected


def full_after(saves: int, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A disk that is full in one folder after some saves."""
    save = Run.save
    count = iter(range(1000))

    def fails(run: Run, path: Path, *, force: bool = False) -> None:
        if Path(path).parent == folder and next(count) >= saves:
            raise FULL
        save(run, path, force=force)

    monkeypatch.setattr(Run, "save", fails)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setattr(saving.tempfile, "gettempdir", lambda: str(folder))
    return folder


def test_a_full_disk_costs_no_numbers(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full_after(1, monkeypatch, tmp_path)
    assert main([*BENCH, str(tmp_path / "run.json")]) == 1
    printed = capsys.readouterr()
    (kept,) = elsewhere.glob("run-*.json")
    assert "baseline" in printed.out
    expected = f"moe: {tmp_path}/run.json can't be written (No space left on device): the run is in {kept}\n"
    assert printed.err == expected
    assert load_run(kept).measurements[0].samples_s
    assert not load_run(tmp_path / "run.json").complete  # as it was saved last, and whole


def test_a_disk_that_is_full_for_a_while_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hours = Hours(synthetic_run({"numpy": 1.0}, rounds=2), monkeypatch)
    with hours.saving.lasting():
        monkeypatch.setattr(Run, "save", lambda *_, **__: (_ for _ in ()).throw(FULL))
        hours.measure(100)
        monkeypatch.setattr(Run, "save", hours._save)
        hours.measure(1)


def test_where_nothing_can_be_written_numbers_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = Run.save
    done: list[Path] = []

    def once(run: Run, path: Path, *, force: bool = False) -> None:
        if done:
            raise FULL
        done.append(path)
        save(run, path, force=force)

    monkeypatch.setattr(Run, "save", once)
    assert main([*BENCH, str(tmp_path / "run.json")]) == 1
    printed = capsys.readouterr()
    assert "baseline" in printed.out
    assert printed.err.endswith("there is no room elsewhere either\n")


def test_a_merged_run_that_cannot_be_written_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    axes = {"tokens": [1]}
    moe.sweep(["numpy"], axes, moe.MoEConfig(4, 8, 16, 3, 2), path=tmp_path / "a.json", progress=False, **QUICK)
    full_after(0, monkeypatch, tmp_path / "full")
    assert main(["merge", str(tmp_path / "a.json"), "--json", str(tmp_path / "full" / "b.json")]) == 1
    printed = capsys.readouterr()
    assert "numpy" in printed.out
    assert "No space left on device" in printed.err
    assert printed.err.count("\n") == 1


def test_files_of_a_cell_are_let_go_of_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[str]] = []
    write = agreement.write_weights

    def looking(weights: moe.Weights, path: Path) -> None:
        found.append([file.name for file in path.parent.iterdir()])
        write(weights, path)

    monkeypatch.setattr(agreement, "write_weights", looking)
    axes = {"seed": [0, 1, 2]}
    run = moe.sweep(["numpy", "python"], axes, moe.MoEConfig(4, 8, 16, 3, 2), progress=False, budget_s=30, **QUICK)
    assert {m.status for m in run.measurements} == {"ok"}
    assert found == [[], [], []]


def test_a_worker_lets_go_of_a_file_that_a_circle_holds(tmp_path: Path) -> None:
    config = moe.MoEConfig(4, 8, 16, 3, 2)
    agreement.write_weights(moe.make_problem(config).weights, tmp_path / "weights")
    served = Worker()
    served.prepare(0, "numpy", asdict(config), 1, str(tmp_path / "weights"), 2)
    mapped, layer = served.prepared[0].weights, served.prepared[0].layer
    layer.circle = layer
    del layer
    assert mapped._pages() is not None
    assert served.release(0) == {"changed": False}
    assert mapped._pages() is None


@pytest.mark.long
def test_a_cell_without_room_is_left_out_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = agreement.write_weights

    def full_for_wide_ones(weights: moe.Weights, path: Path) -> None:
        if weights.d_ff == 32:
            raise FULL
        write(weights, path)

    monkeypatch.setattr(agreement, "write_weights", full_for_wide_ones)
    command = ["sweep", "numpy", "--config", TINY, "--over", "d_ff=16,24,32", "--budget", "30", "--anyway"]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert printed.out.count("no room for it here: [Errno 28] No space left on device") == 1
    assert printed.out.count("tokens/s") >= 2


def outputs_cannot_be_saved(monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    receive = Child.receive
    sent: list[str] = []
    send = Child.send

    def sending(child: Child, name: str, **arguments: Any) -> None:
        sent.append(name)
        send(child, name, **arguments)

    def receiving(child: Child, timeout: float) -> dict[str, Any]:
        reply = receive(child, timeout)
        if sent[-1] == operation:
            raise OSError("an output could not be saved ([Errno 28] No space left on device)")
        return reply

    monkeypatch.setattr(Child, "send", sending)
    monkeypatch.setattr(Child, "receive", receiving)


def test_a_run_whose_outputs_find_no_room_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs_cannot_be_saved(monkeypatch, "outputs")
    assert main(BENCH[:-1]) == 1
    assert "not run: no room for it here: an output could not be saved" in capsys.readouterr().out


@pytest.mark.parametrize("saves", ["outputs", "kept"])
def test_a_worker_tells_a_full_disk_from_a_failure(saves: str, tmp_path: Path) -> None:
    child = Child(1)
    config = moe.MoEConfig(4, 8, 16, 3, 2)
    agreement.write_weights(moe.make_problem(config).weights, tmp_path / "weights")
    what = {"number": 0, "variant": "numpy", "threads": 1, "config": asdict(config), "inputs": 2}
    try:
        child.ask("prepare", timeout=60, weights=str(tmp_path / "weights"), **what)
        child.ask("draw", timeout=60, number=0, secret=1, count=2)
        if saves == "kept":
            child.ask("timed", timeout=60, number=0, keep=1)
        with pytest.raises(OSError, match="an output could not be saved"):
            child.ask(saves, timeout=60, number=0, path="/dev/full/0.npz")
    finally:
        child.kill()


@pytest.mark.parametrize("name", ["outputs", "weights"])
def test_what_found_no_room_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    referee = agreement.Referee(tmp_path, 2)
    config = moe.MoEConfig(4, 8, 16, 3, 2)
    if name == "outputs":

        def ask(operation: str, path: str) -> dict[str, Any]:
            assert operation == "outputs"
            Path(path).write_bytes(b"half of a file")
            return {"marks": []}

        with pytest.raises(bench.WorkerFailedError, match="no array"):
            referee.judge_first(ask, Measurement("numpy", "numpy", {}, config, 1))
        assert [path.name for path in tmp_path.iterdir()] == [referee.weights_at(config).name]
        return
    monkeypatch.setattr(agreement, "make_weights", lambda _: Halves(moe.make_problem(config).weights))
    with pytest.raises(OSError, match="No space left"):
        referee.weights_at(config)
    assert not list(tmp_path.iterdir())


class Halves:
    """Weights whose second half does not fit."""

    def __init__(self, weights: moe.Weights) -> None:
        self.gate = weights.gate

    def arrays(self) -> Halves:
        return self

    def values(self) -> Iterator[Any]:
        yield self.gate
        raise FULL


@pytest.mark.parametrize("command", [["bench"], ["sweep", "--over", "threads=1"]])
def test_what_this_process_cannot_judge_is_not_run(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processor, "usable_memory", lambda: 1000)
    assert main([*command, "numpy", "--config", TINY, "--budget", "5", "--anyway"]) == 0
    assert "not run: no room for it here: comparing takes about " in capsys.readouterr().out


def interrupting(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Ctrl-C within a turn, after some of them, none of which is repeated on a busy machine."""
    monkeypatch.setattr(bench.Bench, "_may_repeat", lambda *_: False)
    turn = bench.Bench._time
    count = iter(range(1000))

    def interrupted(*arguments: Any) -> Any:
        if next(count) == after:
            raise KeyboardInterrupt
        return turn(*arguments)

    monkeypatch.setattr(bench.Bench, "_time", interrupted)


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*BENCH, "{path}"], "saved as {path}; to go on, give the same command --resume"),
        (
            [*BENCH, "{path}", "--force"],
            "saved as {path}; to go on, give the same command --resume in place of --force",
        ),
        (BENCH[:-1], "nothing was saved: --json FILE saves it"),
        (
            ["sweep", "numpy", "--config", TINY, "--over", "tokens=1,2", "--json", "{path}", "--anyway"],
            "saved as {path}; to go on, give the same command --resume",
        ),
    ],
)
def test_an_interruption_says_what_is_kept_and_how_to_go_on(
    command: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(tmp_path / "run.json")
    interrupting(monkeypatch, 12 if "sweep" in command else 1)
    assert main([word.format(path=path) for word in command]) == 130
    printed = capsys.readouterr()
    assert printed.err == f"moe: interrupted: {message.format(path=path)}\n"
    assert "numpy" in printed.out
    if "{path}" in command:
        assert any(m.samples_s for m in load_run(path).measurements)


OLMOE = ["--checkpoint", "a model", "--layer", "0"]


@pytest.mark.parametrize(
    ("given", "left"),
    [
        (["numpy", "torch", "mojo"], "torch mojo"),
        (["--threads", "1,2", "numpy", "torch", "mojo"], "torch mojo --threads 1,2"),
        (["numpy", "torch", "mojo[simd=off]", "--threads=2"], "torch 'mojo[simd=off]' --threads 2"),
        (["numpy", "torch", "--threads", "2", *OLMOE], "torch --threads 2 --checkpoint 'a model' --layer 0"),
    ],
)
def test_an_interrupted_check_says_what_is_left(
    given: list[str], left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def check(*_: object) -> Any:
        yield moe.check.Check("numpy", "seed", 1, "ok", "")
        yield moe.check.Check("torch", "seed", 1, "ok", "")
        raise KeyboardInterrupt

    monkeypatch.setattr(moe.check, "check", check)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("moe.checkpoint.load_checkpoint", lambda *_, **__: None)
    assert main(["check", *given]) == 130
    expected = f"moe: interrupted: what was checked stands above; to go on, moe check {left}\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("raised", "code", "begins"),
    [
        (KeyboardInterrupt, 130, "moe: interrupted: "),
        (lambda: RunEndedError(synthetic_run({"numpy": 1.0}, rounds=2), "full"), 1, "moe: full; "),
    ],
)
def test_a_report_that_ends_early_says_where_its_runs_are(
    raised: Callable[[], BaseException],
    code: int,
    begins: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from moe.report import pipeline

    def measure(**_: object) -> Run:
        raise raised()

    monkeypatch.setattr(pipeline, "REPORTS", tmp_path)
    experiments = {"scaling": pipeline.Notebook(pipeline.scaling.arguments, pipeline.claims.findings, "", measure)}
    monkeypatch.setattr(pipeline, "EXPERIMENTS", experiments)
    assert main(["report", "--profile", "smoke", "--anyway"]) == code
    (folder,) = tmp_path.iterdir()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"{begins}what was measured is in {folder}; moe report --from {folder} makes pages of it"


def test_how_a_run_ended_can_be_sent() -> None:
    run = synthetic_run({"numpy": 1.0}, rounds=2)
    found = pickle.loads(pickle.dumps(RunEndedError(run, "full")))
    assert (str(found), found.run) == ("full", run)


def measured(run: Run, path: Path, sample: float, ended: BaseException) -> None:
    with Saving(run, path).lasting():
        run.measurements[0].samples_s[0] = [sample]
        raise ended


def test_whatever_ends_a_run_it_is_saved(tmp_path: Path) -> None:
    run = synthetic_run({"numpy": 1.0}, rounds=2)
    for error, expected in ((KeyboardInterrupt(), RunInterrupted), (FULL, RunEndedError), (KeyError("x"), KeyError)):
        path = tmp_path / f"{expected.__name__}.json"
        before = time.monotonic()
        with pytest.raises(expected):
            measured(run, path, before, error)
        assert load_run(path).measurements[0].samples_s[0] == [before]
