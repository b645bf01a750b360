from __future__ import annotations

import os
import signal
import subprocess
from collections import defaultdict, namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import moe
from moe.cli import main
from moe.measure import busy, conditions
from moe.measure.busy import Busy, wait_until_quiet
from moe.report import pipeline
from moe.report.origin import foot, read_parameters, write_parameters

from .synthetic import synthetic_run

CLAIMS = Path(moe.__file__).parent.parent / "claims" / "cross-language-moe.yaml"
CoreTimes = namedtuple("CoreTimes", "user system idle steal")
CORES = 2
OTHER, CHILD, GRANDCHILD, HIDDEN = 10, 11, 12, 13
NAMES = {OTHER: "ffmpeg", CHILD: "worker", GRANDCHILD: "compiler", HIDDEN: "secret"}


class BegunError(Exception):
    """Something would have been measured."""


def begin(*_: object, **__: object) -> None:
    raise BegunError


class Process:
    """One of psutil's: the same as long as it has the same number."""

    pid: int
    info: dict[str, Any]


class Machine:
    """A clock that only sleeping moves, and the processor time that processes and a hypervisor take meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cores: dict[int, float] = {}  # that each process uses, by its number
        self.stolen_cores = 0.0
        self.quiet_at = float("inf")
        self.used_s: dict[int, float] = dict.fromkeys(NAMES, 0.0)
        self.processes: defaultdict[int, Process] = defaultdict(Process)
        self.stolen_s = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now <= self.quiet_at:
            for number, cores in self.cores.items():
                self.used_s[number] += cores * seconds
            self.stolen_s += self.stolen_cores * seconds

    def cpu_times(self, *, percpu: bool) -> list[CoreTimes]:
        assert percpu
        each = sum(self.used_s.values()) / CORES
        return [CoreTimes(each, 0.0, self.now, self.stolen_s / CORES)] * CORES

    def process_iter(self, attributes: list[str]) -> Iterator[Process]:
        for number, used_s in self.used_s.items():
            times = None if number == HIDDEN else SimpleNamespace(user=used_s, system=0.0)
            known = {"name": NAMES[number], "cpu_times": times}
            process = self.processes[number]
            process.pid, process.info = number, {key: known[key] for key in attributes}
            yield process

    def children(self, *, recursive: bool) -> list[Process]:
        assert recursive
        return [self.processes[number] for number in (CHILD, GRANDCHILD)]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    clock = SimpleNamespace(monotonic=lambda: machine.now, sleep=machine.sleep, process_time=lambda: 0.0)
    monkeypatch.setattr(busy, "time", clock)
    monkeypatch.setattr(conditions, "time", clock)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)), raising=False)
    monkeypatch.setattr(psutil, "cpu_times", machine.cpu_times)
    monkeypatch.setattr(psutil, "process_iter", machine.process_iter)
    monkeypatch.setattr(psutil, "Process", lambda: machine)
    return machine


def test_a_quiet_machine_costs_one_look(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.cores = {OTHER: 0.2}
    found = wait_until_quiet()
    assert found.is_quiet
    assert (found.cores, found.waited_s) == (pytest.approx(0.2), 0.0)
    assert machine.now == busy.LOOK_S
    assert capsys.readouterr().err == ""


def test_what_lasts_for_one_look_alone_is_not_waited_for(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.cores, machine.quiet_at = {OTHER: 1.0}, busy.LOOK_S
    assert wait_until_quiet().is_quiet
    assert machine.now == 2 * busy.LOOK_S
    assert capsys.readouterr().err == ""


def test_a_busy_machine_is_named_and_waited_for_and_never_refused(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.cores = {OTHER: 1.2}
    found = wait_until_quiet()
    assert (found.cores, found.names) == (pytest.approx(1.2), ("ffmpeg",))
    assert found.waited_s == 20.0
    before, after = capsys.readouterr().err.splitlines()
    assert before.startswith("other work uses 1.2 cores (ffmpeg): waiting up to 20 s until it is quiet; Ctrl-C ends")
    assert "--anyway" in before
    assert after.startswith("other work still uses 1.2 cores (ffmpeg): going on, and turns that it disturbs will be")


def test_a_machine_that_comes_to_rest_is_measured_then(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    machine.cores, machine.quiet_at = {OTHER: 1.2}, 6.0
    found = wait_until_quiet()
    assert found.is_quiet
    assert found.waited_s == 6.0  # five seconds were busy, and the look after them was not
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_descendants_do_not_count(machine: Machine) -> None:
    machine.cores = {CHILD: 1.0, GRANDCHILD: 0.5}
    assert wait_until_quiet().cores == pytest.approx(0.0)
    machine.cores |= {OTHER: 0.4}
    found = wait_until_quiet(1.0)
    assert (found.cores, found.names) == (pytest.approx(0.4), ("ffmpeg",))


def test_what_nobody_accounts_for_has_a_name(machine: Machine) -> None:
    machine.cores, machine.stolen_cores = {HIDDEN: 1.0}, 0.3
    found = wait_until_quiet(1.0)
    assert found.cores == pytest.approx(1.3)
    assert found.names == (busy.UNSEEN, busy.STOLEN)
    machine.cores = {OTHER: 1.0, HIDDEN: 0.1}
    assert wait_until_quiet(1.0).names == ("ffmpeg", busy.STOLEN)


def test_the_busiest_are_named_on_one_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, cores in enumerate((0.5, 0.7, 0.9, 0.6, 0.01), 20):
        machine.used_s[number], machine.cores[number] = 0.0, cores
        monkeypatch.setitem(NAMES, number, f"n\n{number}" if number < 23 else "same")
    assert wait_until_quiet(1.0).names == ("n22", "n21", "same")


def test_only_what_descends_from_this_process_is_its_own() -> None:
    """On this machine, as it is."""
    leave = ["sh", "-c", "sleep 60 >&- & echo $!"]  # and its parent is gone
    orphan = int(subprocess.run(leave, stdout=subprocess.PIPE, check=True).stdout)
    try:
        with subprocess.Popen(["sleep", "60"], start_new_session=True) as child:
            seen = {process.pid for process in busy._used_s()}
            ours = {process.pid for process in busy._descendants()}
            child.kill()
    finally:
        os.kill(orphan, signal.SIGKILL)
    assert {orphan, child.pid, os.getpid()} <= seen
    assert ours & {orphan, child.pid, os.getpid()} == {child.pid}
    assert busy.look(0.01).cores >= 0.0


@pytest.mark.parametrize("command", ["bench", "sweep", "goals", "peers", "selfcheck", "claims", "report"])
def test_every_command_that_measures_looks_first_unless_it_is_told_not_to(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each stops where it would begin to measure."""
    looked: list[bool] = []
    for module in ("measure.busy", "shapes", "selfcheck", "report.pipeline"):
        monkeypatch.setattr(f"moe.{module}.wait_until_quiet", lambda: looked.append(True))
    for place in (
        "measure.compare.compare",
        "measure.sweep.sweep",
        "shapes.compare",
        "selfcheck.compare",
    ):
        monkeypatch.setattr(f"moe.{place}", begin)
    monkeypatch.setattr("moe.selfcheck.availability", lambda _: (True, ""))
    monkeypatch.setattr(pipeline, "write_parameters", begin)
    monkeypatch.chdir(tmp_path)
    arguments = [command, *([str(CLAIMS)] if command == "claims" else [])]
    for flags in ([], ["--anyway"]):
        monkeypatch.setattr(pipeline, "REPORTS", tmp_path / f"reports{len(flags)}")
        with pytest.raises(BegunError):
            main(arguments + flags)
        assert looked == [True]


