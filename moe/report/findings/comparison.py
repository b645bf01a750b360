"""What a comparison found: the three sentences of its first screen, and those below its figures."""

from typing import Any

import pandas as pd

from moe.analysis import Row, Summary, tokens_ratio
from moe.analysis.frames import records
from moe.analysis.summary import KERNEL
from moe.report.figures import near
from moe.report.findings.words import brief, fitting, listed, rounded, title_of, with_ends
from moe.report.sentences import how_sure, is_too_noisy
from moe.report.style import QUANTITIES
from moe.report.text import UNSURE_LIMIT, lacking, percent, ratio_text, significant, threads_text, times

# Of what is too noisy: numbers of it would be read as if they were not.
TOO_NOISY_TO_TELL = "noise hides which is fastest"
LIMITS = {"arithmetic": "can calculate", "memory": "can read from memory"}


def headline(summary: Summary) -> list[str]:
    """What is the fastest and by how much, how near to the machine's limit, and how sure that is."""
    if not summary.thread_counts:
        why = f": {_reason(summary.missing[0])}" if summary.missing else ""
        return [f"Nothing was measured{why}."]
    ends = list(dict.fromkeys((summary.thread_counts[0], summary.thread_counts[-1])))
    calm = [threads for threads in ends if not is_too_noisy(summary, threads)]
    limit = _limit(summary, calm) if calm else "Nor can it be told how near that is to the machine's limit."
    return fitting([_fastest(summary, ends), limit, how_sure(summary, ends)])


def _reason(row: Row) -> str:
    return brief(row.measurement.reason or row.measurement.status)


def _fastest(summary: Summary, ends: list[int]) -> str:
    """The verdict on the fewest and the most threads, said once where it is the same."""
    groups: dict[str, list[str]] = {}
    for threads in ends:
        verdict, by = TOO_NOISY_TO_TELL, ""
        if not is_too_noisy(summary, threads):
            verdict, by = _kernel(summary, threads) or _others(summary, threads)
        if verdict in groups:  # its words have been said
            by = by.replace(" as fast as", "").replace(", the next", "").replace(", and", " and")
        groups.setdefault(verdict, []).append(f"on {threads_text(threads)}{by}")
    said = "; ".join(
        f"{verdict} {'; '.join(parts) if verdict.endswith(':') else ' and '.join(parts)}"
        for verdict, parts in groups.items()
    )
    if any(row.label == KERNEL for row in summary.measured):
        return f"At {summary.tokens:,} tokens {said}."
    found = next((row for row in summary.missing if row.measurement.variant == KERNEL), None)
    why = f" ({_reason(found)})" if found else ""
    return f"{title_of(KERNEL)} was not measured{why}; at {summary.tokens:,} tokens {said}."


def _kernel(summary: Summary, threads: int) -> tuple[str, str] | None:
    """Mojo against the best of the others: a verdict, and by how much."""
    ahead = summary.ahead.get(threads)
    if ahead is None:
        return None
    kernel, other = title_of(ahead.mojo.label), title_of(ahead.other.label)
    if not ahead.ratio.bounded:
        return "the fastest is undecided", f" ({kernel} about {rounded(ahead.ratio)} × {other})"
    if not ahead.resolved:
        return f"{kernel} and {other}, the best other, can't be told apart", f" ({with_ends(ahead.ratio)})"
    if ahead.ratio.value > 1:
        return _first(summary, ahead.mojo, ahead.other, f" {with_ends(ahead.ratio)} as fast as {other}, the next")
    by = f" {with_ends(ahead.ratio.inverse())} as fast as {kernel}"
    return _first(summary, ahead.other, ahead.mojo, by)


def _first(summary: Summary, row: Row, other: Row, by: str) -> tuple[str, str]:
    """A row that is ahead of another `by` so much, and of the baseline, unless one of them is the baseline."""
    name, baseline = title_of(row.label), title_of(summary.baseline)
    if row.speedup is None or other.label == summary.baseline:
        return f"{name} is the fastest:", by
    if not row.resolved:
        return f"{name} is faster than {title_of(other.label)}:", f"{by}, but can't be told from {baseline}"
    if row.speedup.value <= summary.ahead[row.threads].ratio.value:  # by ratios, which are taken round by round
        by = by.replace(", the next", "")
    return f"{name} is the fastest:", f"{by}, and {rounded(row.speedup)} × {baseline}"


def _others(summary: Summary, threads: int) -> tuple[str, str]:
    """The fastest where Mojo was not measured."""
    best, baseline = _best(summary, threads), title_of(summary.baseline)
    name, speedup = title_of(best.label), best.speedup
    if speedup is None:
        same = [row for row in summary.measured if row.threads == threads and row.speedup and not row.resolved]
        names = [name, *(title_of(row.label) for row in same)]
        return f"{listed(names)} can't be told apart" if same else f"{name} is the fastest", ""
    if not speedup.bounded:
        return "the fastest is undecided", f" ({name} about {rounded(speedup)} × {baseline})"
    if not best.resolved:
        return f"{name} and {baseline} can't be told apart", f" ({with_ends(speedup)})"
    return f"{name} is the fastest:", f" {with_ends(speedup)} as fast as {baseline}"


def _best(summary: Summary, threads: int) -> Row:
    rows = [row for row in summary.measured if row.threads == threads]
    return max(rows, key=lambda row: row.throughput.value if row.throughput else 0.0)


