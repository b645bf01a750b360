"""What a trial says: its sentences and tables, every number of them computed from the runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from math import nan, prod
from pathlib import Path
from typing import Any

import pandas as pd

from moe.analysis import Interval
from moe.analysis.verdicts import (
    FAILS,
    HOLDS,
    MARGIN,
    NO_GPU,
    NOT_INSTALLED,
    REGION,
    UNDECIDED,
    UNMEASURABLE,
    Found,
    Trial,
)
from moe.claims import Claims
from moe.report.claims import trial_of
from moe.report.findings.claims import headline
from moe.report.index import Findings
from moe.report.sentences import measured_on, resolution, warnings
from moe.report.tables import html_table
from moe.report.text import Shown, percent, significant, span, threads_text, times

# Of a verdict, or of the reason why there is none: its word, and what is said of one claim and of several.
SAID = {
    HOLDS: ("✓ holds", "holds here", "hold here"),
    REGION: ("◐ only in a region", "holds only in a region", "hold only in a region"),
    FAILS: ("✗ does not hold", "does not hold", "do not hold"),
    UNDECIDED: ("? undecided", "is undecided", "are undecided"),
    NO_GPU: ("– can't be judged without a GPU", *["can't be judged without a GPU"] * 2),
    NOT_INSTALLED: ("– not installed here", "needs what is not installed", "need what is not installed"),
    UNMEASURABLE: ("– can't be measured here", *["can't be measured here"] * 2),
}
UNITS = {"throughput": "tokens/s", "order": "pairs reversed"}  # of others ×
MOST_REGIONS = 3  # named in a sentence
FITS = 0.02  # a product and its whole are rounded


def verdicts(trial: Trial) -> pd.DataFrame:
    """A trial's verdicts with what is said of each: word, claimed, found (None: nothing), reason, and why.

    The reason has what was measured and what that means, why the latter with the claim's own note, or None.
    """
    return trial.verdicts.join(pd.DataFrame([_said(row) for row in _each(trial.verdicts)], dtype=object))


def _each(frame: pd.DataFrame) -> Iterator[Any]:
    """A frame's rows, with their columns as attributes."""
    yield from frame.itertuples()


def _said(row: Any) -> dict[str, str | None]:
    found = None if pd.isna(row.measured) else _value(row.kind, _measured(row))
    claimed = f"{_ends(row.claimed_low, row.claimed_high)} {_unit(row.kind)}"
    meaning = _meaning(row, found)
    return {
        "word": SAID[_kind(row)][0],
        "claimed": "no number" if pd.isna(row.claimed_low) else _with_ends(claimed, row),
        "found": found,
        "reason": ": ".join(filter(None, (found and f"measured {found}", meaning))),
        "why": ". ".join(filter(None, (meaning, row.note.removesuffix(".")))) or None,
    }


def _unit(kind: str) -> str:
    return UNITS.get(kind, "×")


def _with_ends(claimed: str, row: Any) -> Shown:
    """What is claimed with its number, or with the ends alone of a range."""
    low, high = row.claimed_low, row.claimed_high
    return Shown(claimed, low if low == high else Interval(nan, low, high))


def _ends(low: float, high: float, form: str = ",.10g") -> str:
    return f"{low:{form}}" if low == high else f"{low:{form}}–{high:{form}}"


def _measured(row: Any) -> Interval:
    return Interval(row.measured, row.measured_low, row.measured_high)


def _value(kind: str, value: Interval) -> str:
    if kind == "order":
        return f"{value.value:g} [{value.low:g}–{value.high:g}] {_unit(kind)}"
    return span(value) + f" {_unit(kind)}" if kind == "throughput" else times(value)


def _meaning(row: Any, found: str | None) -> str:
    """What a measured value says of its claim, where it was not measured as claimed, and what is missing."""
    parts = []
    if row.verdict == UNMEASURABLE and found:
        parts.append("this run can't tell")
    elif row.verdict == FAILS and row.off > 0:
        parts.append(f"{significant(_times_off(row))} times {'more' if row.off > 1 else 'less'} than claimed")
    elif row.verdict == REGION and row.kind == "factor":
        least, most = significant(row.least), significant(row.most)
        parts.append(f"from {least} to {most} × by which of the other factors are on")
    if row.elsewhere and row.verdict in (REGION, UNMEASURABLE):
        parts.append(_regions(row.kind, row.elsewhere))
    if row.kind == "factor" and found:
        parts.append(f"measured on {threads_text(row.threads)}, {row.layer}")
    if row.missing:
        parts.append(f"without {row.missing}" if found else row.missing)
    return "; ".join(parts)


def _times_off(row: Any) -> float:
    return float(max(row.off, 1 / row.off))


def _regions(kind: str, elsewhere: tuple[Found, ...]) -> str:
    shown = [f"{_value(kind, f.value)} on {threads_text(f.threads)}, {f.config.label}" for f in elsewhere]
    more = [f"and {len(shown) - MOST_REGIONS} more"] if len(shown) > MOST_REGIONS else []
    return f"it holds elsewhere: {'; '.join(shown[:MOST_REGIONS] + more)}"


