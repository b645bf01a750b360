"""What a breakdown found: the three sentences of its first screen, and those below its figures.

`rows` are `analysis.factors.factors` of its run, `steps`, `halves` and `points` what `steps`, `precisions` and
`overheads` there give.
"""

from math import isnan, log
from typing import Any

import pandas as pd

from moe.analysis.breakdown import AUTOGRAD, Breakdown
from moe.analysis.factors import WHOLE, experiments
from moe.analysis.frames import interval_of, records
from moe.analysis.overhead import FITS
from moe.report.findings.words import brief, counted, factor_of, fitting, listed, rounded, title_of, with_ends
from moe.report.sentences import count_text, how_sure, inputs_text, processes_text
from moe.report.text import (
    lacking,
    percent,
    ratio_text,
    signed_percent,
    signed_span,
    significant,
    threads_text,
    times,
)

# What gives so many times at so many tokens; with threads among the factors.
COMPARED = {
    ("mojo", False): "Optimisations make Mojo's kernel {} its plain version at {}",
    ("mojo", True): "Optimisations and threads make Mojo's kernel {} its plain version at {}",
    ("numpy to torch", False): "Against plain NumPy (float64, token by token) PyTorch is {} as fast at {}",
    ("numpy to torch", True): (
        "Against plain NumPy (float64, token by token, fewer threads) PyTorch is {} as fast at {}"
    ),
}
SAME = 1.005  # a ratio of limits that is written as 1.00
NAMED = {"mojo": 2, "numpy to torch": 1}  # factors in the first screen, at least
CHAINS = {
    "ladder": "Turned on one after another in the Mojo kernel",
    "bridge": "From NumPy in float64, one token after the other, over PyTorch to Mojo, each step a measured variant",
}


def headline(found: Breakdown, rows: pd.DataFrame) -> list[str]:
    """By how much Mojo's optimisations together, which counts most, from NumPy to PyTorch, and how sure that is."""
    asked = {name: own for name, own in experiments(found).items() if name == "mojo" or found.asked_for(own)}
    # What was measured goes first: a report's index has the first sentence alone.
    names = sorted(asked, key=lambda name: not found.asked_for(asked[name]) or bool(found.missing(asked[name])))
    said = [_whole(found, rows, name) for name in names]
    ends = list(dict.fromkeys((found.threads[0], found.threads[-1])))
    return fitting([*said, how_sure(found.summary, ends)])


def _whole(found: Breakdown, rows: pd.DataFrame, name: str) -> str:
    """By how much the factors of an experiment together, and which of them count most."""
    experiment = experiments(found)[name]
    if not found.asked_for(experiment):
        return f"What gives the speedup {experiment.name} was not asked for in this run."
    whole, factors = _of(rows, name)
    if whole is None:
        reason = brief(found.missing(experiment)[0].partition(": ")[2])
        return f"What gives the speedup {experiment.name} can't be told: a variant of it was not measured ({reason})."
    ratio = interval_of(whole, "times")
    given = with_ends(ratio) if ratio.bounded else f"about {rounded(ratio)} ×"
    tokens = counted(found.summary.tokens, "token", "tokens")
    said = COMPARED[name, "threads" in experiment.factors].format(given, tokens)
    if not ratio.bounded:
        return f"{said}: undecided ({lacking(found.least_measured(experiment), found.run)})."
    if not whole["resolved"]:
        return f"{said}: not resolved."
    told = [row for row in factors if row["resolved"] and row["times"] > 1]
    # Whatever else is resolved and may be as large as the last of them is named too.
    least = min((row["times"] for row in told[: NAMED[name]]), default=0.0)
    most = [row for row in told if row["times_high"] >= least]
    parts = [_named(row["factor"], rounded(interval_of(row, "times"))) for row in most]
    none = "which part gives most is not resolved" if ratio.value > 1 else "no part makes it faster"
    return f"{said}: {f'mostly {listed(parts)}' if parts else none}."


