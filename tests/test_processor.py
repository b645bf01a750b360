from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from moe import processor


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's folder, that a test fills."""
    monkeypatch.setattr(processor, "CGROUP", tmp_path)
    return tmp_path


def hold(cgroup: Path, most: str, held: int, files: int) -> None:
    (cgroup / "memory.max").write_text(f"{most}\n")
    (cgroup / "memory.current").write_text(f"{held}\n")
    (cgroup / "memory.stat").write_text(f"anon {held - files}\nfile {files}\ninactive_file {files}\n")


def test_a_container_leaves_what_its_limit_does_without_the_pages_of_files(cgroup: Path) -> None:
    hold(cgroup, "100000", 90000, 60000)
    assert processor.memory_limit() == 100000
    assert processor.usable_memory() == 70000
    hold(cgroup, "100000", 120000, 0)
    assert processor.usable_memory() == 0


def test_without_a_limit_the_systems_memory_is_usable(cgroup: Path) -> None:
    total = psutil.virtual_memory().total
    for most in (None, "max"):
        if most:
            hold(cgroup, most, 90000, 0)
        assert processor.memory_limit() is None
        assert 100000 < processor.usable_memory() <= total


@pytest.mark.parametrize(("text", "cores"), [("max 100000", None), ("150000 100000", 1.5)])
def test_a_quota_is_in_cores(cgroup: Path, text: str, cores: float | None) -> None:
    assert processor.core_quota() is None
    (cgroup / "cpu.max").write_text(f"{text}\n")
    assert processor.core_quota() == cores
    assert processor.usable_cores() >= 1
    if cores:
        assert processor.usable_cores() == 1
