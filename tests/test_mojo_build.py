from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from moe import mojo_build
from moe.folders import kept_folders
from moe.mojo_build import MojoBuildError


@pytest.fixture
def own_source(mojo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the kernel's source and an empty cache."""
    source = tmp_path / "mojo_src"
    shutil.copytree(mojo_build.SOURCE, source)
    monkeypatch.setattr(mojo_build, "SOURCE", source)
    monkeypatch.setenv("MOE_CACHE", str(tmp_path / "cache"))
    return source


def test_a_compile_error_comes_in_the_compilers_words(own_source: Path) -> None:
    (own_source / mojo_build.KERNEL).write_text("def broken(:\n    pass\n")
    with pytest.raises(MojoBuildError, match=r"(?s)exit code 1.*moe_kernel\.mojo:1:.*error") as caught:
        mojo_build.build()
    assert "Crashpad" not in str(caught.value)
    assert not list(kept_folders(mojo_build.KEPT)[0].glob("*.so"))


@pytest.mark.long
def test_a_warning_is_an_error(own_source: Path) -> None:
    kernel = own_source / mojo_build.KERNEL
    kernel.write_text(kernel.read_text() + "\n\ndef careless():\n    var unused = 3\n")
    with pytest.raises(MojoBuildError, match="unused"):
        mojo_build.build()


def test_a_hung_compiler_is_stopped(own_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    fake = tmp_path / "mojo"
    fake.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > {pid_file}\nwait\n")
    fake.chmod(0o755)
    toolchain = mojo_build.Toolchain(fake, "hung")
    monkeypatch.setattr(mojo_build, "find_toolchain", lambda: toolchain)
    monkeypatch.setattr(mojo_build, "TIMEOUT_S", 1.0)
    with pytest.raises(MojoBuildError, match="stopped after 1 s"):
        mojo_build.build()
    child = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, "what the compiler started still runs"
        time.sleep(0.05)


def test_a_missing_toolchain_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(MojoBuildError, match=r"Mojo is not installed .*max==26\.7\.0"):
        mojo_build.find_toolchain()


def test_the_key_covers_what_shapes_the_library(own_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = mojo_build.find_toolchain()
    elsewhere = mojo_build.Toolchain(Path("/another/mojo"), here.version)
    newer = mojo_build.Toolchain(here.command, "Mojo 9")

    def key(toolchain: mojo_build.Toolchain, sizes: mojo_build.Sizes | None = None) -> str:
        return mojo_build.build_key(toolchain, mojo_build.build_options(sizes), mojo_build.sources())

    keys = [key(here), key(elsewhere), key(newer), key(here, (8, 8, 2, 1))]
    monkeypatch.setattr(mojo_build, "read_processor", lambda: "another processor")
    keys.append(key(here))
    monkeypatch.undo()
    monkeypatch.setattr(mojo_build, "SOURCE", own_source)
    (own_source / "tile.mojo").write_text((own_source / "tile.mojo").read_text() + "\n")
    keys.append(key(here))
    assert len(set(keys)) == len(keys)


@pytest.mark.long
def test_the_package_for_max_is_another_with_any_module_of_the_kernel(own_source: Path) -> None:
    paths = {mojo_build.build_package().path}
    for name in ("tile.mojo", "max_op.mojo"):
        (own_source / name).write_text((own_source / name).read_text() + "\n")
        paths.add(mojo_build.build_package().path)
    assert len(paths) == 3
    assert "moe_kernel.mojo" not in {path.name for path in mojo_build.package_sources()}
    (own_source / "tile.mojo").write_text("def broken(:\n    pass\n")
    with pytest.raises(MojoBuildError, match=r"(?s)exit code 1.*tile\.mojo:1:.*error"):
        mojo_build.build_package()
    assert {path for path in kept_folders(mojo_build.KEPT)[0].iterdir() if path.suffix != ".lock"} == paths


@pytest.mark.long
def test_two_processes_end_with_one_whole_library(mojo: str, tmp_path: Path) -> None:
    program = "from moe import mojo_build; library = mojo_build.build(); print(library.path, library.sha256)"
    environment = os.environ | {"MOE_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    assert [p.suffix for p in (tmp_path / "mojo").iterdir() if p.suffix != ".lock"] == [".so"]


@pytest.mark.long
def test_the_same_source_gives_the_same_library(mojo: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = set()
    for number in range(2):
        # The compiler's own cache is empty too, or the second library would be the first one's copy.
        monkeypatch.setenv("MODULAR_CACHE_DIR", str(tmp_path / f"compiler{number}"))
        monkeypatch.setenv("MOE_CACHE", str(tmp_path / f"kernel{number}"))
        library = mojo_build.build()
        assert any((tmp_path / f"compiler{number}").iterdir())
        assert library.path.is_relative_to(tmp_path / f"kernel{number}")
        hashes.add(library.sha256)
    assert len(hashes) == 1


def test_a_build_is_found_again(mojo: str) -> None:
    first, again = mojo_build.build(), mojo_build.build()
    assert (first.path, first.sha256) == (again.path, again.sha256)
    assert first.compiler.startswith("Mojo 1.2")