def _named(factor: str, given: str) -> str:
    """A factor in words, with its name in figures and tables, and how many times as fast it makes."""
    words = factor_of(factor)
    return f"{words} ({given} ×)" if words == factor else f"{words} ({factor}, {given} ×)"


def _of(rows: pd.DataFrame, name: str) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The whole of an experiment and its factors, the most important first; no whole where it has no rows."""
    own = records(rows[rows.experiment == name].sort_values("times", ascending=False))
    whole = next((row for row in own if row["factor"] == WHOLE), None)
    return whole, [row for row in own if row["factor"] != WHOLE]


def what_is_measured(found: Breakdown) -> str:
    """Sizes, variants and rounds of this run."""
    summary = found.summary
    rounds = [len(row.measurement.values_s) for row in summary.measured]
    counts = listed([threads_text(count) for count in found.threads])
    made = processes_text(summary)
    least = significant(1e3 * found.run.protocol["warm_up_s"], 2)
    return (
        f"{len({row.label for row in summary.measured})} variants on {counts}, {len(summary.measured)} measurements "
        f"beside those of overhead{' and of both precisions' if found.in_both() else ''}, in one run, each compared "
        "with the float64 reference before it was timed: "
        f"{summary.config_label}; {count_text(rounds)} rounds in {made}, after warm-ups of at "
        f"least {least} ms{inputs_text(found.run)}."
    )


def split(found: Breakdown, rows: pd.DataFrame, name: str) -> str:
    """How an experiment's speedup is shared among its factors, in one sentence."""
    experiment = experiments(found)[name]
    if not found.asked_for(experiment):
        return f"What gives the speedup {experiment.name} was not asked for in this run."
    if missing := found.missing(experiment):
        return f"The speedup {experiment.name} can't be split, for want of {missing[0]}."
    whole, factors = _of(rows, name)
    assert whole is not None  # no variant is missing
    why = lacking(found.least_measured(experiment), found.run)
    given = ratio_text(interval_of(whole, "times"), whole["resolved"], why=why)
    said = f"{experiment.name} all of {', '.join(experiment.factors)} together give {given}"
    if not whole["resolved"]:
        return f"On this machine {said}: there is nothing to split."
    return f"On this machine, {said}, of which each accounts for, on a log scale: {'; '.join(map(_part, factors))}."


def _part(row: dict[str, Any]) -> str:
    value, _, ends = signed_percent(interval_of(row, "share")).partition(" ")
    return f"{row['factor']} {value} % {ends} ({ratio_text(interval_of(row, 'times'), row['resolved'])})"


def interactions(found: Breakdown, rows: pd.DataFrame, name: str) -> str:
    """Which factors give more, or less, together than apart."""
    experiment = experiments(found)[name]
    if found.missing(experiment):
        return split(found, rows, name)
    resolved = [i for i in found.attribution(experiment).interactions if i.resolved]
    if not resolved:
        return "No two factors were seen to give more or less together than apart."
    ordered = sorted(resolved, key=lambda i: -abs(log(i.times.value)))
    parts = "; ".join(f"{' and '.join(i.factors)} {times(i.times)}" for i in ordered)
    return (
        "What factors give depends on which others are there. Together over apart, where that differs from 1 after "
        f"Holm's correction: {parts}."
    )


def chain(steps: pd.DataFrame, name: str) -> str:
    """The steps of the ladder or the bridge in one sentence."""
    own = records(steps[steps.chain == name])
    if not own:
        return f"{CHAINS[name]}: its first or its last step was not measured."
    parts = ", ".join(
        f"{step['turned_on']} {ratio_text(interval_of(step, 'step_times'), step['resolved'])}" for step in own[1:]
    )
    in_all = ratio_text(interval_of(own[-1], "so_far"), own[-1]["so_far_resolved"])
    return f"{CHAINS[name]}: {parts}; in all {in_all}."


def precisions(halves: pd.DataFrame) -> list[str]:
    """At each number of tokens which limit binds, what bfloat16 could give by it, and what it gives."""
    if halves.empty:
        return ["What bfloat16 gives in place of float32 was not asked for in this run."]
    return [_at_tokens(records(own)) for _, own in halves.groupby("tokens")]