def test_nobody_waits_for_an_error_or_a_cluster_or_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def look() -> None:
        pytest.fail("looked")

    monkeypatch.setattr("moe.measure.busy.wait_until_quiet", look)
    (tmp_path / "run.json").touch()
    exists = ["bench", "numpy", "--json", str(tmp_path / "run.json")]
    for wrong in (["bench", "nunpy"], ["bench", "--cache", "cool"], ["sweep", "nunpy"], exists):
        assert main(wrong) == 2
    monkeypatch.setattr("moe.measure.compare.compare", begin)
    with pytest.raises(BegunError):
        main(["bench", "numpy", "--config", "tokens=0"])
    monkeypatch.setattr("moe.measure.sweep.sweep", begin)
    with pytest.raises(BegunError):
        main(["sweep", "numpy", "--scheduler", "tcp://127.0.0.1:9"])


def test_a_report_says_how_busy_the_machine_was_and_not_with_what(tmp_path: Path) -> None:
    runs = [synthetic_run({"numpy": 1.0})]
    write_parameters(tmp_path, "moe report", {}, Busy(1.234, ("ffmpeg",), 20.1))
    assert "ffmpeg" not in (tmp_path / "parameters.json").read_text()
    assert read_parameters(tmp_path).busy == Busy(1.234, (), 20.1)
    assert foot(runs, tmp_path).lines[-1] == "Others used 1.2 cores when it began, after 20 s of waiting."
    lines = []
    for seen in (Busy(0.1), None):
        write_parameters(tmp_path, "moe report", {}, seen)
        lines.append(foot(runs, tmp_path).lines)
    assert lines[0] == lines[1]
    assert "Others used" not in " ".join(lines[0])
