"""Two runs that lead to opposite findings: no sentence that is computed may say the same of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import moe
from moe.analysis import summarise
from moe.analysis.breakdown import AUTOGRAD, Breakdown
from moe.analysis.factors import overheads, steps
from moe.report import sentences
from moe.report.figures import drawn
from moe.report.findings import breakdown as of_breakdown
from moe.report.findings import comparison as of_comparison

from .synthetic import PARITY, synthetic_run
from .test_breakdown import SPEED, a_run
from .test_overhead import measured

# Definitions, which hold of every run: all else is found.
OF_EVERY_RUN = ("Measured: one forward", "Not measured: preparing", "A row's value is", "Python's own floats")


def one() -> Any:
    """Mojo first, all well."""
    run = synthetic_run({"python": 40.0, "numpy": 0.02, "torch": 0.012, "mojo": 0.005}, (1, 2), noise=0.01)
    return _with_limits(run, 2e11)


def other() -> Any:
    """NumPy first, on another machine; something failed, disagreed, was cut short and disturbed."""
    run = synthetic_run({"numpy": 0.005, "torch": 0.03, "mojo": 0.04}, (1, 2), rounds=20, noise=0.05, seed=9)
    run.machine |= {"processor": "Slowium", "core_quota": 1.5}
    run.measurements[1].status, run.measurements[1].reason = "failed", "killed by SIGKILL"
    run.measurements[1].parity = {**PARITY, "passed": False, "reason": "off"}
    run.measurements[0].others_cores = [0.9] * 20
    for m in run.measurements:
        m.config = moe.MoEConfig(100, 32, 32, 4, 2)
        if m.threads == 2:
            m.samples_s = [[s * 3 for s in turn] for turn in m.samples_s]
    run.complete, run.elapsed_s = False, 60.0
    run.protocol |= {"inputs": 9, "turn_s": 0.5}
    return _with_limits(run, 9e11)


def _with_limits(run: Any, flops_per_s: float) -> Any:
    probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
    run.limits = [{"threads": t, "by": "probes", "flops_per_s": flops_per_s * t, "bandwidth": probes} for t in (1, 2)]
    return run


def said(function: Callable[[Any], str | list[str]], found: Any) -> set[str]:
    text = function(found)
    lines = [text] if isinstance(text, str) else text
    return {line for line in lines if not line.startswith(OF_EVERY_RUN)}


@pytest.mark.parametrize(
    "function",
    [
        *(of_comparison.headline, of_comparison.against_best, of_comparison.scaling),
        *(lambda found: sentences.trust(found, found.run), lambda found: sentences.without_numbers(found.run)),
        *(sentences.resolution, sentences.warnings, sentences.agreement, sentences.what_is_measured),
        *(of_comparison.speedup, lambda found: of_comparison.first_caption(drawn(moe.rows(found.run)))),
        lambda found: of_comparison.extremes(drawn(moe.rows(found.run)), "latency_s"),
    ],
)
def test_a_comparisons_sentences(function: Callable[[Any], str | list[str]]) -> None:
    first, second = said(function, summarise(one())), said(function, summarise(other()))
    assert first | second
    assert not first & second


def with_overheads(found: Breakdown, overhead: float, recorded: float) -> Breakdown:
    lines = [measured(overhead, 1e5), measured(20e-6, 1e5, name=AUTOGRAD[0])]
    more = [m for line in [*lines, measured(recorded, 1e5, name=AUTOGRAD[1])] for m in line]
    return Breakdown(replace(found.run, measurements=[*found.run.measurements, *more]))


@pytest.mark.parametrize(
    "function",
    [
        *(of_breakdown.what_is_measured, of_breakdown.autograd),
        lambda found: of_breakdown.headline(found, moe.factors(found.run)),
        lambda found: of_breakdown.chain(steps(found.run), "ladder"),
        lambda found: of_breakdown.chain(steps(found.run), "bridge"),
        lambda found: of_breakdown.optimisations(found, steps(found.run)),
        lambda found: of_breakdown.overhead(found, overheads(found.run)),
        lambda found: of_breakdown.split(found, moe.factors(found.run), "mojo"),
        lambda found: of_breakdown.split(found, moe.factors(found.run), "numpy to torch"),
        lambda found: of_breakdown.interactions(found, moe.factors(found.run), "mojo"),
    ],
)
def test_a_breakdowns_sentences(function: Callable[[Any], str | list[str]]) -> None:
    slow = {"simd=on": 1.0, "tile=on": 0.8, "batch=on": 3.0, "dtype=float32": 0.7}
    first = with_overheads(a_run(), 20e-6, 50e-6)
    second = with_overheads(a_run(speed=slow, together=1.7, noise=0.03), 300e-6, 20e-6)
    second.run.machine["processor"] = "Slowium"
    second.run.protocol["inputs"] = 7
    assert slow != SPEED
    assert not said(function, first) & said(function, second)
