"""What a sweep says: its sentences and tables, every number of them computed from the run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from moe.analysis.scaling import OURS, THEIRS, CellResult, Scaling
from moe.models import MODELS, title_of
from moe.report.index import Findings
from moe.report.origin import machine_text
from moe.report.sentences import resolution, warnings
from moe.report.tables import html_table
from moe.report.text import limit_text, percent, seconds, significant, span, threads_text, times
from moe.run import NOT_REACHED, OVER_BUDGET, Run

AXES = {"tokens": "tokens", "d_model": "d_model", "num_experts": "experts"}
Parts = Mapping[str, Scaling]  # by the machine's name; one machine alone needs none
Rows = Iterable[dict[str, str | int | None]]


def parts_of(run: Run) -> Parts:
    """What a sweep says of each machine that it was measured on."""
    parts = run.by_machine()
    if len(parts) == 1:
        return dict.fromkeys([""], Scaling(*parts.values()))
    alike = Counter(map(machine_text, parts.values()))
    return {_name(part, key if alike[machine_text(part)] > 1 else ""): Scaling(part) for key, part in parts.items()}


def _name(part: Run, key: str) -> str:
    return f"{machine_text(part)}, {key}" if key else machine_text(part)


def of_each(found: Parts, say: Callable[[Scaling], str | list[str]]) -> list[str]:
    """What is to be said of each machine, after its name where there are several."""
    said = ((name, text) for name, scaling in found.items() for text in _listed(say(scaling)))
    return [f"{name}: {text}" if name else text for name, text in said]


def _listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text


def _rows_of_each(found: Parts, rows: Callable[[Scaling], Rows]) -> list[dict[str, str | int | None]]:
    """The rows of each machine's table, with its name where there are several."""
    return [_with_machine(name, row) for name, scaling in found.items() for row in rows(scaling)]


def _with_machine(name: str, row: dict[str, str | int | None]) -> dict[str, str | int | None]:
    return {"machine": name, **row} if name else row


def findings(run: Run) -> Findings:
    """What a run says, with its map of speedups and the table of all cells."""
    found = parts_of(run)
    first = next(iter(found.values()))
    return Findings(
        of_each(found, headline), regime(first, "d_model"), cells_table(found), of_each(found, not_measured)
    )


def headline(scaling: Scaling) -> list[str]:
    """Who wins where, the largest and the smallest ratio, and how far the run can be trusted."""
    lines = [winners(scaling), extremes(scaling), crossovers(scaling)]
    failed = [m for m in scaling.run.measurements if m.status == "failed"]
    lines += [f"Failed: {m.label} ({m.config.label}), {m.reason}." for m in failed]
    where = f"Measured on {machine_text(scaling.run)}, in {len(scaling.cells)} cells."
    lines += [where, resolution(scaling.summary), *warnings(scaling.summary)]
    if not scaling.run.complete:
        lines.append("The sweep lacks cells that its time did not reach.")
    return lines


def winners(scaling: Scaling) -> str:
    """In how many cells each implementation is the fastest."""
    if not scaling.cells:
        return "Nothing was measured."
    counts = Counter(cell.fastest.label if cell.fastest else "" for cell in scaling.cells)
    undecided = counts.pop("", 0)
    parts = [f"{label} is the fastest in {count}" for label, count in counts.most_common()]
    if undecided:
        parts.append(f"in {undecided} the fastest is not resolved from the next")
    return f"Of {len(scaling.cells)} cells measured, {', '.join(parts)}."


def extremes(scaling: Scaling) -> str:
    """The largest and the smallest ratio of OURS over THEIRS, and where, of the cells that were not disturbed."""
    compared = [cell for cell in scaling.cells if cell.ratio]
    if not compared:
        return f"{OURS} and {THEIRS} were measured together in no cell."
    cells = [(cell.ratio, cell) for cell in compared if cell.ratio and cell.ratio.bounded]
    left_out = len(compared) - len(cells)
    without = f" {left_out} cells without an interval are left out." if left_out else ""
    if not cells:
        return f"{OURS} over {THEIRS} has an interval in no cell."
    (most, at_most), (least, at_least) = (f(cells, key=lambda pair: pair[0].value) for f in (max, min))
    return (
        f"{OURS} over {THEIRS} lies between {times(least)} ({_place(at_least)}) and {times(most)} "
        f"({_place(at_most)}).{without}"
    )


def crossovers(scaling: Scaling) -> str:
    """Between which numbers of tokens another implementation becomes the fastest."""
    changes = scaling.changes()
    if not changes:
        return "Along tokens no other implementation becomes the fastest."
    parts = [
        f"between {a.config.tokens:,} and {b.config.tokens:,} tokens {b.fastest.label} overtakes {a.fastest.label}"
        for a, b in changes
        if a.fastest and b.fastest
    ]
    return f"At {changes[0][0].config.label}: {'; '.join(parts)}."


