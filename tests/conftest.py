"""Shared fixtures; Mojo that can't be built fails the tests, unless that is asked for by name."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import moe
from moe.implementations import availability, names
from moe.measure import child, patience, threads
from moe.report import pipeline
from moe.run import Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

COMMANDS = ("chromium", "chromium-browser", "google-chrome")
HOW_TO_INSTALL = (
    f"no browser found (tried {', '.join(COMMANDS)}): install Chromium with the system's packages, "
    "`apt-get install chromium` say, or name one in CHROMIUM=/path/to/it"
)
ALLOW = "ALLOW_NO_MOJO"
# What the contract's tests run; others by IMPLEMENTATIONS="numba file.py:Class" pytest tests/test_contract.py.
CHOSEN = os.environ.get("IMPLEMENTATIONS", "").split() or names()
# In each worker: samples of a millisecond, and no buffer of several times the last cache.
BRIEF_PROBES = "from moe.measure import limits; limits.SAMPLE_S, limits.LONG_S, limits.FAR_CACHES = 1e-3, 5e-3, 1; "
SCHEMA = json.loads((Path(moe.__file__).parent / "run.schema.json").read_text())


def have_threads_wait_asleep() -> None:
    """Have PyTorch's OpenMP in this process let a core go where its threads wait, which it decides when it is loaded.

    Beside other work a thread that spins holds up the one that it waits for, of a layer of a few rows for seconds.
    """
    spec = find_spec("torch")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for library in Path(folder, "lib").glob("libgomp*.so*"):
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
                ctypes.CDLL(str(library))


have_threads_wait_asleep()


def validate_run(data: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError for what is no run's file."""
    jsonschema.Draft202012Validator(SCHEMA).validate(data)


@pytest.fixture(autouse=True, scope="session")
def every_written_run_is_valid() -> Iterator[None]:
    """Whatever test writes a run's file, the file follows the schema."""
    text_of = Run.to_json

    def checked(run: Run) -> str:
        text = text_of(run)
        validate_run(json.loads(text))
        return text

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(Run, "to_json", checked)
        yield


def brief_worker() -> str:
    """The program of a worker, with probes that are brief."""
    main = "from moe.measure.worker import"
    assert main in child.WORKER
    return child.WORKER.replace(main, BRIEF_PROBES + main)


@contextmanager
def briefly() -> Iterator[None]:
    """Meanwhile little of a run's time goes to the machine: to its limits, and to waiting for other work on it.

    Its probes are as ever, only shorter, and so is the try at its cores, by which nobody fails then.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "WORKER", brief_worker())
        patch.setattr(threads, "TRIES", 1)
        for module in (threads, patience):
            patch.setattr(module, "WAIT_S", 0.0)
        yield


@pytest.fixture
def brief() -> Iterator[None]:
    """For tests of what a small run does, to which the machine's numbers are all the same."""
    with briefly():
        yield


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One report at profile `smoke` with a changed number of tokens, read by every test that only reads."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("reports")
        patch.setattr(pipeline, "REPORTS", folder)
        assert pipeline.make_report("smoke", ["tokens=48", "threads=1"]) == 0
        return folder / "latest"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium of the system's."""
    from playwright.sync_api import sync_playwright  # which only these tests need

    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, COMMANDS)), None)
    if path is None:
        pytest.fail(HOW_TO_INSTALL, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path)
        yield browser
        browser.close()


def require(name: str) -> str:
    """The name, if the implementation can run here; only Mojo may be missing, and only where that is allowed."""
    mojo = name in ("mojo", "mojo-max")
    available, reason = availability(name)
    if available:
        return name
    if mojo and os.environ.get(ALLOW) == "1":
        pytest.skip(f"Mojo is missing and {ALLOW}=1 allows that: {reason}")
    how = f". To test without Mojo: {ALLOW}=1 make test" if mojo else ""
    pytest.fail(f"{name} can't run here: {reason}{how}", pytrace=False)


@pytest.fixture(params=CHOSEN)
def name(request: pytest.FixtureRequest) -> str:
    return require(request.param)


@pytest.fixture
def mojo() -> str:
    return require("mojo")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What reads the whole report takes as long as making it."""
    for item in items:
        if "smoke" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.long)


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.items and not session.config.option.collectonly:
        pytest.exit("no tests were collected", returncode=pytest.ExitCode.TESTS_FAILED)
