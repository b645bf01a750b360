"""Sweeps on a real Dask cluster on loopback: a scheduler and two workers, which get killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from moe.cli import main
from moe.measure import cluster
from moe.run import Run, load_run

from .conftest import validate_run

pytestmark = pytest.mark.long

MISBEHAVING = Path(__file__).with_name("misbehaving.py")
STARTED_S = 60.0
# What `moe sweep` does, at the least effort: the names, the numbers of tokens, the file, and the scheduler.
PROGRAM = """
import sys
import moe

names, tokens, path, scheduler = sys.argv[1:]
effort = {"processes": 1, "turn_s": 0.0, "turn_forwards": 1, "warm_up_s": 0.0, "warm_up_most_s": 0.0}
moe.sweep(
    names.split(), {"tokens": tokens.split()}, moe.MoEConfig(4, 8, 16, 3, 2),
    path=path, resume=True, progress=False, budget_s=300, scheduler=scheduler, **effort,
)
"""


class Cluster:
    """A scheduler and its workers, each a process of its own, with a file that tells the scheduler's address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        told = folder / "scheduler.json"
        self._start("dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(told))
        deadline = time.monotonic() + STARTED_S
        while not told.exists() or not told.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self.address = str(json.loads(told.read_text())["address"])

    def add_worker(self, *arguments: str) -> None:
        self._start("dask_worker", self.address, "--nthreads", "1", *arguments)

    def _start(self, command: str, *arguments: str) -> None:
        self.processes.append(
            subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{command}", "--no-dashboard", *arguments],
                cwd=self.folder,
                env={**os.environ, "MARK": str(self.folder / "mark")},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )

    def stop(self) -> None:
        for process in reversed(self.processes):
            for started in [*psutil.Process(process.pid).children(recursive=True), process]:
                started.kill()
            process.wait()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    yield found
    found.stop()


@pytest.fixture
def two_workers(started: Cluster) -> Cluster:
    for _ in range(2):
        started.add_worker("--resources", f"{cluster.RESOURCE}=1")
    with cluster.Client(started.address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=STARTED_S)
    return started


def sweep(names: str, tokens: str, path: Path, cluster: Cluster) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PROGRAM, names, tokens, str(path), cluster.address])


def done(run: Run) -> dict[tuple[int, str], Any]:
    return {(m.details["cell"], m.label): m.samples_s for m in run.measurements if m.status == "ok"}


def test_a_worker_that_dies_gets_its_cell_redone_once(two_workers: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    deadly = f"{MISBEHAVING}:EndsItsMachine"
    assert sweep(f"numpy {deadly}", "1 2 3 4", path, two_workers).wait(timeout=280) == 0
    run = load_run(path)
    validate_run(json.loads(path.read_text()))
    assert run.complete
    assert (two_workers.folder / "mark").exists()
    by_tokens = {t: [m for m in run.measurements if m.config.tokens == t] for t in (1, 2, 3, 4)}
    for tokens, measured in by_tokens.items():
        assert [m.label for m in measured] == ["numpy", deadly, "numpy (control)"]
        reasons = {m.label: m.reason for m in measured}
        assert {m.status for m in measured} == ({"failed"} if tokens == 3 else {"ok"}), (tokens, reasons)
        assert {len(set(m.rounds)) for m in measured} == ({0} if tokens == 3 else {1})
    # Dask counts a death against a cell that was not begun too: it then gets its two tries after that.
    deaths = len((two_workers.folder / "deaths").read_text())
    assert {m.reason for m in by_tokens[3]} == {f"the worker that measured it died, {deaths} times"}
    assert deaths in (2, 3)
    (key,) = run.machines  # both workers are on this one
    assert run.machines[key]["machine"]["key"] == key
    assert {entry["machine"] for entry in run.limits} == {key}
    assert {m.details["machine"] for m in run.measurements if m.status == "ok"} == {key}


def test_a_client_that_dies_loses_nothing_that_was_finished(two_workers: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "sweep.json"
    tokens = " ".join(map(str, range(1, 9)))
    first = sweep("numpy", tokens, path, two_workers)
    deadline = time.monotonic() + 120
    while not (path.exists() and len(done(load_run(path))) >= 4):  # at every moment it is whole
        assert time.monotonic() < deadline
        assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = done(load_run(path))
    assert 4 <= len(before) < 16
    assert sweep("numpy", tokens, path, two_workers).wait(timeout=200) == 0
    run = load_run(path)
    assert run.complete
    assert len(done(run)) == len(run.measurements) == 16
    assert {len(set(m.rounds)) for m in run.measurements} == {1}
    assert before.items() <= done(run).items()


def test_what_a_cluster_lacks_is_said(
    started: Cluster, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["sweep", "numpy", "--over", "tokens=1", "--scheduler"]
    assert main([*command, started.address]) == 1
    assert f"no worker of {started.address} offers the resource machine; on each" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "CONNECT_S", 0.2)
    assert main([*command, "tcp://127.0.0.1:9"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("moe: no Dask scheduler answers at tcp://127.0.0.1:9")
    assert error.count("\n") == 1
