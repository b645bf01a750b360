from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from moe.cli import main
from moe.config import PRESETS
from moe.edges import FORMS
from moe.run import load_run


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["python", "numpy", "torch-naive", "torch", "mojo"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "COMMAND"),
        (["bensh"], "bench"),
        (["bench", "nunpy"], "did you mean numpy"),
        (["bench", "--config", "sead"], "did you mean seed"),
        (["bench", "--config", "top_k=9"], "top_k must be at most num_experts"),
        (["bench", "--threads", "none"], "1,2"),
        (["bench", "--budget", "-3"], "seconds like 60 or 60s, a number greater than 0, at most 100000000, got '-3'"),
        (
            ["bench", "--budget", "long"],
            "--budget: expected seconds like 60 or 60s, a number greater than 0, at most 100000000, got 'long'",
        ),
        (
            ["bench", "--target", "narrow"],
            "--target: expected a share like 1% or 0.01, a number greater than 0, at most 1000000, got 'narrow'",
        ),
        (["bench", "--target", "0%"], "a share like 1% or 0.01, a number greater than 0, at most 1000000, got '0%'"),
        (["bench", "--memory", "-1"], "argument --memory: expected mebibytes like 512, a number of at least 1"),
        (
            ["selfcheck", "--runs", "1"],
            "argument --runs: expected a number of runs like 10, a whole number of at least 2, at most 1000, got '1'",
        ),
        (["bench", "--resume"], "--json"),
        (["bench", "--resume", "--force"], "not allowed with"),
        (["check", "numpy[x=1]"], "unknown option of numpy"),
        (["goals", "sead"], "did you mean seed"),
        (["goals", "seed", "--page", "x.md"], "name none"),
        (["goals", "--folder", "nowhere", "--page", "x.md"], "not found"),
        (["bench", "--cache", "cool"], "cache must be warm or cold"),
        (["report", "--profile", "quik"], "did you mean quick"),
        (["report", "-p", "tokns=256"], "tokens"),
        (["report", "-p", "tokens"], "KEY=VALUE"),
        (["report", "-p", "tokens=many"], "tokens must be a whole number, got 'many'"),
        (["report", "-p", "run=x"], "unknown parameter 'run'"),
        (["report", "-p", "top_k=9"], "top_k must be at most num_experts"),
        (["report", "-p", "threads=x"], "threads must be auto or numbers like 1,2, got 'x'"),
        (["report", "-p", "implementations=nunpy"], "did you mean numpy"),
        (["report", "--from", "nowhere"], "is no report"),
        (["report", "--from", "x", "-p", "tokens=1"], "--from"),
    ],
)
def test_wrong_arguments_leave_with_2_and_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code: object = main(arguments)
    except SystemExit as leaving:
        code = leaving.code
    printed = capsys.readouterr()
    assert code == 2
    assert expected in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert printed.out == ""


DRAWING = {"matplotlib", "seaborn", "pandas", "IPython", "nbformat", "papermill", "jsonschema"}


@pytest.mark.parametrize(
    ("command", "libraries"),
    [
        ("--help", {"numpy", "psutil", "filelock"}),
        ("list --models", {"numpy", "psutil", "filelock"}),
        ("list", {"torch", "scipy", *DRAWING}),
        ("check python --threads 2", {"torch", "scipy", *DRAWING}),
        ("bench numpy --config smoke,tokens=2 --budget 0.2 --anyway", {"torch", "scipy", *DRAWING}),
    ],
)
def test_a_command_waits_for_no_library_that_it_does_not_use(command: str, libraries: set[str]) -> None:
    code = """
    import sys
    from moe.cli import main
    try:
        main(sys.argv[1:])
    finally:
        print("loaded:", *sorted(sys.modules))
    """
    words = [sys.executable, "-c", dedent(code), *command.split()]
    last = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    assert last.startswith("loaded: ")
    assert libraries & set(last.split()) == set()


