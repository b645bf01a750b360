"""What a trial says: its sentences and tables, every number of them computed from the runs."""

from __future__ import annotations

import json
from collections import Counter
from math import log
from pathlib import Path
from typing import Any

from moe.analysis import Interval
from moe.analysis.attribution import Factor
from moe.analysis.verdicts import (
    FAILS,
    HOLDS,
    MARGIN,
    REGION,
    UNMEASURABLE,
    VERDICTS,
    Found,
    Implied,
    Judgement,
    Replayed,
    Trial,
    claimed_of,
)
from moe.claims import Claim, Product
from moe.report.claims import trial_of
from moe.report.index import Findings
from moe.report.sentences import measured_on, resolution, warnings
from moe.report.tables import html_table
from moe.report.text import percent, significant, span, threads_text, times

WORDS = {
    HOLDS: "✓ holds",
    REGION: "◐ only in a region",
    FAILS: "✗ does not hold",
    UNMEASURABLE: "– can't be measured here",
}
MOST_REGIONS = 3  # named in a sentence
FITS = 0.02  # a product and its whole are rounded


def findings(path: Path) -> Findings:
    """What the replay at `path` and the runs beside it say, with the figure and the table of verdicts."""
    trial = trial_of(path.parent)
    missing = [f"“{j.claim.quote}”: {reason(j)}" for j in trial.judgements if j.verdict == UNMEASURABLE]
    return Findings(headline(trial), ratios_sentence(trial), verdicts_table(trial), missing)


def headline(trial: Trial) -> list[str]:
    """How many claims hold, which is farthest off, which asks most of the machine, and the source's protocol."""
    counts = Counter(j.verdict for j in trial.judgements)
    lines = [
        f"{len(trial.judgements)} claims of “{trial.claims.title}” on this machine: {counts[HOLDS]} "
        f"{'holds' if counts[HOLDS] == 1 else 'hold'}, {counts[REGION]} only in a region, {counts[FAILS]} "
        f"{'does' if counts[FAILS] == 1 else 'do'} not hold, and {counts[UNMEASURABLE]} can't be measured."
    ]
    off = [(o, j) for j in trial.judgements if j.verdict == FAILS and (o := _times_off(j))]
    if off:
        farthest = max(off, key=lambda pair: abs(log(pair[0])))[1]
        lines.append(f"Farthest off is “{farthest.claim.quote}”: {reason(farthest)}.")
    asked = [(j.implied, j) for j in trial.judgements if j.implied]
    if asked:
        implied, most = max(asked, key=lambda pair: pair[0].share_of_limit)
        lines.append(f"Most is asked of the machine by “{most.claim.quote}”: {physical(implied)}.")
    lines += [replay_sentence(trial)] if trial.replayed() else []
    for summary in trial.summaries[:1]:
        lines += [measured_on(summary), resolution(summary), *warnings(summary)]
    return lines


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


def claimed_text(claim: Claim) -> str:
    """What is claimed, with its unit."""
    if claim.claimed is None:
        return "no number"
    low, high = claim.claimed
    number = f"{low:,.10g}" if low == high else f"{low:,.10g}–{high:,.10g}"
    return number + {"throughput": " tokens/s", "order": " pairs reversed"}.get(_kind(claim), " ×")


def _kind(claim: Claim) -> str:
    return next(key for key in claim.quantity if key != "experiment")


def measured_text(judgement: Judgement) -> str | None:
    """What was measured where it was claimed, with its unit."""
    if judgement.found is None:
        return None
    return _value_text(judgement.claim, judgement.found.value)


def _value_text(claim: Claim, value: Interval) -> str:
    if _kind(claim) == "throughput":
        return f"{span(value)} tokens/s"
    if _kind(claim) == "order":
        return f"{value.value:g} [{value.low:g}–{value.high:g}] pairs reversed"
    return times(value)


def reason(judgement: Judgement) -> str:
    """Why a claim got its verdict: what was measured, and what that means."""
    meaning = _meaning(judgement)
    if judgement.found is None:
        return meaning
    return f"measured {measured_text(judgement)}" + (f": {meaning}" if meaning else "")


def _meaning(judgement: Judgement) -> str:
    """What a measured value says of its claim, where it was not measured as claimed, and what is missing."""
    parts = []
    off = _times_off(judgement)
    if judgement.verdict == UNMEASURABLE and judgement.found:
        parts.append("this run can't tell")
    elif judgement.verdict == FAILS and off:
        parts.append(f"{significant(max(off, 1 / off))} times {'more' if off > 1 else 'less'} than claimed")
    elif judgement.verdict == REGION and judgement.factor:
        parts.append(_contexts(judgement.factor))
    if judgement.regions and judgement.verdict in (REGION, UNMEASURABLE):
        parts.append(_regions(judgement))
    if judgement.factor and judgement.found:
        parts.append(f"measured{_place(judgement.found)}")
    if judgement.missing:
        parts.append(f"without {judgement.missing}" if judgement.found else judgement.missing)
    return "; ".join(parts)


def _place(found: Found) -> str:
    return f" on {threads_text(found.threads)}, {found.config.label}"