def _place(cell: CellResult) -> str:
    return f"{cell.config.label}, {threads_text(cell.threads)}"


def what_is_measured(scaling: Scaling) -> list[str]:
    """Cells, implementations and rounds of this run."""
    rounds = {len(row.measurement.values_s) for cell in scaling.cells for row in cell.rows}
    protocol = scaling.run.protocol
    lines = [
        f"{', '.join(scaling.labels)} in {len(scaling.cells)} cells of sizes and threads, each compared with the "
        f"float64 reference before it was timed: {' or '.join(map(str, sorted(rounds)))} rounds in up to "
        f"{protocol['processes']} processes.",
    ]
    return lines + [f"Not measured: {reason}." for reason in not_measured(scaling)]


def not_measured(scaling: Scaling) -> list[str]:
    """What is without numbers, cell by cell, and why; what there was no time for is counted."""
    labels: dict[tuple[str, str], list[str]] = defaultdict(list)
    late = set()
    for m in scaling.run.measurements:
        if m.code in (NOT_REACHED, OVER_BUDGET):
            late.add(m.details["cell"])
        elif m.status != "ok":
            labels[f"{m.config.label} on {threads_text(m.threads)}", m.reason].append(m.label)
    found = [f"{place}, {', '.join(dict.fromkeys(names))}: {why}" for (place, why), names in labels.items()]
    return [*found, f"{len(late)} cells for want of time, the finest parts of the maps first"] if late else found


def throughput(scaling: Scaling) -> str:
    """Throughput at the fewest and at the most tokens."""
    line = scaling.line("tokens", lambda cell: cell.threads == scaling.most_threads and not cell.config.skew)
    if len(line) < 2:
        return "Fewer than two numbers of tokens were measured, so there is no line through them."
    parts = []
    for label in scaling.labels:
        ends = [row.throughput for cell in (line[0], line[-1]) if (row := cell.row(label)) and row.throughput]
        if len(ends) == 2:
            parts.append(f"{label} from {significant(ends[0].value)} to {significant(ends[1].value)} tokens/s")
    first, last = (cell.config.tokens for cell in (line[0], line[-1]))
    return f"From {first:,} to {last:,} tokens, on {threads_text(line[0].threads)}: {', '.join(parts)}."


def regime(scaling: Scaling, other: str) -> str:
    """How the ratio changes over a map of tokens and another field."""
    plane = scaling.plane("tokens", other)
    cells = [cell for cell in plane.values() if cell.ratio]
    if not cells:
        return f"No map of tokens and {AXES[other]} was measured: it takes two values of each, on all threads."
    ahead = sum(cell.resolved and cell.ratio.value > 1 for cell in cells if cell.ratio)
    behind = sum(cell.resolved and cell.ratio.value < 1 for cell in cells if cell.ratio)
    values = [cell.ratio.value for cell in cells if cell.ratio]
    return (
        f"Over {len(cells)} cells of tokens and {AXES[other]}, {OURS} is faster than {THEIRS} in {ahead}, slower in "
        f"{behind}, and in {len(cells) - ahead - behind} that is not resolved; from {significant(min(values))} "
        f"to {significant(max(values))} ×."
    )


def roofline(scaling: Scaling) -> str:
    """How near to its limit each implementation comes at best and at worst."""
    parts = []
    for label in scaling.labels:
        shares = [row.share_of_limit for cell in scaling.cells if (row := cell.row(label)) and row.share_of_limit]
        if shares:
            low, high = min(s.value for s in shares), max(s.value for s in shares)
            parts.append(f"{label} {percent(low)} to {percent(high)}")
    return (
        f"Of what the probes reach: {', '.join(parts)}."
        if parts
        else "The machine's limits were not measured, so no share of them can be given."
    )


def threads(scaling: Scaling) -> str:
    """What more threads give."""
    line = scaling.line("threads")
    if len(line) < 2:
        return "Only one number of threads was measured, so nothing is said of what more would give."
    first, last = line[0], line[-1]
    parts = []
    for label in scaling.labels:
        one, all_ = first.row(label), last.row(label)
        if one and all_ and one.latency and all_.latency:
            gain = one.latency.over(all_.latency)
            share = gain.value * first.threads / last.threads
            parts.append(f"{label} {times(gain)}, {percent(share)} of perfect")
    where = f"From {threads_text(first.threads)} to {threads_text(last.threads)} at {first.config.label}"
    return f"{where}: {', '.join(parts)}."


