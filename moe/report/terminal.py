"""Results as lines for a terminal."""

from moe.analysis import Row, Summary, summarise
from moe.report.sentences import resolution_text
from moe.report.style import QUANTITIES
from moe.report.text import label_text, lacking, speedup_text, threads_text
from moe.run import Run


def cell_lines(run: Run) -> list[str]:
    """A sweep, machine by machine and cell by cell."""
    lines = []
    for key, part in run.by_machine().items():
        if key:
            lines.append(f"{part.machine['processor']}, {part.machine['usable_cores']} usable cores ({key})")
        summary = summarise(part)
        rows: dict[int, list[Row]] = {}
        for row in summary.rows:
            rows.setdefault(row.measurement.details["cell"], []).append(row)
        for cell in rows.values():
            whole = max((row.measurement.config for row in cell), key=lambda config: config.tokens)
            lines += [whole.label, *(f"  {_line(row, row.label, summary.baseline)}" for row in cell)]
        lines += _legend(summary)
    return lines


def table_lines(summary: Summary) -> list[str]:
    """A comparison; names say how many tokens of the whole problem a row got."""
    lines = []
    for row in summary.rows:
        m = row.measurement
        name = label_text(row.label, m.config.tokens, summary.tokens, note=m.note, disturbed=m.is_disturbed)
        lines.append(_line(row, name, summary.baseline))
    failed = [m for m in summary.run.measurements if m.control and m.status == "failed"]
    lines += [f"{m.label:34} {threads_text(m.threads):10} failed: {m.reason}" for m in failed]
    return [*lines, *_legend(summary)]


def _line(row: Row, name: str, baseline: str) -> str:
    head = f"{name:34} {threads_text(row.threads):10}"
    if row.latency is None:
        return f"{head} {row.measurement.status.replace('_', ' ')}: {row.measurement.reason}"
    rate = QUANTITIES["tokens_per_s"]
    speed = f"{rate.text(row.throughput):>12} {rate.heading}" if row.throughput else ""
    speedup = "baseline" if row.label == baseline else "–"
    if row.speedup:
        speedup = speedup_text(row.speedup, row.resolved)
    return f"{head} {QUANTITIES['latency_s'].text(row.latency):>26} ms {speed}   {speedup}"


def _legend(summary: Summary) -> list[str]:
    if not summary.measured:
        return []
    said = (
        f"Medians with 95 % intervals; × is tokens/s over {summary.baseline} on as many threads, the median of "
        "rounds' own ratios, which may differ from that of the medians."
    )
    without = [row.measurement for row in summary.measured if row.latency and not row.latency.bounded]
    if without:
        said += f" [?]: no interval ({lacking(without[0], summary.run)})."
    return [said, *filter(None, [resolution_text(summary)])]
