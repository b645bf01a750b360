"""The engine with real worker processes, on a problem small enough to be quick."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

import moe
from moe.analysis import summarise
from moe.implementations import parse_variant
from moe.measure import caches
from moe.measure.caches import CacheFlush, last_cache_bytes
from moe.measure.child import Child, WorkerFailedError
from moe.measure.engine import NOT_REACHED, require_threads
from moe.measure.plan import plan
from moe.measure.worker import Worker
from moe.run import Measurement, Run, RunFileError, load_run

TINY = moe.MoEConfig(tokens=6, d_model=8, d_ff=16, num_experts=3, top_k=2)
MISBEHAVING = Path(__file__).with_name("misbehaving.py")
QUICK = {"budget_s": 0.5, "processes": 1, "turn_s": 0.002, "warm_up_s": 0.0, "progress": False}


def measure(*names: str, **changed: object) -> Run:
    return moe.compare(list(names), TINY, **{**QUICK, **changed})  # type: ignore[arg-type]


def only(run: Run, label: str) -> Measurement:
    return next(m for m in run.measurements if m.label == label)


def test_a_run_has_everything(mojo: str, tmp_path: Path) -> None:
    run = measure("numpy", "mojo", threads=[1, 2], path=tmp_path / "run.json")
    assert run.complete
    assert [(m.label, m.threads) for m in run.measurements] == [
        *(("numpy", 1), ("mojo", 1), ("numpy", 2), ("mojo", 2)),
        *(("numpy (control)", 1), ("numpy (control)", 2)),
    ]
    for m in run.measurements:
        assert (m.status, m.reason, m.cache) == ("ok", "", "warm")
        assert m.parity is not None
        assert m.parity["passed"] is True
        assert set(m.processes) == {0}
        assert len(m.processes) == len(m.samples_s)
        for samples in m.samples_s:
            assert len(samples) >= 3
            assert sum(samples) >= 0.002
            assert min(samples) > 0
        assert m.prepare_s is not None
        assert m.prepare_s > 0
        assert m.first_call_s is not None
        assert m.peak_rss_bytes is not None
        assert m.peak_rss_bytes > 2**20
        assert all(pool["threads"] == m.threads for pool in m.details["pools"])
    assert len(only(run, "mojo").details["library"]["sha256"]) == 64
    assert load_run(tmp_path / "run.json") == run


def test_rounds_are_spread_over_processes() -> None:
    # A generation of these two workers takes some 3 s; the budget leaves room for a machine that is much slower.
    run = measure("numpy", budget_s=20.0, processes=2)
    assert [set(m.processes) for m in run.measurements] == [{0, 1}, {0, 1}]
    assert len(run.limits) == 2


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("Raises", "ArithmeticError: no luck today"),
        ("RaisesLater", "ArithmeticError: tired"),
        ("Exits", "exited with code 3: last words"),
        ("Killed", "killed by SIGKILL"),
        ("Segfaults", "killed by SIGSEGV"),
        ("Hangs", "stopped after 3 s without an answer"),
        ("WrongShape", "output has shape (5, 8), expected (6, 8)"),
        ("GivesNaN", "is not finite"),
        ("Reuses", "disagrees with the reference"),
        ("Stale", "disagrees with the reference"),
        ("TooManyThreads", "asked for 1 threads, but wrong kernel uses 7"),
    ],
)
def test_what_goes_wrong_costs_its_own_row(kind: str, reason: str) -> None:
    run = measure("numpy", f"{MISBEHAVING}:{kind}", timeout_s=3.0)
    failed = only(run, f"{MISBEHAVING}:{kind}")
    assert failed.status == "failed"
    assert reason in failed.reason
    assert only(run, "numpy").status == "ok"
    assert only(run, "numpy").samples_s
    assert run.complete


def test_what_disagrees_is_not_timed() -> None:
    run = measure("numpy", f"{MISBEHAVING}:Stale")
    assert only(run, f"{MISBEHAVING}:Stale").samples_s == []


def test_chatter_does_not_disturb() -> None:
    assert only(measure("numpy", f"{MISBEHAVING}:Prints"), f"{MISBEHAVING}:Prints").status == "ok"


def test_what_cannot_run_is_not_run() -> None:
    run = measure("numpy", f"{MISBEHAVING}:Absent")
    absent = only(run, f"{MISBEHAVING}:Absent")
    assert (absent.status, absent.reason) == ("not_run", "it is not there")
    assert run.complete


def test_rounds_are_shuffled_and_paired() -> None:
    run = measure("numpy", "python", budget_s=8.0)
    rounds = {len(m.samples_s) for m in run.measurements}
    assert len(rounds) == 1
    assert rounds.pop() > 3


def test_the_plan() -> None:
    variants = [parse_variant(n) for n in ("python", "torch", "torch[device=cuda]")]
    planned = plan(variants, moe.PRESETS["seed"], [1, 2])
    assert [(m.label, m.threads, m.config.tokens) for m in planned] == [
        ("python", 1, 8),
        ("torch", 1, 1024),
        ("torch", 2, 1024),
        ("torch[device=cuda]", 2, 1024),
        ("python (control)", 1, 8),
    ]
    assert {m.status for m in planned} == {"not_run"}


def test_what_can_use_none_of_the_threads_is_not_run() -> None:
    run = measure("numpy", "python", threads=[2])
    python = only(run, "python")
    assert (python.status, python.reason) == ("not_run", "it runs on 1 thread only")
    assert only(run, "numpy").status == "ok"


def test_a_forward_that_takes_too_long_is_not_run() -> None:
    run = measure("numpy", f"{MISBEHAVING}:Slow", timeout_s=2.0)
    slow = only(run, f"{MISBEHAVING}:Slow")
    assert slow.status == "not_run"
    assert "a turn would take about" in slow.reason


@pytest.mark.parametrize(
    ("pools", "message"),
    [
        ([{"name": "blas", "threads": 3}], "blas uses 3"),
        ([{"name": "kernel", "threads": 2}, {"name": "blas", "threads": 3}], "blas uses 3"),
        ([{"name": "blas", "threads": 1}], r"got fewer \(blas: 1\)"),
    ],
)
def test_threads_are_read_back(pools: list[dict[str, object]], message: str) -> None:
    with pytest.raises(WorkerFailedError, match=message):
        require_threads(pools, 2)


def test_an_idle_blas_may_have_fewer_threads_than_the_kernel_beside_it() -> None:
    require_threads([{"name": "blas", "threads": 2}, {"name": "kernel", "threads": 4}], 4)


def test_a_workers_memory_is_its_own() -> None:
    ballast = b"x" * (600 * 2**20)
    assert only(measure("numpy"), "numpy").peak_rss_bytes < len(ballast) / 2
    del ballast


def test_a_hung_worker_and_what_it_started_are_ended() -> None:
    child = Child(1)
    with pytest.raises(WorkerFailedError, match="without an answer"):
        child.receive(0.2)
    assert child._process.poll() is not None


@pytest.mark.parametrize(
    ("names", "changed", "message"),
    [
        ([], {}, "at least one implementation"),
        (["numpy", "numpy"], {}, "must not repeat"),
        (["numpy"], {"threads": [0]}, "threads must be whole numbers"),
        (["numpy"], {"cache": "cool"}, "cache must be warm or cold, got 'cool'"),
        (["numpy"], {"budget_s": 0}, "budget_s must be greater than 0, got 0"),
        (["numpy"], {"processes": -1}, "processes must be greater than 0"),
    ],
)
def test_wrong_arguments(names: list[str], changed: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        measure(*names, **changed)


def test_a_file_is_refused_replaced_or_continued(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    first = measure("numpy", path=path)
    with pytest.raises(RunFileError, match="--resume continues it"):
        measure("numpy", path=path)
    assert load_run(path) == first
    assert measure("numpy", path=path, resume=True) == first  # it was complete
    with pytest.raises(RunFileError, match="can't be continued, since measurements changed"):
        measure("python", path=path, resume=True)
    with pytest.raises(RunFileError, match="can't be continued, since turn_s changed"):
        measure("numpy", path=path, resume=True, turn_s=0.5)
    measure("python", path=path, force=True)
    assert load_run(path).measurements[0].label == "python"


def test_an_interrupted_run_is_kept_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    program = (
        "import moe; moe.compare(['numpy'], moe.MoEConfig(6, 8, 16, 3, 2), path="
        f"{str(path)!r}, budget_s=60, processes=2, progress=False, save_every_s=0.0)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (path.exists() and load_run(path).measurements[0].samples_s):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    kept = load_run(path)
    assert not kept.complete
    assert {(m.status, m.reason) for m in kept.measurements} <= {("ok", ""), ("not_run", NOT_REACHED)}
    rounds = len(kept.measurements[0].samples_s)
    assert rounds >= 1
    assert len({len(m.samples_s) for m in kept.measurements}) <= 2
    defaults = {"turn_s": 0.02, "warm_up_s": 0.1}
    continued = measure("numpy", path=path, resume=True, **{**defaults, "processes": 2, "budget_s": 3.0})
    assert continued.complete
    assert continued.measurements[0].samples_s[:rounds] == kept.measurements[0].samples_s
    assert set(continued.measurements[0].processes) == {0, 1}
    assert summarise(continued).controls


def test_workers_end_with_the_run() -> None:
    before = set(psutil.Process().children(recursive=True))
    measure("numpy", f"{MISBEHAVING}:Hangs", timeout_s=2.0)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_cold_caches_are_written_over_before_every_timed_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Recorded(CacheFlush):
        def write(self) -> float:
            before = [part.copy() for part in self._parts]
            seconds = super().write()
            assert sum(part.nbytes for part in self._parts) == 4 * last_cache_bytes()
            assert all((part == old + 1).all() for part, old in zip(self._parts, before, strict=True))
            done.append("write")
            return seconds

    monkeypatch.setattr(caches, "CacheFlush", Recorded)
    monkeypatch.setattr(caches, "cache_sizes", lambda: {"L3": 2**20})
    worker = Worker()
    worker.load("numpy", 1)
    worker.prepare(0, "numpy", asdict(TINY), 1, 2)
    layer = worker.prepared[0][0]
    forward = layer.forward
    layer.forward = lambda x: done.append("forward") or forward(x)
    samples = worker.turn(0, 0.0, 5, 0.0, "cold", 2)["samples"]
    assert done == ["forward", *["write", "forward"] * 5]  # the first warms up
    assert len(samples) == 5


def test_a_run_with_cold_caches_says_so() -> None:
    run = measure("numpy", cache="cold")
    assert {m.cache for m in run.measurements} == {"cold"}
    assert {m.status for m in run.measurements} == {"ok"}
