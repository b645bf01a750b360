"""Caches where nothing can be written, nothing can be locked, or nobody is at home."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from moe import cli, doctor, folders, mojo_build
from moe.report.kernel import own_kernel

VARIABLES = ("HOME", "XDG_CACHE_HOME", "MOE_CACHE")
NOBODY = """
import pwd

def unknown(_):
    raise KeyError("getpwuid(): uid not found")

pwd.getpwuid = unknown
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a folder for temporary files, of this test's own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that is done at once."""
    toolchain = mojo_build.Toolchain(Path("mojo"), "Mojo 9")
    monkeypatch.setattr(mojo_build, "find_toolchain", lambda: toolchain)

    def run(command: list[str], *_: Any) -> str:
        Path(command[-1]).write_bytes(b"kernel")
        return ""

    monkeypatch.setattr(mojo_build, "_run", run)


def refuse_in(folder: Path, monkeypatch: pytest.MonkeyPatch, code: int = errno.EROFS) -> None:
    """Nothing can be made in a folder, as on a file system that is mounted read-only; permissions don't hold root."""
    make = {"mkdir": os.mkdir, "open": os.open}

    def guarded(name: str) -> Callable[..., Any]:
        def call(path: Any, flags: Any = 0, *rest: Any, **named: Any) -> Any:
            writes = name == "mkdir" or flags & (os.O_CREAT | os.O_RDWR | os.O_WRONLY)
            if writes and isinstance(path, str | Path) and Path(path).is_relative_to(folder):
                raise OSError(code, os.strerror(code), str(path))
            return make[name](path, flags, *rest, **named) if name == "open" else make[name](path, *rest, **named)

        return call

    for name in make:
        monkeypatch.setattr(os, name, guarded(name))


def nobody_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> NoReturn:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_the_users_cache_folder_is_the_place(places: Path) -> None:
    assert folders.usable_folder("mojo") == places / "home" / ".cache" / "moe" / "mojo"


