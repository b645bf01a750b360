"""A breakdown as tidy frames: factors, steps, precisions, time against tokens, single calls; units as in `frames`."""

from collections.abc import Iterator, Sequence
from math import nan
from statistics import median
from typing import Any

import pandas as pd

from moe.analysis.attribution import Factor, chain
from moe.analysis.breakdown import Breakdown, Experiment, Place
from moe.analysis.frames import interval_columns
from moe.analysis.limits import Limits, bound_of, limits_of
from moe.analysis.overhead import fit_lines
from moe.analysis.pairing import grid, latency_of
from moe.analysis.statistics import Interval, Ratio, resolve
from moe.analysis.summary import tokens_ratio
from moe.run import Measurement, Run

WHOLE = "all"


def factors(run: Run) -> pd.DataFrame:
    """One row for each factor of a breakdown's experiments, and one for the `all` that they multiply to.

    times is how many times as fast, share its part of the whole's logarithm; least and most are what it gave with any
    set of the others on. An experiment that lacks a variant has no rows.
    """
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
    share = Interval(1.0, 1.0, 1.0) if split.resolved else None
    for factor in (*split.factors, Factor(WHOLE, split.total, split.resolved, share, ())):
        yield {
            "experiment": name,
            "factor": factor.name,
            **interval_columns("times", factor.times),
            **interval_columns("share", factor.share),
            "resolved": factor.resolved,
            "least": factor.least,
            "most": factor.most,
        }


def steps(run: Run) -> pd.DataFrame:
    """One row for each step of the `ladder` inside Mojo and of the `bridge` from NumPy over PyTorch to Mojo.

    turned_on is what a step adds to the one before, step_times how many times as fast that is (`resolved`), and
    so_far how many times as fast as the first (`so_far_resolved`), by Holm's correction over all of the chain's.
    lines are those of Mojo that only this step needs, as counted where it was measured. A chain whose first or last
    step was not measured has no rows.
    """
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


def precisions(run: Run) -> pd.DataFrame:
    """Two rows for each implementation at each number of tokens that it was to be measured at in both precisions.

    times is how many times as fast as in float32, `resolved` by Holm's correction over all of them. By the run's
    probes share_of_peak is the seconds that a row's products take at least, at its precision's own peak, over its
    latency, share_of_bandwidth the same of its bytes, and bound which of the two is more; limit_times is how many
    times as fast bfloat16 could be by that, peak_times how many times float32's peak its own is. A row without
    results says why (`reason`).
    """
    pairs = Breakdown(run).in_both()
    measured = {
        place: ratio
        for place, (first, second) in enumerate(pairs)
        if first.status == second.status == "ok" and (ratio := tokens_ratio(second, first))
    }
    resolved = dict(zip(measured, resolve(list(measured.values())), strict=True))
    rows = [
        row
        for place, pair in enumerate(pairs)
        for row in _pair(pair, limits_of(run, pair[0].threads), measured.get(place), resolved.get(place, False))
    ]
    words = ["label", "implementation", "threads", "tokens", "precision", "status", "reason", "note"]
    numbers = _columns("latency_s", "times", "share_of_peak", "share_of_bandwidth")
    return pd.DataFrame(rows, columns=[*words, *numbers, "resolved", "bound", "limit_times", "peak_times"])


def _pair(
    pair: tuple[Measurement, Measurement], limits: Limits | None, times: Ratio | None, resolved: bool
) -> Iterator[dict[str, Any]]:
    bounds = [bound_of(m, limits) for m in pair] if limits else []
    for m in pair:
        is_half = m.config.precision == "bfloat16"
        latency = latency_of(m) if m.status == "ok" else None
        peak = latency.inverse(limits.arithmetic_s(m.config)) if latency and limits else None
        bandwidth = latency.inverse(limits.memory_s(m)) if latency and limits else None
        yield {
            "label": m.label,
            "implementation": m.implementation,
            "threads": m.threads,
            "tokens": m.config.tokens,
            "precision": m.config.precision,
            "status": m.status,
            "reason": m.reason,
            "note": m.details.get("note", ""),
            **interval_columns("latency_s", latency),
            **interval_columns("times", times if is_half else None),
            **interval_columns("share_of_peak", peak),
            **interval_columns("share_of_bandwidth", bandwidth),
            "resolved": is_half and resolved,
            "bound": bounds[is_half].by if bounds else "",
            "limit_times": bounds[0].seconds / bounds[1].seconds if bounds else nan,
            "peak_times": limits.times("bfloat16") if limits else nan,
        }


def overheads(run: Run) -> pd.DataFrame:
    """One row for each number of tokens of each implementation, with the line through its latencies.

    The line is overhead_s + tokens / rate, half the tokens that take as long as the overhead, and off how far the
    farthest point lies from it, as a share. Where it does not fit (`fits`), it says nothing; an overhead may be no
    more than a bend or noise (`has_overhead`). overhead_share is how much of the latency is overhead, variation that
    of single forwards of the fewest tokens.
    """
    words = ["label", "implementation", "layer", "tokens"]
    numbers = [*_columns("latency_s", "overhead_s", "rate"), "half", "off"]
    columns = [*words, *numbers, "fits", "has_overhead", "overhead_share", "variation"]
    return pd.DataFrame(fit_lines(run), columns=columns)


def _columns(*names: str) -> list[str]:
    return [column for name in names for column in interval_columns(name, None)]


def calls(run: Run) -> pd.DataFrame:
    """One row for each kind of single call from Python, on the fewest threads that it was measured on."""
    found = {
        call["call"]: call["seconds"]
        for m in sorted(run.measurements, key=lambda m: -m.threads)
        for call in m.details.get("calls", [])
    }
    rows = [(name, median(rounds), min(rounds), max(rounds)) for name, rounds in found.items()]
    return pd.DataFrame(rows, columns=["call", "median_s", "fastest_s", "slowest_s"])
