"""No fact about the machine ends anything: it is unknown, and why."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import asdict
from html import unescape
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import psutil
import pytest

import moe
from moe import doctor, mojo_build, processor
from moe.analysis import summarise
from moe.implementations import mojo_max_layer
from moe.measure import busy, machine, waiting, worker
from moe.measure.child import Child
from moe.report import sentences, tables
from peers import jax_layer

from .conftest import SCHEMA, validate_run
from .synthetic import MACHINE, synthetic_run

WHY = "RuntimeError: not on this machine"
# What each function of psutil's tells.
TOLD = {
    "cpu_freq": "frequency_mhz",
    "cpu_count": "cores",
    "virtual_memory": "memory_bytes",
    "getloadavg": "load_average",
    "cpu_times": "others_cores",
    "Process": "workers_memory",
}


def refuse(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("not on this machine")


@pytest.fixture
def mute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that tells psutil nothing, and nobody which cores a process may use."""
    for name in (*TOLD, "process_iter"):
        monkeypatch.setattr(psutil, name, refuse)

    def forbid(_: int) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_getaffinity", forbid)


@pytest.mark.parametrize("function", TOLD)
def test_a_fact_that_raises_is_unknown_and_why(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, function, refuse)
    found = machine.describe_machine()
    assert found["unknown"] == {TOLD[function]: WHY}
    assert found.get(TOLD[function]) is None


def test_every_fact_may_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    told = machine.describe_machine()
    monkeypatch.setattr(
        machine, "FACTS", {name: (refuse, otherwise) for name, (_, otherwise) in machine.FACTS.items()}
    )
    found = machine.describe_machine()
    assert {name for name, why in found["unknown"].items() if why == WHY} == set(machine.FACTS)
    assert found.keys() - {"unknown"} == told.keys() - {"unknown"}
    run = synthetic_run({"numpy": 0.1})
    run.machine = found
    validate_run(asdict(run))
    assert set(found) <= set(SCHEMA["properties"]["machine"]["properties"])


@pytest.mark.usefixtures("brief")
def test_a_mute_machine_is_measured_and_its_page_says_why(mute: None, tmp_path: Path) -> None:
    run = moe.compare(["numpy"], moe.PRESETS["smoke"], budget_s=0.5, path=tmp_path / "run.json")
    assert [m.status for m in run.measurements if m.label == "numpy"] == ["ok"]
    assert set(run.machine["unknown"]) >= set(TOLD.values())
    page = tables.machine(summarise(moe.load_run(tmp_path / "run.json")))
    for what in ("memory", "clock at the start", "load average at the start", "others' use of the processor"):
        assert what in unescape(page)
    assert page.count(f"unknown ({WHY})") == 5
    assert f"Whether others used the processor meanwhile is unknown: {WHY}." in sentences.warnings(summarise(run))


def test_a_mute_machine_is_diagnosed(mute: None, mojo: str) -> None:
    lines, healthy = doctor.diagnose()
    assert healthy
    assert "memory unknown" in lines[0]
    assert f"unknown   frequency_mhz: {WHY}" in lines
    assert [line.split()[1:] for line in lines if line.startswith(("numpy", "mojo  "))][-1] == ["works"]


def test_a_mojo_that_raises_is_a_line_of_the_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mojo_build, "build", refuse)
    lines, healthy = doctor.diagnose()
    assert f"mojo      {WHY}" in lines
    assert not healthy
    assert "numpy         works" in lines


def test_a_mute_machine_is_looked_at(mute: None) -> None:
    assert busy.look(0.01) == busy.Busy(0.0)
    assert processor.usable_cores() >= 1
    assert processor.usable_memory() > 0


def test_a_machine_that_is_known_has_nothing_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=2000.0))
    assert "unknown" not in machine.describe_machine()
    run = synthetic_run({"numpy": 0.1})
    assert run.machine == MACHINE
    page = tables.machine(summarise(run))
    assert "unknown (" not in page
    assert "others" not in page


def test_a_processor_that_is_not_told_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(_: Path) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(processor, "_first_processor", forbid)
    found = processor.read_processor.__wrapped__()
    assert found.model == "unknown (PermissionError: [Errno 13] Permission denied)"
    assert found.features == ()
    monkeypatch.setattr(processor.platform, "system", lambda: "Darwin")
    monkeypatch.setenv("PATH", "")
    assert processor.read_processor.__wrapped__().model.startswith("unknown (FileNotFoundError")


