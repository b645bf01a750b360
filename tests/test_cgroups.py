"""Limits of control groups, on faked trees of /proc/self and /sys/fs/cgroup."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import psutil
import pytest

from moe import cgroups, processor

NO_LIMIT = "9223372036854771712"  # as version 1 writes it
V2 = "31 23 0:26 {top} {at} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "32 31 0:29 {top} {at}/{name} rw,relatime shared:9 - cgroup cgroup rw,{name}\n"


class Fake(Protocol):
    def __call__(
        self, groups: str | None, mounts: str | None, files: Mapping[str, str], *, top: str = "/"
    ) -> None: ...


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Make /proc/self/cgroup, /proc/self/mountinfo and files below the folder of mounts; None leaves one out."""
    proc, system = tmp_path / "proc", tmp_path / "sys fs"
    monkeypatch.setattr(cgroups, "PROC", proc)
    usual = [mount._replace(folder=system / mount.folder.relative_to(cgroups.SYSTEM)) for mount in cgroups.USUAL]
    monkeypatch.setattr(cgroups, "USUAL", usual)

    def make(groups: str | None, mounts: str | None, files: Mapping[str, str], *, top: str = "/") -> None:
        proc.mkdir(exist_ok=True)
        at = str(system).replace(" ", "\\040")
        texts = {proc / "cgroup": groups, proc / "mountinfo": mounts and mounts.replace("{at}", at)}
        for path, text in texts.items():
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_text(text.replace("{top}", top))
        for name, text in files.items():
            (system / name).parent.mkdir(parents=True, exist_ok=True)
            (system / name).write_text(text)

    return make


def v1(*names: str) -> str:
    return "".join(V1.replace("{name}", name) for name in names)


def test_a_container_of_version_2_sees_its_own_group_as_the_root(fake: Fake) -> None:
    fake("0::/\n", V2, {"cpu.max": "150000 100000\n", "memory.max": "100000\n"})
    assert cgroups.core_quota() == 1.5
    assert cgroups.memory_limit() == 100000
    assert processor.usable_cores() == 1


def test_max_is_no_limit(fake: Fake) -> None:
    fake("0::/\n", V2, {"cpu.max": "max 100000\n", "memory.max": "max\n", "memory.high": "max\n"})
    assert (cgroups.core_quota(), cgroups.memory_limit(), cgroups.memory_left()) == (None, None, None)
    assert 0 < processor.usable_memory() <= psutil.virtual_memory().total


def test_the_tightest_limit_on_the_way_to_the_root_counts(fake: Fake) -> None:
    """As systemd sets limits on a slice, and Slurm on a job."""
    files = {
        "jobs.slice/cpu.max": "400000 100000\n",
        "jobs.slice/memory.max": "5000\n",
        "jobs.slice/job 7/cpu.max": "250000 100000\n",
        "jobs.slice/job 7/memory.max": "9000\n",
        "jobs.slice/job 7/step/cpu.max": "max 100000\n",
        "jobs.slice/job 7/step/memory.max": "max\n",
        "other.slice/cpu.max": "100000 100000\n",
        "other.slice/memory.max": "100\n",
    }
    fake("0::/jobs.slice/job 7/step\n", V2, files)
    assert cgroups.core_quota() == 2.5
    assert cgroups.memory_limit() == 5000


def test_what_is_left_is_least_where_others_in_the_group_hold_it(fake: Fake) -> None:
    """The pages of files that nobody uses are no memory held."""
    files = {
        "job/memory.max": "100000\n",
        "job/memory.current": "95000\n",
        "job/memory.stat": "anon 40000\nfile 55000\ninactive_file 35000\n",
        "job/step/memory.max": "80000\n",
        "job/step/memory.current": "1000\n",
    }
    fake("0::/job/step\n", V2, files)
    assert cgroups.memory_limit() == 80000
    assert cgroups.memory_left() == processor.usable_memory() == 40000
    fake("0::/job/step\n", V2, {"job/memory.current": "200000\n"})
    assert processor.usable_memory() == 0


def test_a_limit_from_which_the_system_slows_processes_down_counts(fake: Fake) -> None:
    fake("0::/\n", V2, {"memory.max": "9000\n", "memory.high": "7000\n"})
    assert cgroups.memory_limit() == 7000


def test_version_1_has_a_hierarchy_a_controller(fake: Fake) -> None:
    """As Slurm uses it: memory is limited on the job, processors on the step."""
    files = {
        "memory/slurm/memory.limit_in_bytes": f"{NO_LIMIT}\n",
        "memory/slurm/job/memory.limit_in_bytes": "5000\n",
        "memory/slurm/job/memory.usage_in_bytes": "3000\n",
        "memory/slurm/job/memory.stat": "inactive_file 0\ntotal_inactive_file 1000\n",
        "memory/slurm/job/step/memory.limit_in_bytes": f"{NO_LIMIT}\n",
        "cpu,cpuacct/slurm/job/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/slurm/job/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/slurm/job/step/cpu.cfs_quota_us": "50000\n",
        "cpu,cpuacct/slurm/job/step/cpu.cfs_period_us": "20000\n",
    }
    groups = "9:name=systemd:/x\n4:memory:/slurm/job/step\n3:cpu,cpuacct:/slurm/job/step\n"
    fake(groups, v1("cpu,cpuacct", "memory"), files)
    assert cgroups.core_quota() == 2.5
    assert cgroups.memory_limit() == 5000
    assert cgroups.memory_left() == 3000


