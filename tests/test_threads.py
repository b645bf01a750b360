"""What workers get of the caller's settings, and whether their threads are what they were given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import moe
from moe.analysis import summarise
from moe.implementations import numpy_layer
from moe.implementations.registry import REGISTRY
from moe.measure import bench, environment, threads, waiting
from moe.measure.bench import WARM_UPS
from moe.measure.child import LINUX, WorkerFailedError
from moe.measure.conditions import Elsewhere
from moe.measure.cores import WORK, cores_used
from moe.measure.environment import THREAD_LIMITS, not_passed_on, worker_environment
from moe.measure.patience import Patience
from moe.measure.threads import CoreCheck
from moe.measure.waiting import Usage
from moe.measure.workers import Workers
from moe.report import parameters, tables
from moe.run import Measurement, load_run

from .conftest import require
from .synthetic import synthetic_run

TINY = moe.MoEConfig(tokens=6, d_model=8, d_ff=16, num_experts=3, top_k=2)
MISBEHAVING = Path(__file__).with_name("misbehaving.py")
SETTINGS = (
    *("OMP_THREAD_LIMIT", "OMP_DYNAMIC", "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "OMP_NESTED"),
    *("OMP_MAX_ACTIVE_LEVELS", "OMP_SCHEDULE", "OMP_STACKSIZE", "GOMP_SPINCOUNT", "GOMP_CPU_AFFINITY"),
    *("KMP_BLOCKTIME", "KMP_AFFINITY", "KMP_HW_SUBSET", "MKL_DYNAMIC", "MKL_DOMAIN_NUM_THREADS"),
    *("OPENBLAS_CORETYPE", "OPENBLAS_THREAD_TIMEOUT", "GOTO_NUM_THREADS", "GOTOBLAS_MAIN_FREE", "BLIS_JC_NT"),
    *("NUMEXPR_MAX_THREADS", "NUMBA_THREADING_LAYER", "NUMBA_DISABLE_JIT", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES"),
    *("ATEN_CPU_CAPABILITY", "TORCHINDUCTOR_CPP_THREADS", "ONEDNN_MAX_CPU_ISA", "TBB_NUM_THREADS"),
    *("MODULAR_ENABLE_AFFINITY", "MODULAR_THREAD_BUSY_WAIT_US", "MALLOC_ARENA_MAX", "MALLOC_TRIM_THRESHOLD_"),
    "GLIBC_TUNABLES",
)
KEPT = (
    *("ZENDNNL_MATMUL_WEIGHT_CACHE", "MODULAR_HOME", "MODULAR_CACHE_DIR", "MODULAR_TELEMETRY_ENABLED", "TORCH_HOME"),
    *("TORCHINDUCTOR_CACHE_DIR", "NUMBA_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "JAX_PLATFORMS", "MOE_CACHE"),
    *("CUDA_VISIBLE_DEVICES", "KMP_DUPLICATE_LIB_OK", "PYTHONPATH", "LD_LIBRARY_PATH"),
    *("SLURM_CPUS_PER_TASK", "OMPI_COMM_WORLD_RANK"),
)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in not_passed_on():
        monkeypatch.delenv(name)
    for name in (*SETTINGS, *KEPT, *THREAD_LIMITS):
        monkeypatch.setenv(name, "7")
    environment._say.cache_clear()
    yield
    environment._say.cache_clear()


def test_no_setting_that_shapes_threads_reaches_a_worker(settings: None) -> None:
    got = worker_environment(2)
    assert [name for name in SETTINGS if name in got] == []
    assert {name: got.get(name) for name in KEPT} == dict.fromkeys(KEPT, "7")
    assert {got[name] for name in THREAD_LIMITS} == {"2"}
    assert not_passed_on() == dict.fromkeys(sorted({*SETTINGS, *THREAD_LIMITS}), "7")


def measure(*names: str, **changed: Any) -> moe.Run:
    quick = {"budget_s": 0.5, "processes": 1, "turn_s": 0.002, "warm_up_s": 0.0, "progress": False}
    return moe.compare(list(names), TINY, **{**quick, **changed})


@pytest.mark.usefixtures("brief")
def test_what_is_not_passed_on_is_recorded_and_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment._say.cache_clear()
    given = {"KMP_BLOCKTIME": "infinite", "MODULAR_ENABLE_AFFINITY": "1", "OMP_THREAD_LIMIT": "1"}
    for name, value in (given | {"ZENDNNL_LIKED": "1"}).items():
        monkeypatch.setenv(name, value)
    name = f"{MISBEHAVING}:TellsEnvironment"
    run = measure(name, threads=[2], path=tmp_path / "run.json")
    measure(name)
    told = next(m.reason for m in run.measurements if m.label == name)
    expected = (
        "OMP_THREAD_LIMIT=None OMP_NUM_THREADS=2 KMP_BLOCKTIME=None MODULAR_ENABLE_AFFINITY=None ZENDNNL_LIKED=1"
    )
    said, _, place = told.partition(" (")
    assert said == f"ArithmeticError: {expected}"
    assert place.startswith("misbehaving.py, line ")
    assert load_run(tmp_path / "run.json").machine["not_passed_on"] == given
    said = [line for line in capsys.readouterr().err.splitlines() if "not passed on" in line]
    assert len(said) == 1
    assert said[0].endswith("KMP_BLOCKTIME=infinite, MODULAR_ENABLE_AFFINITY=1, OMP_THREAD_LIMIT=1")


def test_a_page_shows_what_was_not_passed_on_where_there_is_any() -> None:
    run = synthetic_run({"numpy": 1.0})
    assert "not passed on" not in tables.machine(summarise(run))
    run.machine["not_passed_on"] = {"OMP_THREAD_LIMIT": "1"}
    assert "OMP_THREAD_LIMIT=1" in tables.machine(summarise(run))


class Tries:
    """Stands in for workers and for the machine's capacity: how many cores each try keeps busy, and who is there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tries: tuple[float | None, bool]) -> None:
        self.left = list(tries)
        self.asked = 0
        self.crowded = False
        self.waited = 0
        monkeypatch.setattr(threads, "is_crowded", lambda *_: self.crowded)
        monkeypatch.setattr(threads, "usable_cores", lambda: 2)

    def of(self, _: Measurement) -> Tries:
        return self

    def usage(self) -> Tries:
        return self

    def stop(self) -> Usage:
        return Usage(1.0, 0.0, None)

    def ask(self, _: Measurement, operation: str, **__: Any) -> dict[str, float | None]:
        assert operation == "cores"
        self.asked += 1
        cores, self.crowded = self.left.pop(0)
        return {"cores": cores}

    def wait(self, *_: Any, **__: Any) -> None:
        self.waited += 1

    def require(self, check: CoreCheck, **changed: Any) -> None:
        m = Measurement(
            **{"label": "", "implementation": "torch", "options": {}, "config": TINY, "threads": 2, **changed}
        )
        check.require_cores(self, m, self, 1.0)  # type: ignore[arg-type]