def _contexts(factor: Factor) -> str:
    least, most = significant(factor.least), significant(factor.most)
    return f"from {least} to {most} × by which of the other factors are on"


def _regions(judgement: Judgement) -> str:
    shown = judgement.regions[:MOST_REGIONS]
    more = len(judgement.regions) - len(shown)
    holds = "; ".join(f"{_value_text(judgement.claim, f.value)}{_place(f)}" for f in shown)
    return f"it holds elsewhere: {holds}{f'; and {more} more' if more else ''}"


def _times_off(judgement: Judgement) -> float | None:
    """How many times the claim what was measured is; None where either is nothing."""
    if judgement.found is None or judgement.claim.claimed is None or _kind(judgement.claim) == "order":
        return None
    low, high = judgement.claim.claimed
    value = judgement.found.value.value
    nearest = min(max(value, low), high)
    return value / nearest if nearest > 0 and value > 0 and nearest != value else None


def ratios_sentence(trial: Trial) -> str:
    """How far the claims about ratios and factors are from what was measured."""
    judged = [j for j in trial.judgements if j.verdict != UNMEASURABLE and "throughput" not in j.claim.quantity]
    off = {j.claim.id: o for j in judged if j.verdict != HOLDS and (o := _times_off(j))}
    if not off:
        return f"Of {len(judged)} claims about ratios and factors that could be judged, none was seen to be off."
    parts = ", ".join(
        f"{name} is {significant(max(o, 1 / o))} times {'under' if o > 1 else 'over'}stated"
        for name, o in sorted(off.items(), key=lambda pair: -abs(log(pair[1])))
    )
    verb = "is" if len(off) == 1 else "are"
    return f"Of {len(judged)} claims about ratios and factors that could be judged, {len(off)} {verb} off: {parts}."


def verdicts_table(trial: Trial) -> str:
    """Every claim, what was measured, its verdict and why."""
    rows = [
        {
            "claim": f"“{j.claim.quote}”",
            "verdict": WORDS[j.verdict],
            "claimed": claimed_text(j.claim),
            "measured": measured_text(j),
            "why": ". ".join(part for part in (_meaning(j), j.claim.note.removesuffix(".")) if part) or None,
        }
        for j in trial.judgements
    ]
    counts = Counter(j.verdict for j in trial.judgements)
    caption = (
        f"{len(rows)} claims: " + ", ".join(f"{counts[v]} {WORDS[v]}" for v in VERDICTS) + f". {trial.claims.title}, "
        f"{trial.claims.url}. {trial.claims.conditions}"
    )
    return html_table("verdicts", rows, caption, ["claimed", "measured"])


def physical(implied: Implied) -> str:
    """What a claim would have the machine do, against what it can."""
    arithmetic, memory = (
        implied.flops_per_s / implied.limits.flops_per_s, implied.bytes_per_s / implied.bandwidth
    )  # fmt: skip
    return (
        f"{_rate(implied.flops_per_s, 'FLOP/s')}, {_multiple(arithmetic)} the multiply-add peak of "
        f"{threads_text(implied.limits.threads)} here, and {_rate(implied.bytes_per_s, 'B/s')}, "
        f"{_multiple(memory)} their read bandwidth, by {implied.limits.by}"
    )


def _rate(value: float, unit: str) -> str:
    prefix, factor = next(((p, f) for p, f in (("T", 1e12), ("G", 1e9)) if value >= f), ("M", 1e6))
    return f"{significant(value / factor)} {prefix}{unit}"


def _multiple(share: float) -> str:
    return f"{significant(share)} times" if share >= 1 else f"{percent(share)} of"


def physical_table(trial: Trial) -> str:
    """The FLOP/s and bytes/s that each claim about throughput implies, beside this machine's limits."""
    sources = sorted({j.implied.limits.by for j in trial.judgements if j.implied})
    rows: list[dict[str, Any]] = [
        {
            "claim": f"“{j.claim.quote}”",
            "GFLOP/s": significant(j.implied.flops_per_s / 1e9),
            "× peak": significant(j.implied.flops_per_s / j.implied.limits.flops_per_s),
            "GB/s": significant(j.implied.bytes_per_s / 1e9),
            "× read bandwidth": significant(j.implied.bytes_per_s / j.implied.bandwidth),
            "% of limit": significant(100 * j.implied.share_of_limit),
        }
        for j in trial.judgements
        if j.implied
    ]
    caption = (
        "What each claim asks of a processor on the claimed layer: a throughput as it stands, a ratio times the "
        "baseline measured here. Bytes are those of uniform routing. Over 100 % of the limit no program on this "
        f"machine could do it, as far as the limits go: {' and '.join(sources) or 'none was measured'}. A claim made "
        "of another machine may be true there."
    )
    numbers = ["GFLOP/s", "× peak", "GB/s", "× read bandwidth", "% of limit"]
    return html_table("physical", rows or [{"claim": "no baseline was measured"}], caption, numbers)


def products(trial: Trial) -> list[str]:
    """Whether the parts that are claimed multiply to the whole that is claimed."""
    return [_product(trial, product) for product in trial.claims.products] + _twice_timed(trial)