def test_version_1_without_a_limit(fake: Fake) -> None:
    files = {
        "memory/memory.limit_in_bytes": f"{NO_LIMIT}\n",
        "memory/memory.stat": f"hierarchical_memory_limit {NO_LIMIT}\n",
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
    }
    fake("2:memory:/\n1:cpu:/\n", v1("cpu", "memory"), files)
    assert (cgroups.core_quota(), cgroups.memory_limit()) == (None, None)


def test_a_container_sees_its_own_part_of_version_1(fake: Fake) -> None:
    """The mount begins at the container's group, and its statistics tell of limits above it."""
    files = {
        "memory/memory.limit_in_bytes": "9000\n",
        "memory/memory.stat": "hierarchical_memory_limit 6000\n",
        "memory/inner/memory.limit_in_bytes": "8000\n",
        "cpu/cpu.cfs_quota_us": "300000\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "cpu/inner/cpu.cfs_quota_us": "200000\n",
        "cpu/inner/cpu.cfs_period_us": "100000\n",
    }
    fake("2:memory:/docker/a\n1:cpu:/docker/a\n", v1("cpu", "memory"), files, top="/docker/a")
    assert cgroups.core_quota() == 3
    assert cgroups.memory_limit() == 6000
    fake("2:memory:/docker/a/inner\n1:cpu:/docker/a/inner\n", v1("cpu", "memory"), {}, top="/docker/a")
    assert cgroups.core_quota() == 2


@pytest.mark.parametrize("group", ["/named/from/outside", "/../elsewhere"])
def test_a_group_named_from_outside_is_what_is_mounted(fake: Fake, group: str) -> None:
    fake(f"0::{group}\n", V2, {"cpu.max": "200000 100000\n", "memory.max": "4000\n"}, top="/docker/a")
    assert cgroups.core_quota() == 2
    assert cgroups.memory_limit() == 4000


def test_another_groups_mount_is_not_ours(fake: Fake) -> None:
    files = {"cpu.max": "100000 100000\n", "second/mine/cpu.max": "200000 100000\n"}
    mounts = V2.replace("{top}", "/theirs") + V2.replace("{at}", "{at}/second")
    fake("0::/mine\n", mounts, files)
    assert cgroups.core_quota() == 2


def test_both_versions_side_by_side(fake: Fake) -> None:
    """Memory by version 1, processors by version 2."""
    files = {
        "memory/a/memory.limit_in_bytes": "3000\n",
        "unified/b/cpu.max": "300000 100000\n",
    }
    mounts = v1("memory") + V2.replace("{at}", "{at}/unified")
    fake("2:memory:/a\n1:name=systemd:/b\n0::/b\n", mounts, files)
    assert cgroups.core_quota() == 3
    assert cgroups.memory_limit() == 3000


def test_where_nothing_is_told_the_usual_places_are_read(fake: Fake) -> None:
    fake(None, None, {"cpu.max": "200000 100000\n", "memory/memory.limit_in_bytes": "3000\n"})
    assert cgroups.core_quota() == 2
    assert cgroups.memory_limit() == 3000


@pytest.mark.parametrize("text", ["", "\n", "rubbish", "1 2 3", "0 0", "-5 -5", "-", "100000"])
def test_files_that_say_nothing_limit_nothing(fake: Fake, text: str) -> None:
    named = ("cpu.max", "memory.current", "memory.stat")
    fake("0::/job\n", V2, {f"job/{name}": text for name in named} | {"job/memory.max": ""})
    assert (cgroups.core_quota(), cgroups.memory_limit(), cgroups.memory_left()) == (None, None, None)
    fake("0::/job\n", V2, {"job/memory.max": "5000\n", "job/memory.current": ""})
    assert cgroups.memory_left() == 5000


@pytest.mark.parametrize("text", ["", "rubbish\n", "0::\n::\n1\n", "0::/a:b\n"])
def test_lines_that_say_nothing_end_nothing(fake: Fake, text: str) -> None:
    fake(text, text + V2 + " - cgroup2\n1 2 3 4 - cgroup x y\n", {"cpu.max": "200000 100000\n"})
    assert cgroups.core_quota() == 2


def test_files_that_cannot_be_read_limit_nothing(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    fake("0::/\n", V2, {"cpu.max": "200000 100000\n", "memory.max": "4000\n"})

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert (cgroups.core_quota(), cgroups.memory_limit(), cgroups.memory_left()) == (None, None, None)