def test_threads_that_share_a_core_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(monkeypatch, (1.0, False), (0.8, True), (1.02, False), (1.0, False))
    check = CoreCheck()
    for implementation in ("torch", "torch-naive"):  # all whose threads they are
        with pytest.raises(WorkerFailedError, match="2 threads, but a large product on them kept 1 cores busy"):
            tries.require(check, implementation=implementation)
    assert tries.asked == 4


def test_where_others_hold_a_core_nothing_is_said_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    Tries(monkeypatch, *[(0.9, True)] * threads.TRIES).require(CoreCheck())
    tries = Tries(monkeypatch, (0.9, True), (1.0, False), (1.9, True))
    tries.require(CoreCheck())
    assert (tries.asked, tries.waited) == (3, 2)


def test_cores_are_tried_once_for_each_library_and_only_where_there_are_some_to_get(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries, check = Tries(monkeypatch, *[(1.9, False)] * 3), CoreCheck()
    for changed in ({}, {"implementation": "torch-naive"}, {"threads": 1}, {"device": "cuda"}):
        tries.require(check, **changed)
    assert tries.asked == 1
    tries.require(check, implementation="numpy")
    tries.require(check, control=True)
    assert tries.asked == 3
    monkeypatch.setattr(threads, "usable_cores", lambda: 1)
    tries.require(check, implementation="mojo")
    assert tries.asked == 3


def test_what_has_no_such_work_is_not_judged_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    Tries(monkeypatch, (None, False)).require(CoreCheck(), implementation="file.py:Class")


@pytest.mark.long
def test_pinned_threads_are_found_in_a_real_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "is_crowded", lambda *_: False)  # whoever is: on one core they never have more
    monkeypatch.setattr(threads, "usable_cores", lambda: 2)
    run = measure("numpy", f"{MISBEHAVING}:SharesACore", threads=[2], processes=1)
    pinned = run.measurements[1]
    assert pinned.status == "failed"
    assert "asked for 2 threads, but a large product on them kept" in pinned.reason


@pytest.mark.usefixtures("brief")
@pytest.mark.long
def test_a_count_that_a_library_does_not_take_is_not_run_with_the_reason() -> None:
    fewer = f"{MISBEHAVING}:TakesFewerThreads"
    run = measure("numpy", fewer, threads=[1, 2])
    rows = {(m.label, m.threads): m for m in run.measurements}
    assert rows[fewer, 2].status == "not_run"
    assert rows[fewer, 2].reason.startswith("asked for 2 threads, but got fewer (openblas")
    assert {m.reason for place, m in rows.items() if place != (fewer, 2)} == {""}


class SmallBlas:
    """Stands in for a BLAS that is built for 64 threads."""

    def select(self, user_api: str) -> SmallBlas:
        assert user_api == "blas"
        return self

    def limit(self, limits: int) -> None:
        self.threads = min(limits, 64)

    def info(self) -> list[dict[str, int]]:
        return [{"num_threads": self.threads}]


def test_numpy_says_how_many_threads_its_blas_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = moe.make_problem(TINY).weights
    monkeypatch.setattr(numpy_layer, "ThreadpoolController", SmallBlas)
    moe.create("numpy", weights, top_k=2, threads=64)
    with pytest.raises(moe.implementations.NotAvailableError, match="BLAS takes at most 64 threads, got 96"):
        moe.create("numpy", weights, top_k=2, threads=96)


