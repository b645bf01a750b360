"""Measuring with real worker processes, on a problem small enough to be quick."""

from __future__ import annotations

import dataclasses
import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pytest

import moe
from moe.analysis import summarise
from moe.implementations import parse_variant
from moe.measure import caches, conditions, lines, worker
from moe.measure import child as children
from moe.measure.bench import NOT_REACHED_REASON
from moe.measure.caches import CacheFlush, last_cache_bytes
from moe.measure.child import Child, WorkerFailedError
from moe.measure.conditions import Watch
from moe.measure.mapped import write_weights
from moe.measure.plan import plan
from moe.measure.threads import require_threads
from moe.measure.worker import Worker, settle
from moe.measure.workers import Workers
from moe.report import sentences
from moe.run import Measurement, NotRunError, Run, RunFileError, load_run

from .conftest import briefly

pytestmark = pytest.mark.usefixtures("brief")

TINY = moe.MoEConfig(tokens=6, d_model=8, d_ff=16, num_experts=3, top_k=2)
MISBEHAVING = Path(__file__).with_name("misbehaving.py")
QUICK = {"budget_s": 0.5, "processes": 1, "turn_s": 0.002, "warm_up_s": 0.0, "progress": False}


class SystemTimes(NamedTuple):
    """As psutil gives them on Linux."""

    user: float = 0.0
    system: float = 0.0
    idle: float = 0.0
    iowait: float = 0.0
    steal: float = 0.0
    guest: float = 0.0


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
        turns = (m.processes, m.samples_s, m.rounds, m.capacities, m.disturbed, m.waited)
        assert len({len(values) for values in turns}) == 1
        assert all(rate is None or rate > 0 for pair in m.capacities for rate in pair or ())
        assert m.details["memory_of"] == [m.implementation]
        for samples in m.samples_s:
            assert len(samples) >= 3
            assert min(samples) > 0
        assert m.prepare_s is not None
        assert m.prepare_s > 0
        assert m.first_call_s is not None
        assert m.peak_rss_bytes is not None
        assert m.peak_rss_bytes > 2**20
        assert all(pool["threads"] == m.threads for pool in m.details["pools"])
    assert len(only(run, "mojo").details["library"]["sha256"]) == 64
    assert load_run(tmp_path / "run.json") == run


def test_a_form_is_measured_as_the_published_layer_is(tmp_path: Path) -> None:
    knobs = "expert=swiglu,precision=bfloat16,biases=true,shared_d_ff=8,score=sigmoid,select_bias=true,groups=2"
    config = moe.config(f"tokens=6,d_model=8,d_ff=16,num_experts=4,top_k=2,{knobs}")
    run = moe.compare(["numpy", "python"], config, path=tmp_path / "run.json", **QUICK)  # type: ignore[arg-type]
    assert load_run(tmp_path / "run.json") == run
    for label, note in (("numpy", "bfloat16 widened to float32"), ("python", "bfloat16 widened to float64")):
        m = only(run, label)
        assert (m.status, m.config, m.details["note"]) == ("ok", config, note)
        assert m.parity is not None
        assert m.parity["tolerance"] == 0.02
        assert m.details["bytes_moved"] <= config.bytes_for(4)
    frame = run.to_frame()
    assert set(frame.precision) == {"bfloat16"}
    assert frame.select_bias.all()


@pytest.mark.long
def test_rounds_are_spread_over_processes() -> None:
    # A generation of these two workers takes a second or two; limits are measured again after five.
    run = measure("numpy", budget_s=9.0, processes=2)
    (processes,) = {frozenset(m.processes) for m in run.measurements}
    assert processes == set(range(len(processes))) >= {0, 1}
    assert len(run.limits) >= 2


