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

from .opposite import one, other, said
from .synthetic_pages import SPEED, a_run, measured


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


@pytest.fixture(scope="module")
def unlike() -> tuple[Breakdown, Breakdown]:
    """Two breakdowns that lead to opposite findings."""
    slow = {"simd=on": 1.0, "tile=on": 0.8, "batch=on": 3.0, "dtype=float32": 0.7}
    assert slow != SPEED
    first = with_overheads(a_run(), 20e-6, 50e-6)
    second = with_overheads(a_run(speed=slow, together=1.7, noise=0.03), 300e-6, 20e-6)
    second.run.machine["processor"] = "Slowium"
    second.run.protocol["inputs"] = 7
    return first, second


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
def test_a_breakdowns_sentences(
    function: Callable[[Any], str | list[str]], unlike: tuple[Breakdown, Breakdown]
) -> None:
    first, second = (said(function, found) for found in unlike)
    assert first | second
    assert not first & second