def test_without_a_home_things_are_kept_among_temporary_files(
    places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody_known(monkeypatch)
    kept = places / "temporary" / f"moe-{os.getuid()}"
    monkeypatch.chdir(places)
    assert mojo_build.build().path.parent == kept / "mojo"
    assert (kept.stat().st_mode & 0o777) == 0o700
    assert not (places / "~").exists()


def test_a_read_only_home_is_said_and_another_place_used(
    places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (places / "home" / ".cache" / "moe" / "mojo").mkdir(parents=True)
    refuse_in(places / "home", monkeypatch)
    library = mojo_build.build()
    assert library.path.is_relative_to(places / "temporary")
    said = doctor._mojo()
    assert f"kept in {library.path.parent}, not in {places / 'home'}/.cache/moe/mojo: Read-only file system" in said
    assert "MOE_CACHE" in said


def test_what_is_kept_in_a_read_only_home_is_used(
    places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mojo_build.build().path
    refuse_in(places / "home", monkeypatch)
    assert mojo_build.build().path == path


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_used(
    code: int, places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    library = mojo_build.build()
    assert library.path.parent == places / "home" / ".cache" / "moe" / "mojo"
    assert [path for path in library.path.parent.iterdir() if path.suffix != ".lock"] == [library.path]


def test_a_named_place_that_cannot_be_used_is_an_error_that_names_the_variable(
    places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (places / "file").write_text("")
    monkeypatch.setenv("MOE_CACHE", str(places / "file"))
    with pytest.raises(mojo_build.MojoBuildError, match=r"file/mojo: .*; set MOE_CACHE to a folder") as caught:
        mojo_build.build()
    assert "\n" not in str(caught.value)
    assert doctor._mojo() == str(caught.value)
    assert cli.main(["build"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == f"moe: {caught.value}"


def test_with_no_place_at_all_all_that_was_tried_is_said(
    places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_in(places, monkeypatch)
    with pytest.raises(mojo_build.MojoBuildError) as caught:
        mojo_build.build()
    for tried in ("home/.cache/moe/mojo: Read-only", f"temporary/moe-{os.getuid()}/mojo: Read-only", "MOE_CACHE"):
        assert tried in str(caught.value)
    nobody_known(monkeypatch)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: (_ for _ in ()).throw(FileNotFoundError(2, "none")))
    with pytest.raises(mojo_build.MojoBuildError, match="neither a home folder nor one for temporary files"):
        mojo_build.build()


@pytest.mark.parametrize("theirs", ["a link", "anybody's", "another user's"])
def test_nothing_is_taken_from_what_others_could_have_put_among_temporary_files(
    theirs: str, places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = places / "temporary" / f"moe-{os.getuid()}"
    nobody_known(monkeypatch)
    name = mojo_build.build().path.name
    assert name
    if theirs == "a link":
        own.rename(places / "elsewhere")
        own.symlink_to(places / "elsewhere")
    elif theirs == "anybody's":
        own.chmod(0o777)
    else:
        found = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: found + 1)
        own.rename(own.with_name(f"moe-{found + 1}"))
    assert folders.kept_folders(mojo_build.KEPT) == []
    with pytest.raises(mojo_build.MojoBuildError, match="it is not this user's alone"):
        mojo_build.build()


def test_a_place_from_which_nothing_can_be_loaded_is_none(
    places: Path, compiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        os,
        "statvfs",
        lambda path: SimpleNamespace(f_flag=os.ST_NOEXEC if Path(path).is_relative_to(places / "home") else 0),
    )
    assert mojo_build.build().path.is_relative_to(places / "temporary")
    assert "mounted noexec" in doctor._mojo()


def test_a_compiler_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    fake = tmp_path / "mojo"
    fake.write_text("no program")
    for mode in (0o600, 0o700):
        fake.chmod(mode)
        with pytest.raises(mojo_build.MojoBuildError, match="the Mojo compiler can't be started: "):
            mojo_build._run([str(fake)], timeout=5)


def test_what_matplotlib_keeps_has_a_place_too(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_kernel(places)().kernel_spec.env["MPLCONFIGDIR"] == str(folders.usable_folder("matplotlib"))
    refuse_in(places / "home", monkeypatch)
    refuse_in(places / "temporary", monkeypatch)
    assert own_kernel(places)().kernel_spec.env["MPLCONFIGDIR"] == str(places / "matplotlib")


@pytest.mark.long
def test_nobody_without_a_home_gets_a_whole_diagnosis(mojo: str, tmp_path: Path) -> None:
    """And a page, by a kernel that can write nowhere but among temporary files."""
    (tmp_path / "sitecustomize.py").write_text(NOBODY)
    (tmp_path / "temporary").mkdir()
    (tmp_path / "here").mkdir()
    root = Path(folders.__file__).parent.parent
    environment = {key: value for key, value in os.environ.items() if key not in (*VARIABLES, "USER", "LOGNAME")}
    environment |= {"PYTHONPATH": f"{tmp_path}:{root}", "TMPDIR": str(tmp_path / "temporary")}
    program = f"""
import sys
from pathlib import Path
import nbformat
from moe.cli import main
code = main(["doctor"])
from moe.report.render import execute, render
from moe.report.origin import Foot
import getpass
print(getpass.getuser())
cell = nbformat.v4.new_code_cell("from moe.report import figures; print('drawn')")
nbformat.write(nbformat.v4.new_notebook(cells=[cell]), "page.ipynb")
done = execute(Path("page.ipynb"), Path({str(tmp_path)!r}) / "done.ipynb", {{}})
page = render(done, Foot((), ""), ["comparison"], Path({str(root)!r}) / "docs" / "sample" / "comparison.json")
assert "drawn" in page and "stderr" not in page.partition("<body")[2], page
sys.exit(code)
"""
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=tmp_path / "here",
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    *lines, user = answer.stdout.splitlines()
    assert [line.split()[1] for line in lines[-5:]] == ["works"] * 5
    assert user == f"user-{os.getuid()}"
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["page.ipynb"]
