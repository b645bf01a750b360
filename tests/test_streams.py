"""Standard streams of any encoding, closed, full, or with a reader that has gone."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from moe.progress import Progress
from moe.run import RunFileError, load_run, write_atomically
from moe.streams import Lasting

from .conftest import brief_worker

pytestmark = pytest.mark.long

LACKING = ("ascii", "cp437")
BENCH = ["bench", "numpy", "--config", "smoke,tokens=4", "--budget", "0.5", "--anyway"]


def moe(*arguments: str, encoding: str = "utf-8", redirect: str = "") -> subprocess.CompletedProcess[bytes]:
    """A command with its streams in an encoding, started by a shell that may redirect them, and kept short."""
    program = "import sys, moe.check, moe.cli, moe.measure.child; moe.check.PRESETS = {}; "
    program += f"moe.measure.child.WORKER = {brief_worker()!r}; sys.exit(moe.cli.main())"
    return subprocess.run(
        ["bash", "-c", f'"$0" "$@" {redirect}', sys.executable, "-c", program, *arguments],
        capture_output=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437", "utf-16"])
def test_numbers_are_printed_in_any_encoding(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    done = moe(*BENCH, "--json", str(path), encoding=encoding)
    assert done.returncode == 0, done.stderr
    table = done.stdout.decode(encoding)
    assert "baseline" in table
    assert ("; × is" in table, "; x is" in table) == (encoding not in LACKING, encoding in LACKING)
    assert load_run(path).complete


def test_help_is_printed_in_any_encoding() -> None:
    done = moe("bench", "--help", encoding="ascii:strict")
    assert (done.returncode, b"1,2" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize("redirect", [">&- 2>&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_nothing_but_what_they_would_show(redirect: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    done = moe(*BENCH, "--json", str(path), redirect=redirect)
    assert done.returncode == 0, done.stderr
    assert load_run(path).complete
    assert (b"numpy" in done.stdout) == (">&-" not in redirect.replace("2>&-", ""))


@pytest.mark.parametrize("redirect", ["| true", "2>&1 | true"])
def test_a_reader_that_has_gone_stops_nothing(redirect: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    done = moe(*BENCH, "--json", str(path), redirect=f"{redirect}; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, b"")
    assert load_run(path).complete


def test_what_a_full_disk_does_not_take_is_printed_elsewhere() -> None:
    done = moe(*BENCH, redirect="> /dev/full")
    lines = done.stderr.decode().splitlines()
    assert done.returncode == 1
    assert any("baseline" in line for line in lines)
    assert lines[-1] == "moe: standard output can't be written to: [Errno 28] No space left on device"


def test_a_stream_takes_what_its_encoding_lacks() -> None:
    raw = io.BytesIO()
    stream = Lasting(io.TextIOWrapper(raw, encoding="latin-1"))
    stream.write("1–2 µs × 3 → ✓ caf\udcff é\n")
    assert raw.getvalue() == "1-2 µs × 3 -> \\u2713 caf\\udcff é\n".encode("latin-1")


def test_progress_needs_no_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moe.progress.LINE_EVERY_S", 0.0)
    monkeypatch.setattr(sys, "stderr", None)
    Progress("measuring", 1.0).note("nothing")
    broken = io.StringIO()
    broken.close()
    monkeypatch.setattr(sys, "stderr", broken)
    Progress("measuring", 1.0).note("nothing")


def test_what_an_implementation_prints_needs_no_encoding(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "from moe.implementations.numpy_layer import NumpyLayer\n\n\n"
        "class Chatty(NumpyLayer):\n    name = 'chatty'\n\n    def forward(self, x):\n"
        "        print('\\u2013 \\udcff')\n        return super().forward(x)\n",
        encoding="utf-8",
    )
    for command in (["bench"], ["check", "--threads", "1"]):
        rest = BENCH[2:] if command == ["bench"] else []
        done = moe(*command, f"{tmp_path}/chatty.py:Chatty", *rest, encoding="ascii:strict")
        assert done.returncode == 0, (done.stdout[-2000:], done.stderr)


def test_files_are_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    write_atomically(tmp_path / "page", "µ – \udcff")
    assert (tmp_path / "page").read_bytes() == "µ – \\udcff".encode()


def test_a_runs_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(RunFileError, match=r"run\.json can't be read as a run"):
        load_run(tmp_path / "run.json")
