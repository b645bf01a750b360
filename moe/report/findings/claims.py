"""What the page of claims says: its sentences and tables, every number of them computed from the runs."""

import json
from collections import Counter
from collections.abc import Iterator
from math import isnan, nan, prod
from typing import Any

import pandas as pd

from moe.analysis import Interval
from moe.analysis.frames import interval_of, records
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
from moe.report.findings.words import MOST_WORDS, brief, counted, fitting, joined, listed, rounded, title_of, words_in
from moe.report.tables import frame_table, html_table
from moe.report.text import Shown, percent, rate, significant, span, threads_text, times

Row = dict[str, Any]  # of a frame

# Of a verdict, or of the reason why there is none: its word, and what is said of one claim and of several.
SAID = {
    HOLDS: ("✓ holds", "holds here", "hold here"),
    REGION: ("◐ in other cases only", "holds in other cases only", "hold in other cases only"),
    FAILS: ("✗ does not hold", "does not hold", "do not hold"),
    UNDECIDED: ("? undecided", "is undecided", "are undecided"),
    NO_GPU: ("– can't be judged without a GPU", "needs a GPU to be judged", "need a GPU to be judged"),
    NOT_INSTALLED: ("– not installed here", "needs missing software", "need missing software"),
    UNMEASURABLE: ("– can't be measured here", "can't be measured here", "can't be measured here"),
}
# By what a claim is judged.
RULE = (
    "A claim holds where the whole 95 % interval of what was measured lies within what is claimed, a single number "
    f"being taken as that number times or divided by {MARGIN:g}. It does not hold where all of the interval lies "
    "outside; between the two this run can't tell. It is judged on the claimed layer and on all threads of the run; "
    "a factor in the breakdown of that layer, on as many tokens as that has. Where it does not hold there but does "
    "elsewhere, or a factor gives as much with one set of the others on, it holds in other cases only."
)
RATED = ("ratio", "throughput", "factor")  # kinds of claims that can be so many times off
UNITS = {"throughput": "tokens/s", "order": "pairs reversed"}  # of others ×
MOST_REGIONS = 3  # named in a sentence
FITS = 0.02  # a product and its whole are rounded


def verdicts(trial: Trial) -> pd.DataFrame:
    """A trial's verdicts with what is said of each: word, beside, at, claimed_text, measured_text, reason, why.

    The reason has what was measured and what that means, why the latter with the claim's own note.
    """
    return trial.verdicts.join(pd.DataFrame([_said(row) for row in records(trial.verdicts)], dtype=object))


def _said(row: Row) -> dict[str, str | None]:
    found = None if isnan(row["measured"]) else _value(row["kind"], interval_of(row, "measured"))
    meaning = _meaning(row, found)
    return {
        "quoted": f"“{row['quote']}”",
        "word": SAID[_counted_as(row)][0],
        "beside": _beside(row),
        "at": counted(row["tokens"], "token", "tokens") if found and row["kind"] == "factor" else "",
        "claimed_text": _claimed(row),
        "measured_text": found,
        "reason": ": ".join(filter(None, (found and f"measured {found}", meaning))),
        "why": ". ".join(filter(None, (meaning, row["note"].removesuffix(".")))) or None,
    }


def _beside(row: Row) -> str:
    """What stands beside a claim in a figure: its word, or on which side of it a number that does not hold lies."""
    if row["verdict"] == FAILS and row["off"] > 0:
        return "↑ more than claimed" if row["off"] > 1 else "↓ less than claimed"
    return SAID[_counted_as(row)][0]


def _counted_as(row: Row) -> str:
    """A claim's verdict, or why there is none, by SAID."""
    return str(row["unjudged"] if row["unjudged"] in SAID else row["verdict"])


def _claimed(row: Row) -> str:
    """What is claimed with its number, or with the ends alone of a range."""
    low, high = row["claimed_low"], row["claimed_high"]
    if isnan(low):
        return "no number"
    text = f"{_ends(low, high)} {UNITS.get(row['kind'], '×')}"
    return Shown(text, low if low == high else Interval(nan, low, high))


def _ends(low: float, high: float, form: str = ",.10g", between: str = "–") -> str:
    return f"{low:{form}}" if low == high else f"{low:{form}}{between}{high:{form}}"


def _value(kind: str, value: Interval) -> str:
    if kind == "order":
        return f"{value.value:g} [{value.low:g}–{value.high:g}] {UNITS[kind]}"
    return f"{span(value)} {UNITS[kind]}" if kind == "throughput" else times(value)