@pytest.mark.parametrize(
    ("blas", "most", "last"),
    [
        ({"openblas configuration": "OpenBLAS 0.3.30 DYNAMIC_ARCH Haswell MAX_THREADS=64"}, 64, [32, 64]),
        ({"openblas configuration": "OpenBLAS 0.3.30 DYNAMIC_ARCH Haswell MAX_THREADS=128"}, 128, [64, 96]),
        ({"openblas configuration": "unknown"}, None, [64, 96]),
        ({"name": "accelerate"}, None, [64, 96]),
    ],
)
def test_auto_stops_where_the_baseline_does(
    monkeypatch: pytest.MonkeyPatch, blas: dict[str, str], most: int | None, last: list[int]
) -> None:
    monkeypatch.setattr(numpy_layer.np, "show_config", lambda mode: {"Build Dependencies": {"blas": blas}})
    monkeypatch.setattr(parameters, "usable_cores", lambda: 96)
    assert numpy_layer.most_threads() == most
    assert parameters.thread_counts("auto")[-2:] == last


@pytest.mark.parametrize(("library", "name"), [("numpy", "numpy"), ("torch", "torch"), ("mojo", "mojo")])
def test_each_library_has_work_to_try(library: str, name: str) -> None:
    require(name)
    assert (cores_used(library, 1) or 0.0) > 0
    assert {entry.library for entry in REGISTRY.values()} >= set(WORK)


def test_an_unknown_library_with_threads_of_its_own_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores_used("file.py:Class", 999) is None  # PyTorch has not as many here, whether it is loaded or not


@pytest.mark.usefixtures("brief")
@pytest.mark.skipif(not LINUX, reason="elsewhere workers get some time to come to rest")
def test_all_other_workers_are_held_while_one_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    fleets: list[Workers] = []
    seen: list[set[str]] = []
    begin, ask = Workers.__init__, Workers.ask

    def watched(self: Workers, m: Measurement, operation: str, **arguments: Any) -> dict[str, Any]:
        if operation == "timed":
            others = [child for fleet in fleets for child in fleet._children.values() if child is not self.of(m)]
            seen.append({psutil.Process(child._process.pid).status() for child in others})
        return ask(self, m, operation, **arguments)

    def begun(self: Workers, memory_bytes: float) -> None:
        fleets.append(self)
        begin(self, memory_bytes)

    monkeypatch.setattr(Workers, "__init__", begun)
    monkeypatch.setattr(Workers, "ask", watched)
    measure("numpy", "torch", threads=[2], budget_s=1.0, processes=1, rounds=2)
    moe.sweep(["numpy", "torch"], {"tokens": [1, 2]}, TINY, processes=2, budget_s=60.0, progress=False)
    assert len(seen) >= 3 + 2 * (3 + 2)  # a round of the first, two of the second, whose first cell has a control
    assert set().union(*seen) == {psutil.STATUS_STOPPED}


@pytest.mark.usefixtures("brief")
@pytest.mark.parametrize(
    ("huddled", "patient", "warm_ups"), [(0, True, 1), (2, True, 3), (WARM_UPS, True, WARM_UPS), (WARM_UPS, False, 1)]
)
def test_a_turn_warms_up_again_while_its_threads_share_a_core(
    huddled: int, patient: bool, warm_ups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as patience goes, of which the earlier ones take their time."""
    warmed: list[float] = []
    looks: list[Elsewhere] = []
    again_s: list[float] = []
    patience: list[Patience] = []
    ask, begin = Workers.ask, Patience.__init__

    def counted(self: Workers, m: Measurement, operation: str, **arguments: Any) -> dict[str, Any]:
        reply = ask(self, m, operation, **arguments)
        if operation == "warm":
            warmed.append(reply["warm_up_s"])
        elif operation == "timed":
            again_s.extend(warmed[-len(looks) : -1])
            looks.clear()
        return reply

    def is_huddled(threads: int, elsewhere: Elsewhere) -> bool:
        looks.append(elsewhere)
        assert (threads, elsewhere.waited) == (2, 0.4)
        return len(looks) <= huddled

    def begun(self: Patience) -> None:
        begin(self)
        patience.append(self)

    monkeypatch.setattr(Workers, "ask", counted)
    monkeypatch.setattr(waiting, "share_waited", lambda *_: 0.4)
    monkeypatch.setattr(Patience, "__init__", begun)
    monkeypatch.setattr(Patience, "is_left", patient)
    monkeypatch.setattr(bench, "is_huddled", is_huddled)
    run = measure("numpy", threads=[2], budget_s=0.1, rounds=1, repeats=0)
    turns = sum(len(m.samples_s) for m in run.measurements)
    assert turns >= 2  # of NumPy and of its control
    assert len(warmed) == turns * warm_ups
    assert sum(m.warm_up_s for m in run.measurements) == pytest.approx(sum(warmed))
    assert len(again_s) == turns * (warm_ups - 1)
    assert patience[0].lost_s >= sum(again_s)
