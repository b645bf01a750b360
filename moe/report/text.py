"""Numbers as text: units, significant digits, intervals; the same in terminal, table and sentence."""

from __future__ import annotations

import math

from moe.analysis import Interval, Row, Summary, summarise
from moe.analysis.statistics import FEWEST_PROCESSES, FEWEST_ROUNDS
from moe.run import Measurement, Run

TOO_NOISY = 1.0  # what a control may differ from itself, as a share, before it is said in another way
UNSURE_LIMIT = "limit not measured well"
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


class Shown(str):
    """A number as text that still has the number: for tables, whose cells carry both.

    `number` is an Interval in which the ends are those of the text, or only a value without ends; `unit` is the one
    that it is in where the text may name another. A remark that is added to the text leaves both.
    """

    number: Interval
    unit: str

    def __new__(cls, text: str, number: Interval | float, unit: str = "") -> Shown:
        """The text of a number."""
        shown = super().__new__(cls, text)
        shown.number = number if isinstance(number, Interval) else Interval(number, -math.inf, math.inf)
        shown.unit = unit
        return shown

    def __add__(self, remark: str) -> Shown:
        """The same number with a remark behind its text."""
        return Shown(super().__add__(remark), self.number, self.unit)


def significant(value: float, digits: int = 3) -> Shown:
    """A number with `digits` significant digits, no exponent, and commas between thousands."""
    if value == 0 or not math.isfinite(value):
        return Shown(f"{value:g}", value)
    # Rounded first: 9.996 has one digit before the point, 10.0 two.
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return Shown(f"{rounded:,.{decimals}f}", value)


def seconds(value: float) -> Shown:
    """A duration in the unit that leaves the fewest zeros."""
    factor, unit = next((f, u) for f, u in (*SECONDS, (0.0, "ns")) if value >= f)
    return Shown(f"{significant(value / (factor or 1e-9))} {unit}", value, "s")


def span(interval: Interval, factor: float = 1.0) -> Shown:
    """An estimate with its interval: `20.3 [19.9–20.8]`, or `20.3 [?]` where too few rounds bound it."""
    i = interval.scaled(factor)
    return Shown(f"{significant(i.value)} {_ends(i)}", i)


def signed_span(interval: Interval, factor: float = 1.0) -> Shown:
    """The same of what may be less than nothing: `−2.1 [−8.0 to 3.9]`."""
    i = interval.scaled(factor)
    ends = f"[{significant(i.low)} to {significant(i.high)}]" if i.bounded else "[?]"
    return Shown(f"{significant(i.value)} {ends}".replace("-", "−"), i)


def times(interval: Interval) -> Shown:
    """A ratio with its interval: `1.31 × [1.27–1.35]`."""
    return Shown(f"{significant(interval.value)} × {_ends(interval)}", interval)


def _ends(interval: Interval) -> str:
    return f"[{significant(interval.low)}–{significant(interval.high)}]" if interval.bounded else "[?]"


def power_of_ten(value: float) -> Shown:
    """A small number in scientific notation, without the padding of its exponent: `3.9e-7`."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return Shown(f"{mantissa.removesuffix('.0')}e{int(exponent)}" if value else "0", value)


def percent(share: float) -> Shown:
    """A share as a percentage of two significant digits."""
    return Shown(f"{significant(100 * share, 2)} %", 100 * share, "%")


def printable(name: str) -> str:
    """A name as text: that of a file may be none."""
    return name.encode(errors="backslashreplace").decode()


def threads_text(count: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def label_text(row: Row, tokens: int) -> str:
    """A variant's name, with its tokens where it got fewer than the `tokens` of the whole problem.

    What the layer notes about itself, and that too few of its turns were undisturbed, stands beside the name.
    """
    own = row.measurement.config.tokens
    name = row.label if own == tokens else f"{row.label} ({own} of {tokens:,} tokens)"
    if note := row.measurement.details.get("note"):
        name = f"{name} ({note})"
    return f"{name} (disturbed)" if row.measurement.is_disturbed else name


def limit_text(row: Row) -> str | None:
    """How much of the limit that binds it a row reaches, and which limit that is."""
    share = row.share_of_limit
    return bound_text(share, row.bound.by) if share and row.bound else None


def bound_text(share: Interval, by: str) -> str:
    """A share of the limit and which limit that is, `by` arithmetic or memory; a share above 100 % is marked."""
    return span(share, 100) + f" % of {by}" + (f" ({UNSURE_LIMIT})" if share.value > 1 else "")


def share_text(row: Row) -> str | None:
    """How much of its limit a row reaches, in percent, for a table; a share above 100 is marked."""
    share = row.share_of_limit
    if not share:
        return None
    return span(share, 100) + (f" ({UNSURE_LIMIT})" if share.value > 1 else "")


def speedup_text(row: Row, summary: Summary) -> str:
    """A row's speedup over the baseline, or why there is none; says where it is not resolved."""
    if row.speedup is None:
        return "baseline" if row.label == summary.baseline else "–"
    return times(row.speedup) + ("" if row.resolved else " (not resolved)")