def findings(path: Path) -> Findings:
    """What the replay at `path` and the runs beside it say, with the figure and the table of verdicts."""
    trial = trial_of(path.parent)
    missing = [f"“{row.quote}”: {row.reason}" for row in _each(verdicts(trial)) if row.verdict == UNMEASURABLE]
    return Findings(headline(trial), ratios_sentence(trial), verdicts_table(trial), missing)


def details(trial: Trial) -> list[str]:
    """How many claims hold, which is farthest off, which asks most of the machine, and the source's protocol."""
    rows = list(_each(verdicts(trial)))
    lines = [counts(trial)]
    if off := [row for row in rows if row.verdict == FAILS and row.off > 0]:
        farthest = max(off, key=_times_off)
        lines.append(f"Farthest off is “{farthest.quote}”: {farthest.reason}.")
    if asked := [row for row in rows if row.share_of_limit > 0]:
        most = max(asked, key=lambda row: row.share_of_limit)
        lines.append(f"Most is asked of the machine by “{most.quote}”: {_asked(most)}.")
    lines += [] if trial.replayed.empty else [replay_sentence(trial)]
    for summary in trial.summaries[:1]:
        lines += [measured_on(summary), resolution(summary), *warnings(summary)]
    return lines


def counts(trial: Trial) -> str:
    """How many claims hold, and how many of the others are what."""
    found = Counter(map(_kind, _each(trial.verdicts)))
    said = ", ".join(f"{found[kind]} {SAID[kind][1 if found[kind] == 1 else 2]}" for kind in SAID if found[kind])
    return f"Of {len(trial.verdicts)} claims of “{trial.claims.source['title']}” {said}."


def _kind(row: Any) -> str:
    """What a claim is counted as, by SAID."""
    return row.unjudged if row.unjudged in SAID else str(row.verdict)


def _asked(row: Any) -> str:
    """What a claim would have the machine do, against what it can."""
    return (
        f"{_rate(row.flops_per_s, 'FLOP/s')}, {_multiple(row.of_peak)} the multiply-add peak of "
        f"{threads_text(int(row.limits_threads))} here, and {_rate(row.bytes_per_s, 'B/s')}, "
        f"{_multiple(row.of_bandwidth)} their read bandwidth, by {row.limits_by}"
    )


def _rate(value: float, unit: str) -> str:
    prefix, factor = next(((p, f) for p, f in (("T", 1e12), ("G", 1e9)) if value >= f), ("M", 1e6))
    return f"{significant(value / factor)} {prefix}{unit}"


def _multiple(share: float) -> str:
    return f"{significant(share)} times" if share >= 1 else f"{percent(share)} of"


def rule() -> str:
    """By what a claim is judged."""
    return (
        "A claim holds where the whole 95 % interval of what was measured lies within what is claimed, a single "
        f"number being taken as that number times or divided by {MARGIN:g}. It does not hold where all of the "
        "interval lies outside; between the two this run can't tell. It is judged on the claimed layer and on all "
        "threads of the run; a factor in the breakdown of that layer, on as many tokens as that has. Where it does "
        "not hold there but does elsewhere, or a factor gives as much with one set of the others on, it holds in a "
        "region."
    )


def ratios_sentence(trial: Trial) -> str:
    """How far the claims about ratios and factors are from what was measured."""
    judged = [row for row in _each(trial.verdicts) if row.verdict != UNMEASURABLE and row.kind != "throughput"]
    off = sorted((row for row in judged if row.verdict != HOLDS and row.off > 0), key=_times_off, reverse=True)
    said = f"Of {len(judged)} claims about ratios and factors that could be judged, "
    if not off:
        return f"{said}none was seen to be off."
    parts = (
        f"{row.id} is {significant(_times_off(row))} times {'under' if row.off > 1 else 'over'}stated" for row in off
    )
    return f"{said}{len(off)} {'is' if len(off) == 1 else 'are'} off: {', '.join(parts)}."


def verdicts_table(trial: Trial) -> str:
    """Every claim, what was measured, its verdict and why."""
    rows = [
        {"claim": f"“{r.quote}”", "verdict": r.word, "claimed": r.claimed, "measured": r.found, "why": r.why}
        for r in _each(verdicts(trial))
    ]
    source, found = trial.claims.source, Counter(map(_kind, _each(trial.verdicts)))
    words = (f"{found[kind]} {word}" for kind, (word, *_) in SAID.items() if found[kind])
    caption = (
        f"{len(rows)} claims: {', '.join(words)}. "
        f"{source['title']}, {source.get('url', '')}. {source.get('conditions', '')}"
    )
    return html_table("verdicts", rows, caption, ["claimed", "measured"])


def products(trial: Trial) -> list[str]:
    """Whether parts multiply to the whole that is claimed of them, and which rows are others divided."""
    rows = {row.id: row for row in _each(verdicts(trial))}
    said = [_product([rows[name] for name in p["parts"]], rows[p["whole"]]) for p in trial.claims.products]
    return [*said, *_twice_timed(trial.claims)]


