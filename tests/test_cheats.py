"""What each layer that cheats gets from a run, and that no honest one is taken for a cheat."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from functools import cache

import pytest

import moe
from cheats import CHEATS, Honest, label_of
from cheats.helpers import InBackground
from cheats.trial import CONFIG, TRIALS, outcome, trial, tried_on

from .synthetic import synthetic_run

pytestmark = pytest.mark.long

HONEST = (label_of(Honest), "numpy", "python", "torch", "mojo", "mojo[pool=off]")
TRIED = [(cheat, config, threads) for config, threads in TRIALS for cheat in tried_on(config, threads)]
BEGIN_RIGHT = [cheat for cheat in CHEATS if cheat is not InBackground]  # whose answer comes when it comes

# In a process of its own: clocks, threads and helpers are left there as they will be.
FIRST_OUTPUTS = """
import json
import moe
from cheats import CHEATS, label_of, Honest

def first(label):
    problem = moe.make_problem(moe.MoEConfig(tokens=12, d_model=16, d_ff=24, num_experts=4, top_k=2))
    return moe.create(label, problem.weights, top_k=2, threads=1)(problem.x.copy())

right = first(label_of(Honest))
print(json.dumps({cheat.__name__: float(abs(first(label_of(cheat)) - right).max()) for cheat in CHEATS}))
"""


a_trial = cache(trial)  # one run for all that are tried on a problem and number of threads


@pytest.fixture(scope="module")
def first_errors() -> dict[str, float]:
    command = [sys.executable, "-W", "error", "-c", FIRST_OUTPUTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("cheat", BEGIN_RIGHT, ids=lambda cheat: cheat.__name__)
def test_each_begins_with_a_right_answer(cheat: type[Honest], first_errors: dict[str, float]) -> None:
    """A cheat that is wrong at once would be no test of what comes after the first look."""
    assert first_errors[cheat.__name__] < 1e-6


@pytest.mark.parametrize(
    ("cheat", "config", "threads"), TRIED, ids=[f"{c.__name__}-{t.tokens}-{n}" for c, t, n in TRIED]
)
def test_each_is_seen_through_or_gains_nothing(cheat: type[Honest], config: moe.MoEConfig, threads: int) -> None:
    found = outcome(cheat, a_trial(config, threads))
    assert found.beaten, f"{cheat.__name__} ({inspect.getdoc(cheat)}): {found.text}"


@pytest.mark.parametrize("tokens", [1, 16, 1024])
def test_no_honest_layer_is_taken_for_a_cheat(tokens: int, mojo: str) -> None:
    run = moe.compare(HONEST, CONFIG.with_tokens(tokens), threads=[1, 2], budget_s=20.0, processes=2, progress=False)
    assert {(m.label, m.threads, m.reason) for m in run.measurements if m.status != "ok"} == set()


def test_what_becomes_of_a_cheat_is_told_from_its_row() -> None:
    cheat = CHEATS[0]
    run = synthetic_run({label_of(Honest): 0.01, label_of(cheat): 0.005}, noise=0.001)
    found = outcome(cheat, run)
    assert not found.beaten
    assert found.text.startswith("right, in 5")
    assert outcome(cheat, synthetic_run({label_of(Honest): 0.01, label_of(cheat): 0.01}, noise=0.001)).beaten

    row = run.measurements[1]
    row.status, row.reason = "failed", "disagrees"
    assert (outcome(cheat, run).beaten, outcome(cheat, run).text) == (True, "failed: disagrees")
    row.status, row.reason = "not_run", "no time"
    assert (outcome(cheat, run).beaten, outcome(cheat, run).text) == (False, "not run: no time")
    run.measurements[0].status = "failed"
    assert not outcome(cheat, run).beaten


def test_every_cheat_is_listed_once_and_says_its_trick_in_a_line_of_its_own() -> None:
    assert len(set(CHEATS)) == len(CHEATS)
    assert Honest not in CHEATS
    tricks = {(cheat.__doc__ or "").strip() for cheat in CHEATS}
    assert len(tricks) == len(CHEATS)
    assert all(trick.endswith(".") and "\n" not in trick for trick in tricks)
