"""`make env`, by Pythons of any age that are not there: fakes that write down what they are asked to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
NEEDED = ">=3.11,<3.15"
# A Python that says what a real one would, but for its version and place, and makes what a real one makes.
FAKE = """#!/bin/sh
here=$(dirname "$0")
case "$2" in
"import pip") test -e "$here/pip"; exit ;;
venv)
    echo "{version} venv $3" >> "{log}"
    if [ "$3" = --clear ]; then rm -rf .venv; fi
    mkdir -p .venv/bin
    cp "{base}/bin/python3" .venv/bin/python
    echo "#!$(pwd -P)/.venv/bin/python" > .venv/bin/pip
    ;;
pip)
    echo "{version} pip $3" >> "{log}"
    test ! -e "{log}.interrupted"
    ;;
*)
    code=$2
    shift 2
    exec "{real}" -I -c "import sys
sys.version_info, sys.version, sys.base_prefix = ({numbers}, 'final', 0), '{version} (fake)', '{base}'
sys._base_executable = '{base}/bin/python3'
if '{lacks}': sys.modules['{lacks}'] = None
$code" "$@"
    ;;
esac
"""


class Checkout:
    """A checkout's part of `make env`, with fakes on the path and what they were asked to do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a checkout"
        self.log = folder / "log"
        self.pythons = folder / "pythons"
        self.path = folder / "path"
        self.path.mkdir()
        for name in ("bash", "sed", "dirname", "grep", "rm", "touch", "mkdir", "cp", "sh", "awk"):
            (self.path / name).symlink_to(shutil.which(name) or name)
        self.folder.mkdir()
        for name in ("Makefile", "make_venv.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, self.folder)
        (self.folder / "reports").mkdir()
        (self.folder / "reports" / "kept").touch()

    def add(self, version: str, lacks: str = "", name: str = "") -> None:
        """Put a Python of this version on the path, by its own name or another."""
        base = self.pythons / version
        (base / "bin").mkdir(parents=True, exist_ok=True)
        python = base / "bin" / "python3"
        numbers = version.replace(".", ", ")
        facts = {"version": version, "numbers": numbers, "base": base, "lacks": lacks}
        python.write_text(FAKE.format(log=self.log, real=sys.executable, **facts))
        python.chmod(0o755)
        link = self.path / (name or f"python{version.rpartition('.')[0]}")
        link.unlink(missing_ok=True)
        link.symlink_to(python)

    def make(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """What `make .venv`, which every target needs, does."""
        self.log.unlink(missing_ok=True)
        clean = {"PATH": str(self.path), "HOME": str(self.folder), **environment}
        make = shutil.which("make") or "make"
        answer = subprocess.run(
            [make, ".venv"], cwd=self.folder, env=clean, capture_output=True, text=True, check=False
        )
        assert (self.folder / "reports" / "kept").exists()
        return answer

    @property
    def done(self) -> list[str]:
        """What Pythons were asked to do, since make was called last."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_python_that_is_too_old_is_named_before_anything_is_installed(checkout: Checkout) -> None:
    checkout.add("3.9.2", name="python3")
    answer = checkout.make()
    assert answer.returncode == 2
    said = answer.stderr.splitlines()[0]
    assert said.startswith(f"make: python3 is Python 3.9.2 (in {checkout.pythons}/3.9.2), and {NEEDED} is needed; ")
    assert "PYTHON=/path/to/python3.12 make env" in said
    assert checkout.done == []
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.parametrize("version", ["3.10.14", "3.15.0", "2.7.18", "4.0.0"])
def test_what_is_needed_is_what_the_project_says(version: str, checkout: Checkout) -> None:
    checkout.add(version, name="python3")
    assert f"Python {version}" in checkout.make().stderr
    assert checkout.done == []


@pytest.mark.parametrize("version", ["3.11.0", "3.14.2"])
def test_a_python_that_fits_is_used_once(version: str, checkout: Checkout) -> None:
    checkout.add(version, name="python3")
    assert checkout.make().returncode == 0
    assert checkout.done == [f"{version} venv --clear", f"{version} pip install"]
    assert checkout.make().returncode == 0
    assert checkout.done == []


def test_another_python_mends_what_one_that_is_too_old_left(checkout: Checkout) -> None:
    """As the venv was that an earlier `make env` had begun."""
    checkout.add("3.9.2", name="python3")
    checkout.add("3.12.1")
    own = checkout.folder / ".venv" / "bin"
    own.mkdir(parents=True)
    shutil.copy(checkout.pythons / "3.9.2" / "bin" / "python3", own / "python")
    (own / "pip").write_text(f"#!{own}/python\n")
    assert "3.9.2" in checkout.make().stderr
    assert checkout.make(PYTHON="python3.12").returncode == 0
    assert checkout.done == ["3.12.1 venv --clear", "3.12.1 pip install"]
    assert checkout.make().returncode == 0, "later calls stay at what .venv has"
    assert checkout.done == []


def test_the_same_python_by_another_name_makes_nothing_anew(checkout: Checkout) -> None:
    checkout.add("3.12.1", name="python3")
    checkout.add("3.12.1")
    checkout.make()
    assert checkout.make(PYTHON="python3.12").returncode == 0
    assert checkout.done == []


@pytest.mark.parametrize("name", ["python3.13", "/nowhere/python3"])
def test_a_python_that_is_not_there_is_named(name: str, checkout: Checkout) -> None:
    checkout.add("3.12.1", name="python3")
    answer = checkout.make(PYTHON=name)
    assert answer.stderr.startswith(f"make: {name} can't be run, and Python {NEEDED} is needed; ")
    assert checkout.done == []


@pytest.mark.parametrize("lacks", ["venv", "ensurepip"])
def test_a_python_without_venv_says_what_to_install(lacks: str, checkout: Checkout) -> None:
    checkout.add("3.11.2", lacks, name="python3")
    answer = checkout.make()
    assert "can't make a .venv: " in answer.stderr
    assert lacks in answer.stderr
    assert "python3.11-venv" in answer.stderr
    assert checkout.done == []


def test_an_installation_that_was_interrupted_goes_on(checkout: Checkout) -> None:
    checkout.add("3.12.1", name="python3")
    interrupted = Path(f"{checkout.log}.interrupted")
    interrupted.touch()
    assert checkout.make().returncode != 0
    interrupted.unlink()
    assert checkout.make().returncode == 0
    assert checkout.done == ["3.12.1 pip install"]


def test_a_venv_without_pip_gets_it_and_keeps_the_rest(checkout: Checkout) -> None:
    checkout.add("3.12.1", name="python3")
    checkout.make()
    own = checkout.folder / ".venv"
    (own / "bin" / "pip").unlink()
    (own / ".ready").unlink()
    (own / "torch").touch()
    assert checkout.make().returncode == 0
    assert checkout.done == ["3.12.1 venv .venv", "3.12.1 pip install"]
    assert (own / "torch").exists()


@pytest.mark.parametrize("changed", ["constraints.txt", "pyproject.toml"])
def test_other_requirements_are_installed_into_what_is_there(changed: str, checkout: Checkout) -> None:
    checkout.add("3.12.1", name="python3")
    checkout.make()
    later = (checkout.folder / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(checkout.folder / changed, (later, later))
    assert checkout.make().returncode == 0
    assert checkout.done == ["3.12.1 pip install"]


def test_a_checkout_that_was_moved_gets_a_venv_of_its_own(checkout: Checkout) -> None:
    """Else its commands would be the old place's, or none."""
    checkout.add("3.12.1", name="python3")
    checkout.make()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.make().returncode == 0
    assert checkout.done == ["3.12.1 venv --clear", "3.12.1 pip install"]


def test_a_venv_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    """As after an update of the system's Python, or a removal."""
    checkout.add("3.12.1", name="python3")
    checkout.make()
    python = checkout.folder / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert checkout.make().returncode == 0
    assert checkout.done == ["3.12.1 venv --clear", "3.12.1 pip install"]


def by_hand(checkout: Checkout, version: str, folder: Path) -> None:
    """A venv of a Python on the path that `make` did not make."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(checkout.pythons / version / "bin" / "python3", folder / "bin" / "python")
    (folder / "bin" / "pip").write_text("#!/bin/sh\n'''exec' python\n")  # as where it may be moved
    (folder / "torch").touch()


def test_a_venv_that_somebody_made_stays_whatever_python_is_named(checkout: Checkout) -> None:
    checkout.add("3.12.1", name="python3")
    checkout.add("3.13.1")
    by_hand(checkout, "3.12.1", checkout.folder / ".venv")
    answer = checkout.make(PYTHON="python3.13")
    assert answer.returncode == 0
    assert ".venv stays what it is" in answer.stderr
    assert checkout.done == ["3.12.1 pip install"]
    assert (checkout.folder / ".venv" / "torch").exists()


def test_nothing_is_deleted_through_a_link(checkout: Checkout) -> None:
    checkout.add("3.12.1", name="python3")
    checkout.add("3.9.2")
    shared = checkout.folder.with_name("shared")
    by_hand(checkout, "3.9.2", shared)
    (checkout.folder / ".venv").symlink_to(shared)
    answer = checkout.make()
    assert ".venv is a link" in answer.stderr
    assert answer.returncode != 0
    assert checkout.done == []
    assert (shared / "torch").exists()