@pytest.fixture
def quick_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the presets that take seconds each, and with few forms."""
    monkeypatch.setattr("moe.check.FORMS", {name: FORMS[name] for name in ("mixtral", "gpt-oss", "bfloat16")})
    monkeypatch.setattr("moe.check.PRESETS", {name: PRESETS[name] for name in ("smoke", "seed")})


@pytest.mark.usefixtures("quick_presets")
def test_check_one_implementation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "python", "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert "seed               ok       error" in out
    assert "on the first 8 tokens" in out
    assert "24 agree with the reference, 0 failed, 0 not run" in out


@pytest.mark.usefixtures("quick_presets")
def test_check_fails_where_something_disagrees(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = f"{Path(__file__).with_name('misbehaving.py')}:Reuses"
    assert main(["check", wrong, "--threads", "1"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"[1-9]\d* failed", out)


@pytest.mark.usefixtures("quick_presets")
def test_an_error_in_every_forward_is_said_once_and_where_it_came_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
    import numpy as np
    class Layer:
        name, description = "typo", "a layer with a typo"
        available = staticmethod(lambda: (True, ""))
        def __init__(self, weights, *, top_k, threads): pass
        def forward(self, x):
            return np.zero_like(x)
    """
    (tmp_path / "typo.py").write_text(dedent(code))
    assert main(["check", f"{tmp_path / 'typo.py'}:Layer", "--threads", "1"]) == 1
    out = capsys.readouterr().out
    assert out.count("(typo.py, line 8: return np.zero_like(x))") == 2
    assert "20 more failed alike: AttributeError: " in out
    assert "0 agree with the reference, 21 failed, 3 not run" in out


def test_nothing_checked_is_not_a_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "python", "--threads", "2"]) == 1
    assert "0 agree with the reference, 0 failed, 1 not run" in capsys.readouterr().out


@pytest.mark.usefixtures("brief")
def test_what_raises_at_import_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('at import')\n")
    broken = f"{tmp_path}/broken.py:Layer"
    assert main(["bench", "numpy", broken, "--config", "smoke,tokens=4", "--budget", "0.5", "--anyway"]) == 0
    assert "not run: RuntimeError: at import" in capsys.readouterr().out


def test_cuda_is_not_run_where_there_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    code = main(["check", "torch[device=cuda]", "--threads", "1"])
    out = capsys.readouterr().out
    assert ("no CUDA device" in out) != torch.cuda.is_available()
    assert "failed: " not in out
    assert code == (0 if torch.cuda.is_available() else 1)


@pytest.mark.usefixtures("quick_presets")
def test_check_leaves_out_what_would_take_too_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("moe.check.LONGEST_FORWARD_S", 1e-9)
    assert main(["check", "numpy", "--threads", "1"]) == 0
    assert "seed               not run  a forward would take about" in capsys.readouterr().out


@pytest.mark.usefixtures("brief")
def test_bench_prints_and_saves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.json"
    arguments = ["bench", "numpy", "--config", "smoke,tokens=4", "--budget", "0.2s", "--json", str(path), "--anyway"]
    assert main(arguments) == 0
    assert "numpy" in capsys.readouterr().out
    assert load_run(path).measurements[0].config.tokens == 4
    assert main(arguments) == 2
    assert "exists" in capsys.readouterr().err


@pytest.mark.usefixtures("brief")
def test_bench_leaves_with_1_after_everything_else_was_saved(tmp_path: Path) -> None:
    wrong = f"{Path(__file__).with_name('misbehaving.py')}:Exits"
    path = tmp_path / "run.json"
    arguments = ["bench", "numpy", wrong, "--config", "smoke", "--budget", "0.5", "--json", str(path), "--anyway"]
    assert main(arguments) == 1
    assert [m.status for m in load_run(path).measurements] == ["ok", "failed", "ok"]


@pytest.mark.usefixtures("brief")
def test_bench_tries_a_layer_from_a_file_on_every_edge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = """
    from moe.implementations.numpy_layer import NumpyLayer
    class Layer(NumpyLayer):
        def forward(self, x):
            return super().forward(x) if len(x) else None.shape
    """
    (tmp_path / "own.py").write_text(dedent(code))
    own = f"{tmp_path / 'own.py'}:Layer"
    assert main(["bench", "numpy", own, "--config", "smoke,tokens=4", "--budget", "0.5", "--anyway"]) == 1
    out = capsys.readouterr().out
    assert "failed: wrong on 1 of 19 edges, first 'no tokens': AttributeError: " in out
    assert "(own.py, line 5: return super().forward(x) if len(x) else None.shape)" in out


def test_module_runs() -> None:
    answer = subprocess.run([sys.executable, "-m", "moe", "list"], capture_output=True, text=True, check=True)
    assert "numpy" in answer.stdout


def test_doctor(mojo: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "Mojo 1.2" in out
    assert "mojo          works" in out