def _meaning(row: Row, found: str | None) -> str:
    """What a measured value says of its claim, where it was not measured as claimed, and what is missing."""
    parts = []
    if row["verdict"] == UNMEASURABLE and found:
        parts.append("this run can't tell")
    elif row["verdict"] == FAILS and row["off"] > 0:
        parts.append(f"{significant(_times_off(row))} times {'more' if row['off'] > 1 else 'less'} than claimed")
    elif row["verdict"] == REGION and row["kind"] == "factor":
        least, most = significant(row["least"]), significant(row["most"])
        parts.append(f"from {least} to {most} × by which of the other factors are on")
    if row["elsewhere"] and row["verdict"] in (REGION, UNMEASURABLE):
        parts.append(_regions(row["kind"], row["elsewhere"]))
    if row["kind"] == "factor" and found:
        parts.append(f"measured on {threads_text(row['threads'])}, {row['layer']}")
    if row["missing"]:
        parts.append(f"without {row['missing']}" if found else row["missing"])
    return "; ".join(parts)


def _times_off(row: Row) -> float:
    return float(max(row["off"], 1 / row["off"]))


def _regions(kind: str, elsewhere: tuple[Found, ...]) -> str:
    shown = [f"{_value(kind, f.value)} on {threads_text(f.threads)}, {f.config.label}" for f in elsewhere]
    more = [f"and {len(shown) - MOST_REGIONS} more"] if len(shown) > MOST_REGIONS else []
    return f"it holds elsewhere: {'; '.join(shown[:MOST_REGIONS] + more)}"


def headline(trial: Trial) -> list[str]:
    """How many claims hold here, which is farthest off, and, as far as there is room, what was never measured."""
    never = [
        f"The source's row “{row['name']}” was never measured: it is “{other['name']}” timed again and its time "
        f"divided by {row['divided_by']:g}."
        for row, other in _timed_again(trial.claims)
    ]
    untold = known_for(trial)
    if not _judged(trial):
        return [counts(trial), joined([untold, *never[:1]])]
    if untold:
        return fitting([counts(trial), untold, farthest(trial)])
    worst = _worst(trial)
    said = [farthest(trial), *never[:1]]
    if worst and _origin(trial.claims, worst) and words_in([counts(trial), *said]) > MOST_WORDS:
        said = said[:1]  # which has it in brief
    if not any(row["kind"] == "ratio" for row in _fails(trial)):
        said.reverse()  # what a source is known for is how many times as fast something is
    return [counts(trial), *said]


def counts(trial: Trial) -> str:
    """How many claims hold, and how many of the others are what."""
    found = Counter(map(_counted_as, records(trial.verdicts)))
    parts = [f"{found[kind]} {SAID[kind][1 if found[kind] == 1 else 2]}" for kind in SAID if found[kind]]
    claims = f"{len(trial.verdicts)} published {'claim' if len(trial.verdicts) == 1 else 'claims'}"
    if found[FAILS] == len(trial.verdicts) > 1:
        return f"None of {claims} holds here."
    seen = "" if found[HOLDS] or found[REGION] or not found[FAILS] else "none was seen to hold here: "
    return f"Of {claims} {seen}{listed(parts)}."


def known_for(trial: Trial) -> str:
    """That the largest published ratio, or all there is, can't be judged by these runs; nothing where it can be."""
    ratios = [row for row in records(trial.verdicts) if row["kind"] == "ratio"]
    most = max(ratios, key=lambda row: row["claimed_high"], default=None)
    if most is None or most["verdict"] != UNMEASURABLE:
        return "" if _judged(trial) else "None of the published numbers could be judged by these runs."
    what = f"The published {_times_what(most, trial.claims)} can't be judged by these runs"
    if not _judged(trial):
        return f"{what}, nor can any other published number."
    variant, colon, reason = (most["missing"] or "they do not tell").partition(": ")
    return f"{what}{_origin(trial.claims, most)}: {brief(reason.partition(': ')[0] if colon else variant)}."


def farthest(trial: Trial) -> str:
    """The claim that is the most times off, of those that could be judged."""
    worst = _worst(trial)
    return _off(worst, trial.claims) if worst else "No number that could be judged is off."


def _judged(trial: Trial) -> list[Row]:
    return [row for row in records(trial.verdicts) if row["verdict"] != UNMEASURABLE and row["kind"] in RATED]


def _fails(trial: Trial) -> list[Row]:
    """The claims that can be so many times off, and are."""
    return [row for row in _judged(trial) if row["verdict"] == FAILS and row["off"] > 0]


def _worst(trial: Trial) -> Row | None:
    """The claim that is the most times off; what is said over something else tells more than one machine's speed."""
    return max(_fails(trial), key=lambda row: (row["kind"] == "ratio", _times_off(row)), default=None)


