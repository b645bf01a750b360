"""`moe doctor` wherever it is asked: a whole diagnosis, and 0 or 1."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

import moe

pytestmark = pytest.mark.long

ROOT = Path(moe.__file__).parent.parent
CORE = ["python", "numpy", "torch-naive", "torch", "mojo"]
# What is done to the process before it begins, and to its surroundings.
PLACES = {
    "as it is": "",
    "clocks raise": "psutil.cpu_freq = raising(RuntimeError('no clock'))",
    "nothing is known": "psutil.cpu_freq = psutil.cpu_count = psutil.virtual_memory = raising(OSError(5, 'no'))",
    "96 cores": "os.sched_getaffinity = lambda _: set(range(96))",
    "no cores": "os.sched_getaffinity = raising(PermissionError(1, 'no'))",
    "no groups": "moe.cgroups.PROC = Path('nowhere')",
    "groups of version 1": """
        Path('proc').mkdir()
        Path('proc/cgroup').write_text('3:memory:/job\\n2:cpu,cpuacct:/job\\n')
        Path('memory/job').mkdir(parents=True)
        Path('memory/job/memory.limit_in_bytes').write_text('')
        Path('proc/mountinfo').write_text(f'1 1 0:1 / {Path.cwd()}/memory rw - cgroup cgroup rw,memory\\n')
        moe.cgroups.PROC = Path('proc')
        """,
    "no locks": "fcntl.flock = raising(OSError(errno.ENOLCK, 'no locks'))",
    "nobody": "pwd.getpwuid = raising(KeyError('uid not found')); os.environ.pop('HOME')",
    "no folder": "os.environ['MOE_CACHE'] = '/proc/nowhere'",
    "no temporary files": "tempfile.tempdir = '/proc'",
    "no git": "os.environ['PATH'] = ''",
    "threads of the caller's": "os.environ.update(OMP_THREAD_LIMIT='1', OMP_PROC_BIND='true', MKL_NUM_THREADS='x')",
    "strange modules": """
        for name in ('numpy', 'random', 'statistics', 'torch'):
            Path(name + '.py').write_text("raise RuntimeError('somebody else')")
        """,
    "another kernelspec": """
        Path('kernels/python3').mkdir(parents=True)
        Path('kernels/python3/kernel.json').write_text('{"argv": ["/nowhere/python"]}')
        os.environ['JUPYTER_PATH'] = str(Path.cwd())
        """,
    "a user's matplotlib": """
        Path('matplotlibrc').write_text('text.usetex: True\\nnonsense\\n')
        os.environ['MATPLOTLIBRC'] = 'matplotlibrc'
        """,
}
LINES = ("machine", "python", "mojo", "cuda")


def raised_in(place: str) -> str:
    """A plug-in's file, which leaves in its constructor or raises at import."""
    deed = {"import": "raise OSError('theirs')", "constructor": ""}[place]
    return f"""
    {deed}
    class Theirs:
        name = description = "theirs"
        available = staticmethod(lambda: (True, ""))
        def __init__(self, weights, *, top_k, threads):
            raise SystemExit("theirs")
    """


def asked(program: str, folder: Path, redirect: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a folder, after `program`, by a shell that may redirect its streams."""
    begin = """
    import errno, fcntl, os, pwd, sys, tempfile
    from pathlib import Path
    import psutil
    import moe.cgroups
    from moe.cli import main

    def raising(error):
        def call(*_, **__):
            raise error
        return call

    """
    (folder / "program.py").write_text(f"{dedent(begin)}\n{dedent(program)}\nsys.exit(main(['doctor']))\n")
    here = folder / "a folder [of] its: own"
    here.mkdir()
    return subprocess.run(
        ["bash", "-c", f'"$0" "$@" {redirect}; exit ${{PIPESTATUS[0]}}', sys.executable, str(folder / "program.py")],
        cwd=here,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def require_whole(done: subprocess.CompletedProcess[str], ill: str = "") -> None:
    """A line of everything; `ill` is the one implementation that may not work, if one may not."""
    assert done.returncode == bool(ill), done.stderr
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if not line.startswith("unknown ")]
    others = [ill] if ill and ill not in CORE else []
    assert [line.split()[0] for line in lines] == [*LINES, *CORE, *others]
    assert {line.split()[0] for line in lines[len(LINES) :] if not line.endswith(" works")} == (
        {ill} if ill else set()
    )


@pytest.mark.parametrize("place", PLACES)
def test_in_any_surroundings(mojo: str, place: str, tmp_path: Path) -> None:
    require_whole(asked(PLACES[place], tmp_path), "mojo" if place == "no folder" else "")


@pytest.mark.parametrize("place", ["import", "constructor"])
def test_beside_a_plug_in_that_raises(mojo: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(dedent(raised_in(place)))
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[moe.implementations]\ntheirs = theirs:Theirs\n")
    require_whole(asked("", tmp_path), "theirs")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
def test_in_any_encoding(mojo: str, encoding: str, tmp_path: Path) -> None:
    require_whole(asked("", tmp_path, PYTHONIOENCODING=encoding, LC_ALL="C"))


@pytest.mark.parametrize("redirect", [">&- 2>&-", "| true", ">/dev/full"])
def test_on_any_stream(mojo: str, redirect: str, tmp_path: Path) -> None:
    done = asked("", tmp_path, redirect)
    assert done.returncode == ("full" in redirect)
    assert ("mojo          works" in done.stderr) == ("full" in redirect)
    assert "Traceback" not in done.stderr