def _product(trial: Trial, product: Product) -> str:
    (low, high), (whole_low, whole_high) = trial.product(product)
    parts = " × ".join(claimed_text(trial.claims.by_id[name]).removesuffix(" ×") for name in product.parts)
    whole = trial.claims.by_id[product.whole]
    makes = f"{low:,.4g}" if low == high else f"{low:,.4g}–{high:,.4g}"
    said = f"{parts} = {makes} ({', '.join(product.parts)}), and {claimed_text(whole)} is claimed of {whole.id}"
    if whole_low <= high * (1 + FITS) and whole_high >= low / (1 + FITS):
        return f"{said}: they fit."
    gap = whole_low / high if whole_low > high else low / whole_high
    return f"{said}: they do not fit, by {significant(gap)} times."


def _twice_timed(trial: Trial) -> list[str]:
    """Rows of a source that are another row's program, timed again and divided."""
    rows = trial.claims.protocol.rows if trial.claims.protocol else ()
    lines = []
    for row in (r for r in rows if r.divided_by != 1.0):
        plain = next((r for r in rows if r.variant == row.variant and r.divided_by == 1.0), None)
        if plain:
            ours, theirs = (claimed_of(trial.claims.by_id[r.claim])[0] for r in (row, plain))
            if not theirs:
                continue
            ratio = ours / theirs
            lines.append(
                f"The row “{row.name}” is the program of “{plain.name}” timed again and divided by "
                f"{row.divided_by:g}. Published it is {significant(ratio)} times as fast: {row.divided_by:g} by "
                f"division, and {significant(ratio / row.divided_by)} by timing one program twice."
            )
    return lines


def replay_sentence(trial: Trial) -> str:
    """What the source's own protocol gives here, beside the fair measurement of the same rows."""
    rows = trial.replayed()
    if not rows:
        return "The source's own protocol was not replayed beside these runs, or the file describes none."
    first, last = rows[0], rows[-1]
    divided = ", its division included" if last.hollow or first.hollow else ""
    parts = []
    if first.published:
        parts.append(f"{significant(last.published / first.published)} × as published")
    if last.replayed and first.replayed:
        ratio = last.replayed / first.replayed
        parts.append(f"{significant(ratio)} × by the source's protocol replayed here{divided}")
    if fair := trial.fair_ratio(first.row.fair, last.row.fair):
        parts.append(f"{times(fair)} measured ({last.row.fair} over {first.row.fair})")
    return f"“{last.row.name}” over “{first.row.name}”: {', '.join(parts) or 'nothing was measured'}."


def replay_table(trial: Trial) -> str:
    """The source's rows: as published, by its own protocol here, and measured fairly."""
    rows = [
        {
            "row": r.row.name,
            "published, tokens/s": f"{r.published:,.10g}",
            "its protocol here, tokens/s": _replayed_text(r),
            "what its protocol times": _what_is_timed(r),
            "measured, tokens/s": span(r.fair) if r.fair else None,
            "of": r.row.fair,
        }
        for r in trial.replayed()
    ]
    protocol = trial.claims.protocol
    caption = "The source's protocol was not replayed."
    if rows and protocol:
        caption = (
            f"Its protocol: in one process, one row after the other, the mean of {protocol.forwards} forwards after "
            f"{protocol.warm_up}. What is in brackets is no measurement: it is a program's time divided by a number. "
            "The programs timed are this project's, which compute the same and differ from the source's in detail; "
            "they run on the CPU. The measured column is this project's own protocol, medians with 95 % intervals."
        )
    numbers = ["published, tokens/s", "its protocol here, tokens/s", "measured, tokens/s"]
    return html_table("replay", rows or [{"row": "none"}], caption, numbers)


def _replayed_text(r: Replayed) -> str | None:
    if r.replayed is None:
        return r.reason
    return f"({significant(r.replayed)})" if r.hollow else significant(r.replayed)


def _what_is_timed(r: Replayed) -> str:
    return f"{r.row.variant}, its time divided by {r.row.divided_by:g}" if r.hollow else r.row.variant


def verdicts_json(trial: Trial) -> str:
    """Every verdict for a program: a range is a list, what is not known is null."""
    return json.dumps([_record(j) for j in trial.judgements], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _record(j: Judgement) -> dict[str, Any]:
    low, high = j.claim.claimed or (None, None)
    value = j.found.value if j.found else None
    ends = value if value and value.bounded else None
    return {
        "id": j.claim.id,
        "claimed": low if low == high else [low, high],
        "measured": value.value if value else None,
        "low": ends.low if ends else None,
        "high": ends.high if ends else None,
        "verdict": j.verdict,
        "reason": reason(j),
        "implied_share_of_limit": j.implied.share_of_limit if j.implied else None,
    }


def verdict_lines(trial: Trial) -> list[str]:
    """Every verdict for a terminal."""
    lines = [
        f"{j.claim.id:24} {WORDS[j.verdict]:24} {claimed_text(j.claim):>18}   {reason(j)}" for j in trial.judgements
    ]
    return [*lines, headline(trial)[0]]