def test_caches_that_are_told_badly_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "CACHES", tmp_path)
    for number, (level, size) in enumerate((("1", "32K"), ("2", ""), ("3", "large"), ("", ""))):
        folder = tmp_path / f"index{number}"
        folder.mkdir()
        for name, text in (("level", level), ("type", "Unified"), ("size", size)):
            if level:
                (folder / name).write_text(text + "\n")
    assert processor.cache_sizes() == {"L1 Unified": 32768}


@pytest.mark.parametrize("error", [PermissionError(13, "git"), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "git")])
def test_a_git_that_raises_leaves_the_version(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(subprocess, "run", fail)
    assert machine.describe_versions()["moe"] == machine.version("moe")


def repository(folder: Path) -> str:
    """Make a repository with one commit, of a file that says where it is; gives what git calls that commit."""
    folder.mkdir()
    (folder / "file").write_text(folder.name)
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-q", "-m", folder.name]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True)
    return found.stdout[:12]


@pytest.mark.parametrize("variable", machine.GIT_PLACES)
def test_the_commit_is_the_packages_own_inside_a_hook_too(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = repository(tmp_path / "own")
    assert repository(tmp_path / "other") != commit
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path / "own")
    there = {"GIT_WORK_TREE": "", "GIT_INDEX_FILE": ".git/index", "GIT_OBJECT_DIRECTORY": ".git/objects"}
    monkeypatch.setenv(variable, str(tmp_path / "other" / there.get(variable, ".git")))
    misled = ["git", "-C", str(tmp_path / "own"), "describe", "--always", "--dirty", "--abbrev=12"]
    assert subprocess.run(misled, capture_output=True, text=True, check=False).stdout.strip() != commit
    assert machine.describe_versions()["moe"] == f"{machine.version('moe')}+{commit}"


def test_where_the_checkout_came_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository(tmp_path / "own")
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path / "own")
    assert machine.remotes() == []
    for name in ("fork", "origin"):
        words = ["git", "remote", "add", name, f"https://example.org/{name}"]
        subprocess.run(words, cwd=tmp_path / "own", check=True)
    assert machine.remotes() == ["https://example.org/origin", "https://example.org/fork"]
    monkeypatch.setattr(machine, "CHECKOUT", tmp_path)
    assert machine.remotes() == []


def test_a_package_without_its_description_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "version", missing)
    found = machine.describe_versions()
    assert found["moe"].split("+")[0] == "unknown"
    assert found["numpy"] is None
    assert "jax" not in found


@pytest.mark.parametrize("text", [None, "", "VmHWM:\n", "Name: python\n", "VmHWM: many kB\n"])
def test_a_workers_memory_is_known_without_what_linux_counts(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sandboxes have a /proc/self/status with fewer lines."""
    monkeypatch.setattr(worker, "STATUS", tmp_path / "status")
    if text is not None:
        (tmp_path / "status").write_text(text)
    assert worker.peak_rss_bytes() > 2**20


def test_a_workers_time_is_known_without_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(_: int) -> NoReturn:
        raise PermissionError(1, "Operation not permitted")

    child = Child(1)
    try:
        child.ask("release", number=0, timeout=60)
        monkeypatch.setattr(time, "clock_gettime", forbid)
        assert child.processor_s() > 0
    finally:
        child.kill()


@pytest.mark.parametrize("text", ["", "1 2", "one two three"])
def test_a_threads_waiting_that_is_told_badly_is_unknown(text: str, tmp_path: Path) -> None:
    (tmp_path / "schedstat").write_text(text)
    assert waiting._thread(tmp_path) is None


def test_threads_that_are_not_told_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished(*_: Any, **__: Any) -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory")

    cores = os.sched_getaffinity(0)
    monkeypatch.setattr(os, "listdir", vanished)
    monkeypatch.setattr(Path, "read_text", vanished)
    monkeypatch.setenv("NPROC", "3")
    assert jax_layer._pool_threads() == 3
    with mojo_max_layer._one_quiet_thread():
        assert os.sched_getaffinity(0) == cores