def _origin(claims: Claims, claim: Row) -> str:
    """A remark on a claimed ratio of what its source did not measure, or nothing."""
    of, *_ = claims.by_id[claim["id"]]["quantity"].get("ratio", [None])
    timed = {row["variant"] for row in claims.rows if row["divided_by"] == 1.0}
    for row, _ in _timed_again(claims):
        if of == row["fair"] and of not in timed:
            return f" (its source never timed {title_of(of)})"
    return ""


def _times_what(row: Row, claims: Claims) -> str:
    """A claimed ratio, of how many times what."""
    _, second = claims.by_id[row["id"]]["quantity"]["ratio"]
    return f"{_ends(row['claimed_low'], row['claimed_high'], between=' to ')} times {title_of(second)}"


def _off(row: Row, claims: Claims) -> str:
    quantity = claims.by_id[row["id"]]["quantity"]
    claimed = _ends(row["claimed_low"], row["claimed_high"], between=" to ")
    found, here = rounded(interval_of(row, "measured")), f"here on {threads_text(row['threads'])}"
    if row["kind"] == "throughput":
        of = title_of(quantity["throughput"])
        return f"The published {claimed} tokens a second of {of} do not hold: measured {here} are {found}."
    if row["kind"] == "factor":
        return f"The published {claimed} times of {quantity['factor']} does not hold: measured {here} is {found}."
    first, second = map(title_of, quantity["ratio"])
    if not interval_of(row, "measured").excludes(1.0):  # which of them is faster may be untold
        end, least_or_most = ("low", "least") if row["off"] > 1 else ("high", "most")
        found = f"at {least_or_most} {significant(row[f'measured_{end}'], 2)}"
    measured = f"{first} is {found} times {second} {here}"
    return f"The published {_times_what(row, claims)} does not hold{_origin(claims, row)}: {measured}."


def extremes(trial: Trial) -> list[str]:
    """The claim that is farthest off, and the one that asks most of the machine."""
    rows = records(verdicts(trial))
    lines = []
    if off := [row for row in rows if row["verdict"] == FAILS and row["off"] > 0]:
        most = max(off, key=_times_off)
        lines.append(f"Farthest off is {most['quoted']}: {most['reason']}.")
    if asked := [row for row in rows if row["share_of_limit"] > 0]:
        most = max(asked, key=lambda row: row["share_of_limit"])
        threads = threads_text(int(most["limits_threads"]))
        lines.append(
            f"Most is asked of the machine by {most['quoted']}: {rate(most['flops_per_s'], 'FLOP/s')}, "
            f"{_multiple(most['of_peak'])} the multiply-add peak of {threads} here, and "
            f"{rate(most['bytes_per_s'], 'B/s')}, {_multiple(most['of_bandwidth'])} their read bandwidth, by "
            f"{most['limits_by']}."
        )
    return lines


def _multiple(share: float) -> str:
    return f"{significant(share)} times" if share >= 1 else f"{percent(share)} of"


def ratios_sentence(trial: Trial) -> str:
    """How far the claims about ratios and factors are from what was measured."""
    frame = trial.verdicts
    judged = frame[(frame.verdict != UNMEASURABLE) & frame.kind.isin(["ratio", "factor"])]
    off = sorted(records(judged[(judged.verdict != HOLDS) & (judged.off > 0)]), key=_times_off, reverse=True)
    said = f"Of {len(judged)} claims about ratios and factors that could be judged, "
    if not off:
        return f"{said}none was seen to be off."
    parts = (
        f"{row['id']} is {significant(_times_off(row))} times {'under' if row['off'] > 1 else 'over'}stated"
        for row in off
    )
    return f"{said}{len(off)} {'is' if len(off) == 1 else 'are'} off: {', '.join(parts)}."


def verdicts_table(trial: Trial) -> str:
    """Every claim, what was measured, its verdict and why."""
    source, found = trial.claims.source, Counter(map(_counted_as, records(trial.verdicts)))
    words = (f"{found[kind]} {word}" for kind, (word, *_) in SAID.items() if found[kind])
    caption = (
        f"{len(trial.verdicts)} claims: {', '.join(words)}. "
        f"{source['title']}, {source.get('url', '')}. {source.get('conditions', '')}"
    )
    headings = {"quoted": "claim", "word": "verdict", "claimed_text": "claimed", "measured_text": "measured"}
    frame = verdicts(trial)
    frame["quoted"] += " (" + frame.id + ")"  # its name in figures and sentences
    return frame_table("verdicts", frame, [*headings, "why"], caption, headings)


def products(trial: Trial) -> list[str]:
    """Whether parts multiply to the whole that is claimed of them, and which rows are others divided."""
    rows = {row["id"]: row for row in records(verdicts(trial))}
    said = [_product([rows[name] for name in p["parts"]], rows[p["whole"]]) for p in trial.claims.products]
    return [*said, *_twice_timed(trial.claims)]


