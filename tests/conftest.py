"""Shared fixtures; Mojo that can't be built fails the tests, unless that is asked for by name."""

from __future__ import annotations

import os

import pytest

from moe.implementations import availability, names

ALLOW = "ALLOW_NO_MOJO"


def require(name: str) -> str:
    """The name, if the implementation can run here; only Mojo may be missing, and only where that is allowed."""
    available, reason = availability(name)
    if available:
        return name
    if name == "mojo" and os.environ.get(ALLOW) == "1":
        pytest.skip(f"Mojo is missing and {ALLOW}=1 allows that: {reason}")
    how = f". To test without Mojo: {ALLOW}=1 make test" if name == "mojo" else ""
    pytest.fail(f"{name} can't run here: {reason}{how}", pytrace=False)


@pytest.fixture(params=names())
def name(request: pytest.FixtureRequest) -> str:
    return require(request.param)


@pytest.fixture
def mojo() -> str:
    return require("mojo")


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.items and not session.config.option.collectonly:
        pytest.exit("no tests were collected", returncode=pytest.ExitCode.TESTS_FAILED)
