"""Set-up: one place for versions, a lock without local marks, and an environment.yml that installs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
LOCK = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
FIXED = {"numpy", "torch", "jupyterlab", "pandas", "seaborn", "papermill", "nbconvert"}


def pip_lines() -> list[str]:
    return next(part["pip"] for part in ENVIRONMENT["dependencies"] if isinstance(part, dict))


def test_lock_is_names_and_versions_alone() -> None:
    assert len(LOCK) > 50
    for line in LOCK:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][0-9a-z.!]*", line), line


def test_lock_fits_the_project() -> None:
    locked = dict(line.split("==") for line in LOCK)
    requirements = [Requirement(r) for r in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
    for requirement in requirements:
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(locked[name]), requirement
    assert {requirement.name for requirement in requirements} >= FIXED
    assert locked["torch"] == "2.13.0"
    assert locked["max"] == "26.7.0"


def test_environment_holds_no_version_but_pythons() -> None:
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    plain = [part for part in ENVIRONMENT["dependencies"] if isinstance(part, str)]
    assert plain == ["python=3.11", "pip"]
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.11")
    assert pip_lines() == ["--constraint constraints.txt", "--editable .[dev]"]


@pytest.mark.long
def test_environments_pip_part_installs_into_a_fresh_environment(tmp_path: Path) -> None:
    """As conda does it: the lines in a file beside environment.yml, pip started there."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    # conda writes its own file into the folder; a test leaves the checkout as it is.
    lines = [
        line.replace("constraints.txt", str(ROOT / "constraints.txt")).replace(" .", f" {ROOT}")
        for line in pip_lines()
    ]
    (tmp_path / "requirements.txt").write_text("\n".join(lines) + "\n")
    pip = [tmp_path / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", tmp_path / "requirements.txt"], check=True, cwd=ROOT, timeout=500)
    fresh = {**os.environ, "PYTHONPATH": ""}
    answer = subprocess.run(
        [tmp_path / "venv" / "bin" / "moe", "list"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=fresh,
    )
    assert [line.split()[0] for line in answer.stdout.splitlines()[:5]] == [
        *("python", "numpy", "torch-naive", "torch", "mojo")
    ]


def make(*arguments: str, **environment: str) -> str:
    """What make prints, as if called from a shell rather than from the make that runs these tests."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "CONDA"))}
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_make_help_names_every_target() -> None:
    listed = {line.split()[1] for line in make("help").splitlines()}
    expected = "help env report sample test test-all test-browser lab bench models selfcheck lint format clean"
    assert listed == set(expected.split())


def test_make_uses_an_activated_conda_environment() -> None:
    conda = {"CONDA_DEFAULT_ENV": "moe", "CONDA_PREFIX": "/somewhere/envs/moe"}
    commands = make("--dry-run", "report", "PARAMS=tokens=256 top_k=1", "PROFILE=full", **conda)
    assert commands == "/somewhere/envs/moe/bin/moe report --profile full -p 'tokens=256' -p 'top_k=1'"


def test_make_can_measure_on_a_busy_machine() -> None:
    conda = {"CONDA_DEFAULT_ENV": "moe", "CONDA_PREFIX": "/env"}
    commands = {"report": "report", "sample": "report", "bench": "goals", "selfcheck": "selfcheck"}
    for target, command in commands.items():
        assert f"/env/bin/moe {command} --anyway" in make("--dry-run", target, "ANYWAY=1", **conda)
        assert "--anyway" not in make("--dry-run", target, **conda)