WRONG = {
    "Raises": "ArithmeticError: no luck today",
    "RaisesLater": "ArithmeticError: tired",
    "Exits": "exited with code 3: last words",
    "Killed": "killed by SIGKILL",
    "Segfaults": "killed by SIGSEGV",
    "Hangs": "stopped after 4 s without an answer",
    "WrongShape": "output has shape (5, 8), expected (6, 8)",
    "GivesNaN": "is not finite",
    "Reuses": "disagrees with the reference",
    "Stale": "disagrees with the reference",
    "TooManyThreads": "asked for 1 threads, but wrong kernel uses 7",
    "TakesMoreThreads": "asked for 1 threads, but openblas",
    "HoldsMemory": "MiB of memory, 300 allowed",
}


@pytest.fixture(scope="module")
def wrong() -> Run:
    """One run of all that goes wrong, beside NumPy."""
    names = [f"{MISBEHAVING}:{kind}" for kind in WRONG]
    with briefly():
        return measure("numpy", *names, timeout_s=4.0, memory_bytes=300 * 2**20)


@pytest.mark.long
@pytest.mark.parametrize("kind", WRONG)
def test_what_goes_wrong_costs_its_own_row_and_is_named(kind: str, wrong: Run) -> None:
    failed = only(wrong, f"{MISBEHAVING}:{kind}")
    assert failed.status == "failed"
    assert WRONG[kind] in failed.reason
    named = f"{failed.label} on 1 thread, {failed.config.label}: failed, {failed.reason}"
    assert named in sentences.trust(summarise(wrong), wrong)
    assert named in sentences.without_numbers(wrong)
    assert only(wrong, "numpy").status == "ok"
    assert only(wrong, "numpy").samples_s
    assert wrong.complete


@pytest.mark.long
def test_a_worker_that_died_is_started_again_for_its_other_variants() -> None:
    variants = [f"{MISBEHAVING}:DiesOnce[dies={dies}]" for dies in ("no", "yes")]
    run = measure(*variants, budget_s=6.0)
    well, ill = (only(run, label) for label in variants)
    assert (ill.status, ill.reason) == ("failed", "exited with code 5")
    assert (well.status, well.reason) == ("ok", "")
    rounds = {label: len(set(only(run, label).rounds)) for label in (variants[0], f"{variants[0]} (control)")}
    assert len(set(ill.rounds)) < min(rounds.values())
    assert len(set(rounds.values())) == 1


def test_variants_of_an_implementation_share_a_worker_and_a_control_has_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Measurement] = []
    begin = Workers.start

    def start(self: Workers, m: Measurement) -> bool:
        new = begin(self, m)
        if new:
            started.append(m)
        return new

    monkeypatch.setattr(Workers, "start", start)
    run = measure("numpy", "numpy[dtype=float64]", threads=[1, 2])
    assert {m.status for m in run.measurements} == {"ok"}
    assert [(m.label, m.threads) for m in started] == [
        *(("numpy", 1), ("numpy", 2), ("numpy (control)", 1), ("numpy (control)", 2)),
    ]


@pytest.mark.long
def test_the_packages_forms_of_pytorch_share_a_worker_and_others_do_not() -> None:
    own = ("torch", "torch-loop", "torch-grouped")
    run = measure("numpy", *own, f"{MISBEHAVING}:Prints", f"{MISBEHAVING}:Selective")
    assert {m.label: m.reason for m in run.measurements if m.status != "ok"} == {}
    for label in own:
        assert only(run, label).details["memory_of"] == sorted(own)
    for kind in ("Prints", "Selective"):
        assert only(run, f"{MISBEHAVING}:{kind}").details["memory_of"] == [f"{MISBEHAVING}:{kind}"]


def test_a_target_ends_a_run_before_its_budget() -> None:
    run = measure("numpy", budget_s=300.0, processes=2, target=1000.0)
    assert run.complete
    assert run.elapsed_s < run.protocol["budget_s"]
    assert set(run.measurements[0].processes) == {0, 1}