def _product(parts: list[Row], whole: Row) -> str:
    low, high = prod(row["claimed_low"] for row in parts), prod(row["claimed_high"] for row in parts)
    said = (
        f"{' × '.join(row['claimed_text'].removesuffix(' ×') for row in parts)} = {_ends(low, high, ',.4g')} "
        f"({', '.join(row['id'] for row in parts)}), and {whole['claimed_text']} is claimed of {whole['id']}"
    )
    if whole["claimed_low"] <= high * (1 + FITS) and whole["claimed_high"] >= low / (1 + FITS):
        return f"{said}: they fit."
    gap = whole["claimed_low"] / high if whole["claimed_low"] > high else low / whole["claimed_high"]
    return f"{said}: they do not fit, by {significant(gap)} times."


def _timed_again(claims: Claims) -> Iterator[tuple[Row, Row]]:
    """Rows of a source that are another row's program, timed again and divided, each with that one."""
    plain = {row["variant"]: row for row in reversed(claims.rows) if row["divided_by"] == 1.0}
    for row in claims.rows:
        if row["divided_by"] != 1.0 and row["variant"] in plain:
            yield dict(row), dict(plain[row["variant"]])


def _twice_timed(claims: Claims) -> Iterator[str]:
    """How much of what such a row is ahead comes from the division."""
    for row, other in _timed_again(claims):
        ours, theirs = (claims.by_id[r["claim"]]["claimed"][0] for r in (row, other))
        by = row["divided_by"]
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
    first, last = records(trial.replayed.iloc[[0, -1]])
    divided = ", its division included" if last["hollow"] or first["hollow"] else ""
    parts = []
    if first["published"]:
        parts.append(f"{significant(last['published'] / first['published'])} × as published")
    if last["replayed"] > 0 and first["replayed"] > 0:
        ratio = significant(last["replayed"] / first["replayed"])
        parts.append(f"{ratio} × by the source's protocol replayed here{divided}")
    if last["over_first"] > 0:
        parts.append(f"{times(interval_of(last, 'over_first'))} measured ({last['fair']} over {first['fair']})")
    return f"“{last['name']}” over “{first['name']}”: {', '.join(parts) or 'nothing was measured'}."


def replay_table(trial: Trial) -> str:
    """The source's rows: as published, by its own protocol here, and measured fairly; arithmetic is in brackets."""
    over = f"× {trial.claims.rows[0]['fair']}" if trial.claims.rows else "×"
    rows = [
        {
            "row": row["name"],
            "published, tokens/s": Shown(f"{row['published']:,.10g}", row["published"]),
            "its protocol here, tokens/s": _replayed(row),
            "what its protocol times": _timed(row),
            "measured, tokens/s": span(interval_of(row, "measured")) if row["measured"] > 0 else None,
            over: times(interval_of(row, "over_first")) if place and row["over_first"] > 0 else None,
            "of": row["fair"],
        }
        for place, row in enumerate(records(trial.replayed))
    ]
    caption, protocol = "The source's protocol was not replayed.", trial.claims.protocol
    if rows and protocol:
        caption = (
            f"Its protocol: in one process, one row after the other, the mean of {protocol['forwards']} forwards "
            f"after {protocol['warm_up']}."
        )
    numbers = ["published, tokens/s", "its protocol here, tokens/s", "measured, tokens/s", over]
    return html_table("replay", rows or [{"row": "none"}], caption, numbers)


def _replayed(row: Row) -> str:
    if isnan(row["replayed"]):
        return str(row["reason"])
    shown = significant(row["replayed"])
    return Shown(f"({shown})", row["replayed"]) if row["hollow"] else shown


def _timed(row: Row) -> str:
    return str(row["variant"]) + (f", its time divided by {row['divided_by']:g}" if row["hollow"] else "")


def verdicts_json(trial: Trial) -> str:
    """Every verdict for a program: a range is a list, what is not known is null."""
    named = {"measured_low": "low", "measured_high": "high", "unjudged": "why"}
    named["share_of_limit"] = "implied_share_of_limit"
    kept = ["id", "claimed", "measured", "low", "high", "verdict", "why", "reason", "implied_share_of_limit"]
    found = verdicts(trial).drop(columns="why").rename(columns=named)[kept].astype(object)
    rows = records(found.where(found.notna() & (found != ""), None))
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def verdict_lines(trial: Trial) -> list[str]:
    """Every verdict for a terminal."""
    lines = [
        f"{row['id']:24} {row['word']:31} {row['claimed_text']:>18}   {row['reason']}"
        for row in records(verdicts(trial))
    ]
    return [*lines, counts(trial)]
