"""What a breakdown says of overhead: time against tokens, and what single calls cost."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from moe.analysis.breakdown import AUTOGRAD, Breakdown
from moe.analysis.overhead import FITS, Line
from moe.report.tables import html_table
from moe.report.text import percent, seconds, signed_span, significant, span, threads_text, times


def overhead(breakdown: Breakdown) -> str:
    """Each implementation's overhead and rate, where a line fits, in one sentence."""
    lines = breakdown.overheads()
    if not lines:
        return "Time against tokens was not measured with three numbers of tokens or more."
    said = "; ".join(_line_text(line) for line in lines)
    where = f"at {lines[0].layer}, on {threads_text(breakdown.threads[0])}"
    return f"What a forward costs whatever its tokens, {where}: {said}."


def _line_text(line: Line) -> str:
    if not line.rate.bounded:
        return f"{line.label} has too few rounds"
    if not line.fits:
        return f"{line.label}'s times lie on no line (off by {percent(line.off)})"
    cost = f"{signed_span(line.overhead, 1e6)} µs"
    if not line.has_overhead:
        cost = f"not resolved ({cost})"
    return f"{line.label} {cost}, then {significant(line.rate.value)} tokens/s"


def autograd(breakdown: Breakdown) -> str:
    """What recording for autograd costs a forward."""
    found = breakdown.autograd()
    if found is None:
        return "What recording for autograd costs was not measured."
    config, ratio = found
    what = f"{AUTOGRAD[0]}'s forward at {config.label}"
    if not ratio.excludes(1.0):
        return f"Between {what} recorded for autograd and under inference_mode a difference is not resolved."
    return f"Recorded for autograd instead of under inference_mode, {what} takes {times(ratio)} as long."


def overhead_table(breakdown: Breakdown) -> str:
    """Overhead, rate and n½ of each implementation, and how much of its time is overhead at each size."""
    lines = breakdown.overheads()
    sizes = sorted({tokens for line in lines for tokens in line.tokens})
    rows = [_overhead_row(line, sizes) for line in lines]
    layer = f", at {lines[0].layer}" if lines else ""
    caption = (
        f"Time against tokens{layer}, as overhead + tokens / rate, by least squares on relative deviations. n½ is "
        "the number of tokens that take as long as the overhead. In parentheses: how much of the time is overhead. "
        f"The intervals are of noise alone; a line that is off by more than {percent(FITS)} is not given, and an "
        "overhead no larger than what the line is off at the fewest tokens is not resolved. Variation is "
        "that of single forwards of the fewest tokens: standard deviation over mean."
    )
    numbers = dict.fromkeys(key for row in rows for key in row if key != "implementation")
    return html_table("overhead", rows or [{"implementation": "none was measured"}], caption, list(numbers))


def _overhead_row(line: Line, sizes: Sequence[int]) -> dict[str, Any]:
    row = {
        "implementation": line.label,
        "overhead, µs": signed_span(line.overhead, 1e6) if line.fits else None,
        "tokens/s": span(line.rate) if line.fits else None,
        "n½, tokens": significant(line.half.value).replace("-", "−") if line.fits else None,
        "off the line by": f"≤ {percent(line.off)}",
        **{f"T={tokens}": None for tokens in sizes},
    }
    for tokens, latency in zip(line.tokens, line.latencies, strict=True):
        share = f" ({percent(line.share_of_overhead(latency))})" if line.fits else ""
        row[f"T={tokens}"] = f"{seconds(latency.value)}{share}"
    return row | {"variation": percent(line.spread.variation)}


def calls_table(breakdown: Breakdown) -> str:
    """What single calls cost, on the fewest threads that they were measured on."""
    calls = {
        call["call"]: call["seconds"]
        for m in sorted(breakdown.run.measurements, key=lambda m: -m.threads)
        for call in m.details.get("calls", [])
    }
    rows = [
        {
            "call": name,
            "median": seconds(median(rounds)),
            "fastest round": seconds(min(rounds)),
            "slowest round": seconds(max(rounds)),
        }
        for name, rounds in calls.items()
    ]
    caption = "Single calls from Python, in loops of thousands; what the loop itself costs is in them."
    numbers = ["median", "fastest round", "slowest round"]
    return html_table("calls", rows or [{"call": "none was measured"}], caption, numbers)
