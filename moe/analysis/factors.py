"""A breakdown as tidy frames: factors, steps, time against tokens, and single calls; units as in `frames`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from statistics import median
from typing import TYPE_CHECKING, Any

from moe.analysis.attribution import chain
from moe.analysis.breakdown import Breakdown, Experiment, Place
from moe.analysis.frames import interval_columns
from moe.analysis.overhead import Line
from moe.analysis.pairing import grid
from moe.analysis.statistics import Interval
from moe.run import Run

if TYPE_CHECKING:
    import pandas as pd

WHOLE = "all"


def factors(run: Run) -> pd.DataFrame:
    """One row for each factor of a breakdown's experiments, and one for the `all` that they multiply to.

    times is how many times as fast, share its part of the whole's logarithm; least and most are what it gave with any
    set of the others on. An experiment that lacks a variant has no rows.
    """
    import pandas as pd

    found = Breakdown(run)
    return pd.DataFrame(
        [row for name, experiment in experiments(found).items() for row in _factors(found, name, experiment)],
        columns=["experiment", "factor", *_columns("times", "share"), "resolved", "least", "most"],
    )


def experiments(found: Breakdown) -> dict[str, Experiment]:
    """A breakdown's experiments by their names in frames."""
    return {"mojo": found.mojo, "numpy to torch": found.framework}


def _factors(found: Breakdown, name: str, experiment: Experiment) -> Iterator[dict[str, Any]]:
    if not found.asked_for(experiment) or found.missing(experiment):
        return
    split = found.attribution(experiment)
    for factor in split.factors:
        yield {
            "experiment": name,
            "factor": factor.name,
            **interval_columns("times", factor.times),
            **interval_columns("share", factor.share),
            "resolved": factor.resolved,
            "least": factor.least,
            "most": factor.most,
        }
    whole = Interval(1.0, 1.0, 1.0) if split.resolved else None
    yield {
        "experiment": name,
        "factor": WHOLE,
        **interval_columns("times", split.total),
        **interval_columns("share", whole),
        "resolved": split.resolved,
        "least": nan,
        "most": nan,
    }


def steps(run: Run) -> pd.DataFrame:
    """One row for each step of the `ladder` inside Mojo and of the `bridge` from NumPy over PyTorch to Mojo.

    turned_on is what a step adds to the one before, step_times how many times as fast that is (`resolved`), and
    so_far how many times as fast as the first (`so_far_resolved`), by Holm's correction over all of the chain's.
    lines are those of Mojo that only this step needs, as counted where it was measured. A chain whose first or last
    step was not measured has no rows.
    """
    import pandas as pd

    found = Breakdown(run)
    ladder = ["nothing", *found.mojo.factors], found.mojo.one_by_one()
    bridge = ["nothing", *found.framework.factors, "Mojo"], [*found.framework.one_by_one(), ladder[1][-1]]
    rows = [*_steps(found, "ladder", *ladder), *_steps(found, "bridge", *bridge)]
    words = ["chain", "turned_on", "label", "implementation", "threads"]
    numbers = _columns("latency_s", "step_times", "so_far", "share_of_limit")
    return pd.DataFrame(rows, columns=[*words, *numbers, "resolved", "so_far_resolved", "lines"])


def _steps(found: Breakdown, name: str, names: Sequence[str], places: Sequence[Place]) -> Iterator[dict[str, Any]]:
    if len(found.measured([places[0], places[-1]])) < 2:
        return
    turned_on: list[str] = []
    before: list[str] = []  # of steps that were not measured, which the next one takes together with its own
    for added, place in zip(names, places, strict=True):
        before.append(added)
        if found.measured([place]):
            turned_on.append(" + ".join(before))
            before = []
    measured = found.measured(places)
    for added, m, link in zip(turned_on, measured, [None, *chain(grid(measured))], strict=True):
        row = found.summary.row(m.label, m.threads)
        assert row is not None  # it was measured
        yield {
            "chain": name,
            "turned_on": added,
            "label": m.label,
            "implementation": m.implementation,
            "threads": m.threads,
            **interval_columns("latency_s", row.latency),
            **interval_columns("step_times", link.times if link else None),
            **interval_columns("so_far", link.so_far if link else None),
            **interval_columns("share_of_limit", row.share_of_limit),
            "resolved": link is not None and link.resolved,
            "so_far_resolved": link is not None and link.so_far_resolved,
            "lines": m.details.get("kernel_lines", {}).get(added, nan) if name == "ladder" else nan,
        }


def overheads(run: Run) -> pd.DataFrame:
    """One row for each number of tokens of each implementation, with the line through its latencies.

    The line is overhead_s + tokens / rate, half the tokens that take as long as the overhead, and off how far the
    farthest point lies from it, as a share. Where it does not fit (`fits`), it says nothing; an overhead may be no
    more than a bend or noise (`has_overhead`). overhead_share is how much of the latency is overhead, variation that
    of single forwards of the fewest tokens.
    """
    import pandas as pd

    rows = [row for line in Breakdown(run).overheads() for row in _points(line)]
    words = ["label", "implementation", "layer", "tokens"]
    numbers = [*_columns("latency_s", "overhead_s", "rate"), "half", "off"]
    return pd.DataFrame(rows, columns=[*words, *numbers, "fits", "has_overhead", "overhead_share", "variation"])


def _columns(*names: str) -> list[str]:
    """The columns of several intervals."""
    return [column for name in names for column in interval_columns(name, None)]


def _points(line: Line) -> Iterator[dict[str, Any]]:
    for tokens, latency in zip(line.tokens, line.latencies, strict=True):
        yield {
            "label": line.label,
            "implementation": line.implementation,
            "layer": line.layer,
            "tokens": tokens,
            **interval_columns("latency_s", latency),
            **interval_columns("overhead_s", line.overhead),
            **interval_columns("rate", line.rate),
            "half": line.half.value,
            "off": line.off,
            "fits": line.fits,
            "has_overhead": line.has_overhead,
            "overhead_share": line.share_of_overhead(latency),
            "variation": line.spread.variation,
        }


def calls(run: Run) -> pd.DataFrame:
    """One row for each kind of single call from Python, on the fewest threads that it was measured on."""
    import pandas as pd

    found = {
        call["call"]: call["seconds"]
        for m in sorted(run.measurements, key=lambda m: -m.threads)
        for call in m.details.get("calls", [])
    }
    rows = [(name, median(rounds), min(rounds), max(rounds)) for name, rounds in found.items()]
    return pd.DataFrame(rows, columns=["call", "median_s", "fastest_s", "slowest_s"])