def skew(scaling: Scaling) -> str:
    """What one hot expert costs."""
    line = scaling.line("skew")
    if len(line) < 2:
        return "Only one skew of the routing was measured, so nothing is said of what a hot expert costs."
    first, last = line[0], line[-1]
    parts = []
    for label in scaling.labels:
        even, hot = first.row(label), last.row(label)
        if even and hot and even.latency and hot.latency:
            parts.append(f"{label} takes {times(hot.latency.over(even.latency))} the time")
    return (
        f"With {last.config.skew} % of the tokens on one expert, beside {first.config.skew} %, on "
        f"{threads_text(first.threads)}: {', '.join(parts)}."
    )


def speed_and_lines(scaling: Scaling) -> str:
    """Lines of code of each implementation."""
    lines = {
        row.label: sum(row.measurement.details.get("lines", {}).values()) for c in scaling.cells for row in c.rows
    }
    known = sorted(((count, label) for label, count in lines.items() if count))
    if not known:
        return "Lines of code are not known here, so speed can't be held against them."
    return (
        "Lines of code that each consists of, without comments and docstrings: "
        + ", ".join(f"{label} {count:,}" for count, label in known)
        + "."
    )


def growth_table(found: Parts) -> str:
    """How cost grows along tokens, d_model and experts, beside how the machine's limit grows."""
    rows = _rows_of_each(found, _growth_rows)
    caption = (
        "Time grows as the axis to this power, by least squares on logarithms over the upper half of the axis. "
        "Expected is the same of the least time that the machine's arithmetic or memory would take."
    )
    return html_table(
        "growth", rows or [{"implementation": "too few cells"}], caption, ["measured exponent", "expected"]
    )


def _growth_rows(scaling: Scaling) -> Rows:
    for axis in AXES:
        for g in scaling.growth(axis):
            yield {
                "implementation": g.label,
                "along": AXES[g.axis],
                "over": ", ".join(f"{value:,}" for value in g.over),
                "measured exponent": span(g.exponent) if g.exponent.value > 0 else f"{g.exponent.value:.2f}",
                "expected": f"{g.expected:.2f}",
            }


def models_table(found: Parts) -> str:
    """The shapes of real models: OURS, THEIRS, their ratio and the share of the limit."""
    rows = _rows_of_each(found, _model_rows)
    caption = (
        "d_model, d_ff and top k as published, and experts unless it says that fewer are held. Gated experts have a "
        "third matrix, which this layer has not (Switch-Base-8's have none either); shared experts are left out."
    )
    return html_table("models", rows or [{"model": "none was measured"}], caption, ["T", OURS, THEIRS, "% of limit"])


def _model_rows(scaling: Scaling) -> Rows:
    for cell in scaling.cells:
        c = cell.config
        title = title_of(c)
        ours, theirs = cell.row(OURS), cell.row(THEIRS)
        if title and ours and ours.latency:
            yield {
                "model": title,
                "T": f"{c.tokens:,}",
                "d, f, E, k": f"{c.d_model}, {c.d_ff}, {c.num_experts}, {c.top_k}",
                OURS: seconds(ours.latency.value),
                THEIRS: seconds(theirs.latency.value) if theirs and theirs.latency else None,
                f"{OURS} × {THEIRS}": span(cell.ratio) if cell.ratio else None,
                "% of limit": limit_text(ours),
            }


def model_sources() -> list[str]:
    """Where the shapes of models are published."""
    return [f"{model.title}: {model.source}" for model in MODELS.values()]


def cells_table(found: Parts) -> str:
    """Every cell: latencies, the ratio, and which is the fastest."""
    rows = _rows_of_each(found, _cell_rows)
    labels = dict.fromkeys(label for scaling in found.values() for label in scaling.labels)
    caption = "Every cell that was measured, coarse before fine. Medians with 95 % intervals."
    return html_table("cells", rows or [{"cell": "none"}], caption, ["threads", *map(_latency_column, labels)])


def _cell_rows(scaling: Scaling) -> Rows:
    for cell in scaling.cells:
        row: dict[str, str | int | None] = {"cell": cell.config.label, "threads": cell.threads}
        for label in scaling.labels:
            own = cell.row(label)
            row[_latency_column(label)] = span(own.latency, 1e3) if own and own.latency else None
        row[f"{OURS} × {THEIRS}"] = (
            span(cell.ratio) + ("" if cell.resolved else " (not resolved)") if cell.ratio else None
        )
        row["fastest"] = cell.fastest.label if cell.fastest else "not resolved"
        yield row


def _latency_column(label: str) -> str:
    return f"{label}, ms"