@pytest.mark.long
def test_a_target_that_is_out_of_reach_spends_the_budget_on_more_processes() -> None:
    run = measure("numpy", budget_s=7.0, processes=1, target=1e-9)
    assert run.complete
    assert len(set(run.measurements[0].processes)) > 1


def test_warm_up_goes_on_until_forwards_get_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(worker, "perf_counter", lambda: clock[0])

    def warm_up(durations: Iterator[float]) -> float:
        def forward() -> float:
            seconds = next(durations)
            clock[0] += seconds
            return seconds

        return sum(settle(forward, 1.0, 10.0))

    assert warm_up(itertools.repeat(0.125)) == 1.0
    assert warm_up(itertools.chain([0.25] * 2, itertools.repeat(0.125))) == 1.5
    assert warm_up(0.2 * 0.999**n for n in itertools.count()) < 2
    assert warm_up(itertools.repeat(3.0)) == 3.0
    assert 10 <= warm_up(1 / n for n in itertools.count(2)) < 11


@pytest.fixture(scope="module")
def mixed() -> Run:
    """One run of NumPy beside what disagrees, chatters, is not there, or takes one size alone, which gets two."""
    names = [f"{MISBEHAVING}:{kind}" for kind in ("Stale", "Prints", "Absent", "Selective")]
    with briefly():
        return measure("numpy", *names, further=[(names[-1], dataclasses.replace(TINY, d_model=12))], warm_up_s=0.05)


def test_untimed_forwards_are_accounted_for(mixed: Run) -> None:
    assert only(mixed, "numpy").warm_up_s > 0
    timed = sum(sum(map(sum, m.samples_s)) + m.warm_up_s for m in mixed.measurements)
    assert timed < mixed.elapsed_s


def test_what_disagrees_is_not_timed(mixed: Run) -> None:
    assert only(mixed, f"{MISBEHAVING}:Stale").samples_s == []


def test_chatter_does_not_disturb(mixed: Run) -> None:
    assert only(mixed, f"{MISBEHAVING}:Prints").status == "ok"


def test_what_cannot_run_is_not_run(mixed: Run) -> None:
    absent = only(mixed, f"{MISBEHAVING}:Absent")
    assert (absent.status, absent.reason) == ("not_run", "it is not there")
    assert mixed.complete


def test_what_takes_some_sizes_alone_runs_at_those(mixed: Run) -> None:
    taken, refused = (m for m in mixed.measurements if m.label == f"{MISBEHAVING}:Selective")
    assert taken.status == "ok"
    assert (refused.status, refused.reason) == ("not_run", "d_model must be 8, got 12")


def test_what_others_use_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processors that it may use, 10 s: 8 busy seconds, of which 3 were the worker's and 1 this process's."""
    clock, own, system = [0.0], [0.0], [SystemTimes()] * 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2}, raising=False)
    monkeypatch.setattr(conditions.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(conditions.time, "process_time", lambda: own[0])
    monkeypatch.setattr(conditions.psutil, "cpu_times", lambda percpu: system)
    watch = Watch()
    clock[0], own[0] = 10.0, 1.0
    busy = SystemTimes(user=2.0, system=1.0, idle=6.0, iowait=1.0)
    system[:] = busy, SystemTimes(user=10.0), SystemTimes(user=4.0, system=1.0, idle=3.0, steal=2.0)
    assert watch.stop(3.0) == (pytest.approx(0.4), pytest.approx(0.2), None)


SPINS = """
import threading
from moe.implementations.numpy_layer import NumpyLayer

class Spins(NumpyLayer):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        threading.Thread(target=self.spin, daemon=True).start()

    def spin(self):
        while True:
            pass