def _at_tokens(rows: list[dict[str, Any]]) -> str:
    half = [row for row in rows if row["precision"] == "bfloat16"]
    where = f"{counted(half[0]['tokens'], 'token', 'tokens')} on {threads_text(half[0]['threads'])}"
    return f"At {where} {_limits(rows)} What it gives: {'; '.join(_gives(row, rows) for row in half)}."


def _limits(rows: list[dict[str, Any]]) -> str:
    """Which limit binds in each precision, and what follows for bfloat16."""
    bound = {row["precision"]: row["bound"] for row in rows}
    half = next(row for row in rows if row["precision"] == "bfloat16")
    if not half["bound"]:
        return "the machine's limits were not measured."
    binds = f"{bound['float32']} is the limit in float32 and {bound['bfloat16']} in bfloat16"
    if len(set(bound.values())) == 1:
        binds = f"{half['bound']} is the limit in both precisions"
    peak = f"a peak {significant(half['peak_times'])} × float32's" if half["peak_times"] > SAME else "the same peak"
    gain = f"{significant(half['limit_times'])} × as fast" if half["limit_times"] > SAME else "no faster"
    return f"{binds}: with half the bytes, and {peak} by this run's probes, bfloat16 could be {gain}."


def _gives(half: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """What an implementation gains, or why that is not known."""
    name = title_of(half["label"]) + (f" ({half['note']})" if half["note"] else "")
    if isnan(half["times"]):
        without = (r for r in rows if r["label"] == half["label"] and r["status"] != "ok")
        reasons = [f"{r['precision']} {r['status'].replace('_', ' ')}, {r['reason']}" for r in without]
        return f"{name} can't be told ({'; '.join(reasons) or 'no rounds in common'})"
    slower = ", slower" if half["resolved"] and half["times"] < 1 else ""
    return f"{name} {ratio_text(interval_of(half, 'times'), half['resolved'])}{slower}"


def optimisations(found: Breakdown | None, steps: pd.DataFrame) -> str:
    """The ladder's finding in a report where a breakdown was measured, and at what size."""
    if found is None:
        return "No breakdown was measured beside this run; the notebook breakdown.ipynb measures one."
    return f"{chain(steps, 'ladder')} Measured at {found.summary.config_label}."


def overhead(found: Breakdown, points: pd.DataFrame) -> str:
    """Each implementation's overhead and rate, where a line fits, in one sentence."""
    lines = records(points.drop_duplicates("label"))
    if not lines:
        return "Time against tokens was not measured with three numbers of tokens or more."
    where = f"at {lines[0]['layer']}, on {threads_text(found.threads[0])}"
    return f"What a forward costs whatever its tokens, {where}: {'; '.join(map(_line, lines))}."


def _line(row: dict[str, Any]) -> str:
    name = title_of(row["label"])
    if isnan(row["rate_high"]):
        return f"{name} has too few rounds"
    if row["off"] > FITS:
        return f"{name}'s times lie on no line (off by {percent(row['off'])})"
    if not row["fits"]:
        return f"{name}'s times do not grow with tokens beyond their noise"
    cost = f"{signed_span(interval_of(row, 'overhead_s'), 1e6)} µs"
    if not row["has_overhead"]:
        cost = f"not resolved ({cost})"
    return f"{name} {cost}, then {significant(row['rate'])} tokens/s"


def autograd(found: Breakdown) -> str:
    """What recording for autograd costs a forward."""
    measured = found.autograd()
    if measured is None:
        return "What recording for autograd costs was not measured."
    config, ratio = measured
    what = f"{AUTOGRAD[0]}'s forward at {config.label}"
    if not ratio.excludes(1.0):
        return f"Between {what} recorded for autograd and under inference_mode a difference is not resolved."
    return f"Recorded for autograd instead of under inference_mode, {what} takes {times(ratio)} as long."