def _product(parts: list[Any], whole: Any) -> str:
    low, high = prod(row.claimed_low for row in parts), prod(row.claimed_high for row in parts)
    said = (
        f"{' × '.join(row.claimed.removesuffix(' ×') for row in parts)} = {_ends(low, high, ',.4g')} "
        f"({', '.join(row.id for row in parts)}), and {whole.claimed} is claimed of {whole.id}"
    )
    if whole.claimed_low <= high * (1 + FITS) and whole.claimed_high >= low / (1 + FITS):
        return f"{said}: they fit."
    gap = whole.claimed_low / high if whole.claimed_low > high else low / whole.claimed_high
    return f"{said}: they do not fit, by {significant(gap)} times."


def _twice_timed(claims: Claims) -> Iterator[str]:
    """Rows of a source that are another row's program, timed again and divided."""
    plain = {row["variant"]: row for row in reversed(claims.rows) if row["divided_by"] == 1.0}
    for row in claims.rows:
        other, by = plain.get(row["variant"]), row["divided_by"]
        if by == 1.0 or other is None:
            continue
        ours, theirs = (claims.by_id[r["claim"]]["claimed"][0] for r in (row, other))
        if theirs:
            yield (
                f"The row “{row['name']}” is the program of “{other['name']}” timed again and divided by {by:g}. "
                f"Published it is {significant(ours / theirs)} times as fast: {by:g} by division, and "
                f"{significant(ours / theirs / by)} by timing one program twice."
            )


def replay_sentence(trial: Trial) -> str:
    """What the source's own protocol gives here, beside the fair measurement of the same rows."""
    if trial.replayed.empty:
        return "The source's own protocol was not replayed beside these runs, or the file describes none."
    first, last = (next(_each(trial.replayed.iloc[[place]])) for place in (0, -1))
    divided = ", its division included" if last.hollow or first.hollow else ""
    parts = []
    if first.published:
        parts.append(f"{significant(last.published / first.published)} × as published")
    if last.replayed > 0 and first.replayed > 0:
        ratio = significant(last.replayed / first.replayed)
        parts.append(f"{ratio} × by the source's protocol replayed here{divided}")
    if last.over_first > 0:
        fair = Interval(last.over_first, last.over_first_low, last.over_first_high)
        parts.append(f"{times(fair)} measured ({last.fair} over {first.fair})")
    return f"“{last.name}” over “{first.name}”: {', '.join(parts) or 'nothing was measured'}."


def replay_table(trial: Trial) -> str:
    """The source's rows: as published, by its own protocol here, and measured fairly; arithmetic is in brackets."""
    rows = [
        {
            "row": row.name,
            "published, tokens/s": Shown(f"{row.published:,.10g}", row.published),
            "its protocol here, tokens/s": _replayed(row),
            "what its protocol times": row.variant
            + (f", its time divided by {row.divided_by:g}" if row.hollow else ""),
            "measured, tokens/s": span(_measured(row)) if row.measured > 0 else None,
            "of": row.fair,
        }
        for row in _each(trial.replayed)
    ]
    caption, protocol = "The source's protocol was not replayed.", trial.claims.protocol
    if rows and protocol:
        caption = (
            f"Its protocol: in one process, one row after the other, the mean of {protocol['forwards']} forwards "
            f"after {protocol['warm_up']}."
        )
    numbers = ["published, tokens/s", "its protocol here, tokens/s", "measured, tokens/s"]
    return html_table("replay", rows or [{"row": "none"}], caption, numbers)


def _replayed(row: Any) -> str:
    if pd.isna(row.replayed):
        return str(row.reason)
    shown = significant(row.replayed)
    return Shown(f"({shown})", row.replayed) if row.hollow else shown


def verdicts_json(trial: Trial) -> str:
    """Every verdict for a program: a range is a list, what is not known is null."""
    records = [_record(row, trial.claims.by_id[row.id]["claimed"] or [None]) for row in _each(verdicts(trial))]
    return json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _record(row: Any, claimed: list[float | None]) -> dict[str, Any]:
    numbers = (row.measured, row.measured_low, row.measured_high, row.share_of_limit)
    kind = int if row.kind == "order" else float  # an order's are counts
    value, low, high, share = (None if pd.isna(number) else kind(number) for number in numbers)
    return {
        "id": row.id,
        "claimed": claimed[0] if claimed[0] == claimed[-1] else claimed,
        "measured": value,
        "low": low,
        "high": high,
        "verdict": row.verdict,
        "why": row.unjudged or None,
        "reason": row.reason,
        "implied_share_of_limit": share,
    }


def verdict_lines(trial: Trial) -> list[str]:
    """Every verdict for a terminal."""
    lines = [f"{row.id:24} {row.word:31} {row.claimed:>18}   {row.reason}" for row in _each(verdicts(trial))]
    return [*lines, counts(trial)]