def cell_lines(run: Run) -> list[str]:
    """A sweep as lines for a terminal, machine by machine and cell by cell."""
    lines = []
    for key, part in run.by_machine().items():
        if key:
            lines.append(f"{part.machine['processor']}, {part.machine['usable_cores']} usable cores ({key})")
        lines += _lines_of_cells(part)
    return lines


def _lines_of_cells(run: Run) -> list[str]:
    summary = summarise(run)
    lines = []
    rows: dict[int, list[tuple[Row, str]]] = {}
    for row, line in zip(summary.rows, _row_lines(summary, whole=False), strict=True):
        rows.setdefault(row.measurement.details["cell"], []).append((row, line))
    for cell in rows.values():
        whole = max((row.measurement.config for row, _ in cell), key=lambda config: config.tokens)
        lines += [whole.label, *(f"  {line}" for _, line in cell)]
    return [*lines, *_legend(summary)]


def table_lines(summary: Summary) -> list[str]:
    """The comparison as lines for a terminal."""
    failed = [m for m in summary.run.measurements if m.control and m.status == "failed"]
    controls = [f"{m.label:34} {threads_text(m.threads):10} failed: {m.reason}" for m in failed]
    return [*_row_lines(summary, whole=True), *controls, *_legend(summary)]


def _row_lines(summary: Summary, *, whole: bool) -> list[str]:
    """A line a row; names say how many tokens of the `whole` problem a row got."""
    lines = []
    for row in summary.rows:
        head = f"{label_text(row, summary.tokens) if whole else row.label:34} {threads_text(row.threads):10}"
        if row.latency is None:
            status = row.measurement.status.replace("_", " ")
            lines.append(f"{head} {status}: {row.measurement.reason}")
            continue
        speed = f"{significant(row.throughput.value):>12} tokens/s" if row.throughput else ""
        lines.append(f"{head} {span(row.latency, 1e3):>26} ms {speed}   {speedup_text(row, summary)}")
    return lines


def resolution_text(summary: Summary) -> str:
    """How far the control can differ from itself on each number of threads, or that it is too far; may be nothing."""
    parts, noisy = [], []
    for threads, share in summary.resolution.items():
        if share is not None and share <= TOO_NOISY:
            parts.append(f"{percent(share)} on {threads_text(threads)}")
        elif share is not None:
            noisy.append(
                f"Too noisy to compare on {threads_text(threads)}: {summary.controls_label} against itself differed "
                f"up to {significant(1 + share, 2)} ×."
            )
    if parts:
        twice = f"{summary.controls_label}, measured twice under two labels, differs from itself by up to "
        noisy.insert(0, f"Resolution: {twice}{' and '.join(parts)}.")
    return " ".join(noisy)


def lacking(m: Measurement, run: Run) -> str:
    """Why a measurement has no interval, and what would give it one."""
    if m.is_disturbed:
        return f"the machine gave too few undisturbed turns on {threads_text(m.probed_threads)}"
    rounds, processes = len(m.values_s), len(set(m.processes))
    if rounds and processes >= FEWEST_PROCESSES:
        budget = 10 * math.ceil(run.protocol["budget_s"] * FEWEST_ROUNDS / rounds / 10)
        return f"{rounds} rounds, {FEWEST_ROUNDS} needed: --budget {budget}"
    return f"{processes} {'process' if processes == 1 else 'processes'}, {FEWEST_PROCESSES} needed"


def ratio_text(ratio: Interval, resolved: bool, *, why: str = "") -> str:
    """A ratio in a sentence: `1.31 × [1.27–1.35]`, whether it is resolved, and `why` it has no interval."""
    if not ratio.bounded:
        return f"about {significant(ratio.value, 2)} ×{f' ({why})' if why else ', without an interval'}"
    return times(ratio) + ("" if resolved else ", not resolved")


def _legend(summary: Summary) -> list[str]:
    if not summary.measured:
        return []
    said = f"Medians with 95 % intervals; × is tokens/s over {summary.baseline} on as many threads."
    without = [row.measurement for row in summary.measured if row.latency and not row.latency.bounded]
    if without:
        said += f" [?]: no interval ({lacking(without[0], summary.run)})."
    return [said, *filter(None, [resolution_text(summary)])]