def _limit(summary: Summary, ends: list[int]) -> str:
    """How near the fastest comes to what the machine can do, on the fewest and the most threads."""
    rows = [_best(summary, threads) for threads in ends]
    if any(row.share_of_limit is None or row.bound is None for row in rows):
        return "The machine's limit was not measured, so nothing is said of how near this is to it."
    shares = [(row, row.share_of_limit, row.bound) for row in rows if row.share_of_limit and row.bound]
    unsure = f" ({UNSURE_LIMIT})" if any(share.value > 1 for _, share, _ in shares) else ""
    can = dict.fromkeys(LIMITS[bound.by] for _, _, bound in shares)
    if len({row.label for row in rows}) == len(can) == 1:
        on = f"on {listed([f'{threads}' for threads in ends[:-1]] + [threads_text(ends[-1])])}"
        who, (what,) = title_of(rows[0].label), can
        return f"{who} reaches {_percents(rows)} of what the machine {what} {on}{unsure}{_baseline(summary, rows)}."
    parts: dict[str, list[str]] = {what: [] for what in can}
    before = ""
    for row, share, bound in shares:
        who = "" if row.label == before else f"{title_of(row.label)} reaches "
        before = row.label
        parts[LIMITS[bound.by]].append(f"{who}{rounded(share.scaled(100))} % on {threads_text(row.threads)}")
    said = "; ".join(f"{listed(own)} of what the machine {what}" for what, own in parts.items())
    return f"{said}{unsure}."


def _percents(rows: list[Row]) -> str:
    """Shares of the limit, in the order of threads."""
    return f"{listed([rounded(row.share_of_limit.scaled(100)) for row in rows if row.share_of_limit])} %"


def _baseline(summary: Summary, rows: list[Row]) -> str:
    """What the baseline reaches beside rows that are not its own: where it has room, a lead comes from."""
    beside = [summary.row(summary.baseline, row.threads) for row in rows]
    known = [row for row in beside if row and row.share_of_limit]
    if len(known) < len(rows) or known[0].label == rows[0].label:
        return ""
    return f", {title_of(summary.baseline)} {_percents(known)}"


def speedup(summary: Summary) -> str:
    """Every speedup over the baseline on the most threads."""
    if not summary.thread_counts:
        return "Nothing was measured."
    threads = summary.thread_counts[-1]
    rows = [(row.speedup, row) for row in summary.measured if row.threads == threads and row.speedup]
    if summary.row(summary.baseline, threads) is None or not rows:
        return f"On {threads_text(threads)} there is nothing to compare with {title_of(summary.baseline)}."
    rows.sort(key=lambda found: -found[0].value)
    parts = [
        f"{title_of(row.label)} {ratio_text(ratio, row.resolved, why=lacking(row.measurement, summary.run))}"
        for ratio, row in rows
    ]
    on = f"On {threads_text(threads)}{_if_noisy(summary, threads)}"
    return f"{on}, against {title_of(summary.baseline)}'s tokens a second: {'; '.join(parts)}."


def _if_noisy(summary: Summary, threads: int) -> str:
    return ", too noisy to compare" if is_too_noisy(summary, threads) else ""


def against_best(summary: Summary) -> list[str]:
    """Mojo against the best of the others, which is the fairer question than Mojo against the baseline."""
    lines = []
    for threads, ahead in sorted(summary.ahead.items()):
        on = f"on {threads_text(threads)}{_if_noisy(summary, threads)}"
        other = title_of(ahead.other.label)
        over = f"{title_of(KERNEL)} over {other}, the best of the others, {on}"
        why = lacking(ahead.mojo.measurement, summary.run)
        lines.append(f"{over}: {ratio_text(ahead.ratio, ahead.resolved, why=why)}.")
    return lines


def extremes(rows: pd.DataFrame, quantity: str, apart: pd.DataFrame | None = None) -> str:
    """The ends of a frame's medians, and the numbers of rows that stand `apart` from the figure."""
    ordered = [_said(row, quantity) for row in records(rows.sort_values("tokens_per_s", ascending=False))]
    if not ordered:
        return "Nothing was measured."
    line = f"Medians from {ordered[0]}, to {ordered[-1]}." if len(ordered) > 1 else f"The median is {ordered[0]}."
    if apart is None or apart.empty:
        return line
    left_out = ", ".join(_said(row, quantity) for row in records(apart))
    return f"{line} Far slower than others on as many threads, and so not drawn: {left_out}."


def _said(row: dict[str, Any], quantity: str) -> str:
    what = QUANTITIES[quantity]
    return f"{title_of(row['label'])} {row['on']}, {significant(row[quantity] * what.factor)} {what.unit}"


def first_caption(rows: pd.DataFrame) -> str:
    """What the first figure shows: tokens a second beside the machine's limit."""
    shown = near(rows)
    return f"With 95 % intervals. {extremes(shown, 'tokens_per_s', rows.drop(shown.index))}"


def scaling(summary: Summary) -> str:
    """How the kernel's throughput grows with threads."""
    kernel = title_of(KERNEL)
    rows = [row for row in summary.measured if row.label == KERNEL]
    if not rows:
        return f"{kernel} was not measured."
    first, last = rows[0], rows[-1]
    if first is last:
        return f"{kernel} was measured on {threads_text(first.threads)} only: this run says nothing of how it scales."
    ratio = tokens_ratio(last.measurement, first.measurement)
    if ratio is None:
        return f"{kernel} on different numbers of threads has nothing to compare."
    share = percent(ratio.value * first.threads / last.threads)
    return (
        f"On {threads_text(last.threads)}{_if_noisy(summary, last.threads)}, {kernel} is {times(ratio)} as fast as "
        f"on {threads_text(first.threads)}: {share} of what perfect scaling would give."
    )