"""


def test_a_worker_is_held_still_until_it_is_asked_again(tmp_path: Path) -> None:
    write_weights(moe.make_problem(TINY).weights, tmp_path / "weights")
    own = tmp_path / "spins.py"
    own.write_text(SPINS)
    what = {"variant": f"{own}:Spins", "config": asdict(TINY), "threads": 1, "inputs": 1}
    child = Child(1)
    try:
        child.ask("prepare", timeout=60, number=0, weights=str(tmp_path / "weights"), **what)
        child.hold()
        begun = child.processor_s()
        time.sleep(0.5)
        held = child.processor_s()
        child.ask("release", timeout=60, number=0)
        time.sleep(0.5)
        let_go = child.processor_s()
        assert held - begun < 0.02
        assert let_go - held > 0.1
    finally:
        child.kill()


def test_where_a_worker_is_not_held_it_gets_time_to_rest_once_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    child, slept = Child(1), list[float]()
    monkeypatch.setattr(children, "LINUX", False)
    monkeypatch.setattr(children.time, "sleep", slept.append)
    try:
        for _ in range(2):
            child.ask("release", timeout=60, number=0)
            child.hold()
            child.hold()
        assert slept == [children.REST_S] * 2
    finally:
        child.kill()


def test_lines_that_cannot_be_counted_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_: type) -> dict[str, int]:
        raise OSError("source code not available")

    monkeypatch.setattr(lines, "lines_of", unreadable)
    measured = only(measure("numpy"), "numpy")
    assert (measured.status, measured.details["lines"]) == ("ok", {})


@pytest.mark.long
def test_rounds_are_paired() -> None:
    run = measure("numpy", "python", budget_s=5.0)
    rounds = {len(set(m.rounds)) for m in run.measurements}
    assert len(rounds) == 1
    assert rounds.pop() > 1


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
    run = measure("numpy", f"{MISBEHAVING}:Slow", timeout_s=2.0, budget_s=3.0)
    slow = only(run, f"{MISBEHAVING}:Slow")
    assert slow.status == "not_run"
    assert re.fullmatch(r"a turn would take about \d\S* s, more than the 2 s that a step may take", slow.reason)


def test_a_budget_that_holds_no_turn_is_named() -> None:
    (reason,) = {m.reason for m in measure("numpy", budget_s=1e-7).measurements if not m.control}
    assert re.fullmatch(r"a turn would take about \S+ s, more than the 1e-07 s that are left of the budget", reason)
    assert float(reason.split()[5]) > 1e-7


def test_no_tokens_are_checked_and_not_timed() -> None:
    run = moe.compare(["numpy", "python"], TINY.with_tokens(0), progress=False, budget_s=1e6)
    assert run.complete
    assert {(m.status, m.reason) for m in run.measurements} == {
        ("not_run", "nothing to time: no tokens; it agrees with the reference")
    }
    assert not run.went_wrong


@pytest.mark.parametrize(
    ("pools", "error", "message"),
    [
        ([{"name": "blas", "threads": 3}], WorkerFailedError, "blas uses 3"),
        ([{"name": "kernel", "threads": 2}, {"name": "blas", "threads": 3}], WorkerFailedError, "blas uses 3"),
        ([{"name": "blas", "threads": 1}], NotRunError, r"got fewer \(blas: 1\)"),
    ],
)
def test_threads_are_read_back(pools: list[dict[str, object]], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
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
        (["numpy"], {"threads": [0]}, "threads must be a whole number"),
        (["numpy"], {"cache": "cool"}, "cache must be warm or cold, got 'cool'"),
        (["numpy"], {"budget_s": 0}, "budget_s must be a number greater than 0, at most 100000000, got 0"),
        (["numpy"], {"processes": -1}, "processes must be a whole number of at least 1, at most 10000, got -1"),
        (["numpy"], {"target": 0}, "target must be a number greater than 0, at most 1000000, got 0"),
        (["numpy"], {"memory_bytes": -5}, "memory_bytes must be a whole number of at least 1, at most .*, got -5"),
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


@pytest.mark.long
def test_an_interrupted_run_is_kept_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    program = (
        # A shell that starts this in the background has it ignore interrupts.
        "import moe, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "moe.compare(['numpy'], moe.MoEConfig(6, 8, 16, 3, 2), path="
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
    assert {(m.status, m.reason) for m in kept.measurements} <= {("ok", ""), ("not_run", NOT_REACHED_REASON)}
    rounds = len(kept.measurements[0].samples_s)
    assert rounds >= 1
    assert len({len(set(m.rounds)) for m in kept.measurements}) <= 2
    defaults = {"turn_s": 0.02, "warm_up_s": 0.1}
    continued = measure("numpy", path=path, resume=True, **{**defaults, "processes": 2, "budget_s": 3.0})
    assert continued.complete
    assert continued.measurements[0].samples_s[:rounds] == kept.measurements[0].samples_s
    processes = set(continued.measurements[0].processes)
    assert processes == set(range(len(processes))) >= {0, 1}
    assert summarise(continued).controls


@pytest.mark.long
def test_a_run_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    program = (
        # A shell that starts this in the background has it ignore interrupts.
        "import moe, signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "moe.compare(['numpy'], moe.MoEConfig(6, 8, 16, 3, 2), path="
        f"{str(path)!r}, budget_s=60, processes=1, progress=False, save_every_s=0.0)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    workers: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 30
        rounds = 0
        while rounds < 5:  # read at every moment: there is never half a file
            assert time.monotonic() < deadline
            if path.exists():
                rounds = len(load_run(path).measurements[0].samples_s)
        workers = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    kept = load_run(path)
    assert not kept.complete
    assert len(kept.measurements[0].samples_s) >= 5
    assert workers
    psutil.wait_procs(workers, timeout=10)
    assert not any(worker.is_running() for worker in workers)


def test_workers_end_with_the_run() -> None:
    before = set(psutil.Process().children(recursive=True))
    measure("numpy", f"{MISBEHAVING}:Hangs", timeout_s=1.0)
    assert set(psutil.Process().children(recursive=True)) <= before


def test_cold_caches_are_written_over_before_every_timed_forward(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
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
    served = Worker()
    served.load("numpy", 1)
    write_weights(moe.make_problem(TINY).weights, tmp_path / "weights")
    served.prepare(0, "numpy", asdict(TINY), 1, str(tmp_path / "weights"), 2)
    layer = served.prepared[0].layer
    forward = layer.forward
    layer.forward = lambda x: done.append("forward") or forward(x)
    served.warm(0, 1, 0.0, 0.0, 2)
    served.draw(0, 2, 5)
    samples = served.timed(0, 3)["samples"]
    assert done == ["forward", "write", *["write", "forward"] * 5]  # the first two are no part of what is timed
    assert len(samples) == 5


def test_an_input_is_shown_after_the_forward_before_it_and_what_is_kept_is_a_copy(tmp_path: Path) -> None:
    """Several inputs could be computed together else, and an output that is compared could be filled in later."""
    served = Worker()
    write_weights(moe.make_problem(TINY).weights, tmp_path / "weights")
    served.prepare(0, "numpy", asdict(TINY), 1, str(tmp_path / "weights"), 1)
    layer, done, same = served.prepared[0].layer, [], np.zeros(3)

    def forward(x: Any) -> Any:
        same[:] = len(done)
        return x

    layer.to_native = lambda x: done.append("to_native") or x
    layer.forward = lambda x: done.append("forward") or forward(x)
    layer.to_numpy = lambda _: done.append("to_numpy") or same
    served.draw(0, 2, 5)
    third = served.prepared[0].given[2]
    served.timed(0, 2)
    assert done == ["to_native", "forward", "to_numpy"] * 5
    kept, x = served.prepared[0].kept
    assert x is third
    assert kept.tolist() == [8.0] * 3  # as the third forward left it, the eighth call of 15


def test_a_run_with_cold_caches_says_so() -> None:
    run = measure("numpy", cache="cold")
    assert {m.cache for m in run.measurements} == {"cold"}
    assert {m.status for m in run.measurements} == {"ok"}
