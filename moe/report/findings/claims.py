"""What the page of claims says first."""

from __future__ import annotations

from collections import Counter
from typing import Any

from moe.analysis import Interval
from moe.analysis.frames import records
from moe.analysis.verdicts import FAILS, HOLDS, NO_GPU, REGION, UNDECIDED, UNMEASURABLE, Trial
from moe.report.findings.words import begin, listed, rounded, title_of

RATED = ("ratio", "throughput", "factor")  # kinds of claims that can be so many times off


def headline(trial: Trial) -> list[str]:
    """How many claims hold here, the one that is farthest off, and what was never measured."""
    said = [farthest(trial), _never_measured(trial)]
    if not any(row["kind"] == "ratio" for row in _fails(trial)):
        said.reverse()  # what a source is known for is how many times as fast something is
    return [_counts(trial), *filter(None, said)]


def _counts(trial: Trial) -> str:
    verdicts = records(trial.verdicts)
    found = Counter(row["verdict"] for row in verdicts)
    why = Counter(row["unjudged"] for row in verdicts)
    others = found[UNMEASURABLE] - why[UNDECIDED] - why[NO_GPU]
    said = {
        ("holds here", "hold here"): found[HOLDS],
        ("holds at other sizes only", "hold at other sizes only"): found[REGION],
        ("does not hold", "do not hold"): found[FAILS],
        ("is undecided", "are undecided"): why[UNDECIDED],
        ("needs a GPU to be judged", "need a GPU to be judged"): why[NO_GPU],
        ("can't be measured here", "can't be measured here"): others,
    }
    parts = [f"{count} {one if count == 1 else several}" for (one, several), count in said.items() if count]
    whole = len(verdicts)
    return f"Of {whole} published {'claim' if whole == 1 else 'claims'} {listed(parts)}."


def farthest(trial: Trial) -> str:
    """The claim that is the most times off; where none is, whether any could be judged."""
    if not _judged(trial):
        return "None of the published numbers could be judged by these runs."
    off = _fails(trial)
    if not off:
        return "No number that could be judged is off."
    # What is said over something else says more than what one machine gives.
    row = max(off, key=lambda row: (row["kind"] == "ratio", max(row["off"], 1 / row["off"])))
    return begin(_off(row, trial.claims.by_id[row["id"]]["quantity"]))


def _judged(trial: Trial) -> list[dict[str, Any]]:
    return [row for row in records(trial.verdicts) if row["verdict"] != UNMEASURABLE and row["kind"] in RATED]


def _fails(trial: Trial) -> list[dict[str, Any]]:
    """The claims that can be so many times off, and are."""
    return [row for row in _judged(trial) if row["verdict"] == FAILS and row["off"] > 0]


def _off(row: dict[str, Any], quantity: dict[str, Any]) -> str:
    claimed = _ends(row["claimed_low"], row["claimed_high"])
    found = rounded(Interval(row["measured"], row["measured_low"], row["measured_high"]))
    if row["kind"] == "throughput":
        of = title_of(quantity["throughput"])
        return f"the published {claimed} tokens a second of {of} do not hold: measured here are {found}."
    if row["kind"] == "factor":
        return f"the published {claimed} times of {quantity['factor']} does not hold: measured here is {found}."
    first, second = map(title_of, quantity["ratio"])
    return f"the published {claimed} times {second} does not hold: {first} is {found} times here."


def _ends(low: float, high: float) -> str:
    return f"{low:,.10g}" if low == high else f"{low:,.10g} to {high:,.10g}"


def _never_measured(trial: Trial) -> str:
    """What the source computed from another row instead of measuring it."""
    plain = {row["variant"]: row["name"] for row in reversed(trial.claims.rows) if row["divided_by"] == 1.0}
    for row in trial.claims.rows:
        by, other = row["divided_by"], plain.get(row["variant"])
        if by != 1.0 and other is not None:
            return (
                f"The source's row “{row['name']}” was never measured: it is “{other}” timed again and its "
                f"time divided by {by:g}."
            )
    return ""
