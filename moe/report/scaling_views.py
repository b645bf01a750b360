"""What a sweep says: its sentences and tables, every number of them computed from the run."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from IPython.display import HTML

from moe.analysis import tokens_ratio
from moe.analysis.frames import interval_of, records
from moe.analysis.scaling import OURS, THEIRS, Scaling
from moe.models import MODELS, is_shape_alone
from moe.report import tables
from moe.report.findings.scaling import headline
from moe.report.findings.words import counted, listed, title_of
from moe.report.index import Findings
from moe.report.origin import machine_text
from moe.report.sentences import resolution, warnings
from moe.report.show import show_table
from moe.report.style import QUANTITIES
from moe.report.tables import html_table
from moe.report.text import (
    UNSURE_LIMIT,
    Shown,
    bound_text,
    percent,
    seconds,
    signed_span,
    significant,
    span,
    threads_text,
    times,
)
from moe.run import NOT_REACHED, OVER_BUDGET, Run

AS_PUBLISHED = (
    "Sizes and form as published, and all experts unless it says that fewer are held; weights are a seed's. "
    "Switch-Base-8 also drops tokens beyond an expert's capacity, which this layer does not."
)
# Of runs that were made before layers had forms.
SHAPES_ALONE = (
    "d_model, d_ff and top k as published, and experts unless it says that fewer are held. Gated experts have a "
    "third matrix, which this layer has not (Switch-Base-8's have none either); shared experts are left out."
)
AXES = {"tokens": "tokens", "d_model": "d_model", "num_experts": "experts"}
Parts = Mapping[str, Scaling]  # by the machine's name; one machine alone needs none
Say = Callable[[Scaling], str | list[str]]
Rows = Iterable[dict[str, Any]]


def parts_of(run: Run) -> Parts:
    """What a sweep says of each machine that it was measured on."""
    parts = run.by_machine()
    if len(parts) == 1:
        return {"": Scaling(*parts.values())}
    names = {key: machine_text(part) for key, part in parts.items()}
    alike = Counter(names.values())
    return {name if alike[name] == 1 else f"{name}, {key}": Scaling(parts[key]) for key, name in names.items()}


def of_each(found: Parts, say: Say) -> list[str]:
    """What is to be said of each machine, after its name where there are several."""
    lines = []
    for name, scaling in found.items():
        said = say(scaling)
        lines += [f"{name}: {text}" if name else text for text in ([said] if isinstance(said, str) else said)]
    return lines


def _rows_of_each(found: Parts, rows: Callable[[Scaling], Rows]) -> list[dict[str, Any]]:
    """The rows of each machine's table, with its name where there are several."""
    return [({"machine": name} if name else {}) | row for name, scaling in found.items() for row in rows(scaling)]


def findings(run: Run) -> Findings:
    """What a run says, with its map of speedups and the table of all cells."""
    found = parts_of(run)
    caption = " ".join(of_each(found, lambda scaling: regime(scaling, "d_model")))
    return Findings(headline(found), caption, cells_table(found), of_each(found, not_measured))


def details(scaling: Scaling) -> list[str]:
    """Who wins where, what failed, and how far the run can be trusted."""
    lines = [winners(scaling), crossovers(scaling)]
    failed = [m for m in scaling.run.measurements if m.status == "failed"]
    lines += [f"Failed: {m.label} ({m.config.label}), {m.reason}." for m in failed]
    where = f"Measured on {machine_text(scaling.run)}, in {len(scaling.problems)} cells."
    lines += [where, resolution(scaling.summary), *warnings(scaling.summary)]
    if not scaling.run.complete:
        lines.append("The sweep lacks cells that its time did not reach.")
    return lines


def winners(scaling: Scaling) -> str:
    """In how many cells each implementation is the fastest."""
    counts = Counter(scaling.problems.fastest)
    if not counts:
        return "Nothing was measured."
    among = counts.total()
    undecided = counts.pop("", 0)
    parts = [f"{title_of(label)} is the fastest in {count}" for label, count in counts.most_common()]
    if undecided:
        parts.append(f"in {undecided} the fastest is not resolved from all others")
    return f"Of {among} cells measured, {', '.join(parts)}."


def crossovers(scaling: Scaling) -> str:
    """Between which numbers of tokens another implementation becomes the fastest."""
    changes = scaling.changes()
    if not changes:
        return "Along tokens no change of the fastest is resolved."
    parts = [
        f"between {a['tokens']:,} and {b['tokens']:,} tokens {b['fastest']} overtakes {a['fastest']}"
        for a, b in changes
    ]
    return f"At {changes[0][0]['config']}: {'; '.join(parts)}."


def what_is_measured(scaling: Scaling) -> list[str]:
    """Cells, implementations and rounds of this run."""
    rounds = " or ".join(map(str, sorted(scaling.cells.rounds.unique())))
    lines = [
        f"{', '.join(scaling.labels)} in {len(scaling.problems)} cells of sizes and threads, each compared with the "
        f"float64 reference before it was timed: {rounds} rounds in up to "
        f"{scaling.run.protocol['processes']} processes.",
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


def along(scaling: Scaling, axis: str, quantity: str) -> str:
    """What a quantity is at both ends of an axis, or for times how many it is at the end."""
    line = scaling.over_first(axis) if quantity == "times" else scaling.line(axis)
    name = {**AXES, "skew": "% of the tokens on one expert"}.get(axis, axis)
    if line.cell.nunique() < 2:
        return f"Fewer than two values of {name} were measured, so there is no line through them."
    first, last = line[axis].min(), line[axis].max()
    measured = line[line[axis].isin((first, last)) & line[quantity].notna()]
    said = [_at_ends(records(own), axis, quantity) for _, own in measured.groupby("label", sort=False)]
    on = "" if axis == "threads" else f", on {threads_text(line.threads.iloc[0])}"
    return f"From {first:,} to {last:,} {name}{on}: {', '.join(filter(None, said))}."


def _at_ends(rows: list[dict[str, Any]], axis: str, quantity: str) -> str:
    if len(rows) < 2:
        return ""
    label, what = title_of(rows[-1]["label"]), QUANTITIES[quantity]
    if quantity == "times":
        return f"{label} {times(interval_of(rows[-1], 'times'))} {'as fast' if axis == 'threads' else 'the time'}"
    return f"{label} from {' to '.join(significant(row[quantity] * what.factor) for row in rows)} {what.unit}"


def regime(scaling: Scaling, other: str) -> str:
    """How the ratio changes over a map of tokens and another field."""
    cells = scaling.plane(other)
    cells = cells[cells.ratio.notna()]
    if cells.empty:
        return f"No map of tokens and {AXES[other]} was measured: it takes two values of each, on all threads."
    ours, theirs, told = title_of(OURS), title_of(THEIRS), cells[cells.resolved].ratio
    where = f"of tokens and {AXES[other]} ({_fixed(records(cells)[0], other)})"
    among = counted(len(cells), "cell", "cells")
    if told.empty:
        return f"Between {ours} and {theirs} nothing is resolved in {among} {where}."
    span = " to ".join(dict.fromkeys((significant(told.min()), significant(told.max()))))
    ways = {"faster": sum(told > 1), "slower": sum(told < 1)}
    (first, count), *others = [(way, count) for way, count in ways.items() if count]
    rest = len(cells) - len(told)
    if not others and not rest:
        return f"{ours} is {first} than {theirs} in {'all ' if count > 1 else ''}{among} {where}: {span} ×."
    said = listed([f"{first} than {theirs} in {count}", *(f"{way} in {count}" for way, count in others)])
    more = f" {rest} {'is' if rest == 1 else 'are'} not resolved." if rest else ""
    return f"{ours} is {said} of {among} {where}: {span} ×.{more}"


def _fixed(cell: dict[str, Any], other: str) -> str:
    """The other sizes and the threads that all cells of a map of tokens and another field share."""
    experts = counted(cell["num_experts"], "expert", "experts")
    sizes = {"d_model": f"d_model {cell['d_model']}", "d_ff": f"d_ff {cell['d_ff']}", "num_experts": experts}
    return ", ".join([*(text for name, text in sizes.items() if name != other), threads_text(cell["threads"])])


def roofline(scaling: Scaling) -> str:
    """How near to its limit each implementation comes at best and at worst."""
    shares = scaling.cells[scaling.cells.share_of_limit.notna()].groupby("label").share_of_limit
    least, most = shares.min(), shares.max()
    parts = [
        f"{title_of(label)} {percent(least[label])} to {percent(most[label])}"
        f"{f' ({UNSURE_LIMIT})' if most[label] > 1 else ''}"
        for label in scaling.labels
        if label in least
    ]
    return (
        f"Of what the probes reach: {', '.join(parts)}."
        if parts
        else "The machine's limits were not measured, so no share of them can be given."
    )


def speed_and_lines(scaling: Scaling) -> str:
    """Lines of code of each implementation."""
    lines = dict(zip(scaling.cells.label, scaling.cells.lines, strict=True))
    known = sorted((count, label) for label, count in lines.items() if count)
    if not known:
        return "Lines of code are not known here, so speed can't be held against them."
    return (
        "Lines of code that each consists of, without comments and docstrings: "
        + ", ".join(f"{title_of(label)} {count:,}" for count, label in known)
        + "."
    )


def growth_table(found: Parts) -> str:
    """How cost grows along tokens, d_model and experts, beside how the machine's limit grows."""
    rows = _rows_of_each(found, _growth_rows)
    caption = (
        "Time grows as the axis to this power, by least squares on logarithms over the upper half of the axis, or "
        "its three largest values. Expected is the same of the least time that the machine's arithmetic or memory "
        "would take."
    )
    return html_table(
        "growth", rows or [{"implementation": "too few cells"}], caption, ["measured exponent", "expected"]
    )


def _growth_rows(scaling: Scaling) -> Rows:
    for axis, name in AXES.items():
        for found in scaling.growth(axis):
            exponent = interval_of(found, "exponent")
            yield {
                "implementation": found["label"],
                "along": name,
                "over": ", ".join(f"{value:,}" for value in found["over"]),
                "measured exponent": signed_span(exponent),
                "expected": Shown(f"{found['expected']:.2f}", found["expected"]),
            }


def models_table(found: Parts) -> str:
    """Layers of real models: every variant's latency, and how many times as fast as each of the others OURS is."""
    rows = _rows_of_each(found, _model_rows)
    configs = (m.config for scaling in found.values() for m in scaling.run.measurements)
    caption = SHAPES_ALONE if any(map(is_shape_alone, configs)) else AS_PUBLISHED
    numbers = ["T", "% of limit", *dict.fromkeys(label for scaling in found.values() for label in scaling.labels)]
    return html_table("models", rows or [{"model": "none was measured"}], caption, numbers)


def _model_rows(scaling: Scaling) -> Rows:
    of_models = scaling.cells[scaling.cells.model != ""]
    others = [label for label in of_models.label.unique() if label != OURS]
    for _, own in of_models.groupby("cell", sort=False):
        made = {row["label"]: (place, row) for place, row in zip(own.index, records(own), strict=True)}
        if OURS not in made:
            continue
        place, ours = made[OURS]
        share = interval_of(ours, "share_of_limit")
        yield {
            "model": ours["model"],
            "T": f"{ours['tokens']:,}",
            "d, f, E, k": f"{ours['d_model']}, {ours['d_ff']}, {ours['num_experts']}, {ours['top_k']}",
            "precision": ours["precision"],
            OURS: seconds(ours["latency_s"]),
            **{label: seconds(made[label][1]["latency_s"]) if label in made else None for label in others},
            **{f"{OURS} × {label}": _over(scaling, place, made.get(label)) for label in others},
            "% of limit": bound_text(share, ours["bound"]) if ours["bound"] else None,
        }


def _over(scaling: Scaling, place: int, other: tuple[int, dict[str, Any]] | None) -> str | None:
    """How many times as fast the row at a place is as another."""
    measured = scaling.run.measurements
    ratio = tokens_ratio(measured[place], measured[other[0]]) if other else None
    return times(ratio) if ratio else None


def model_sources() -> list[str]:
    """Where the shapes of models are published."""
    return [f"{model.title}: {model.source}" for model in MODELS.values()]


def cells_table(found: Parts) -> str:
    """Every cell: latencies, the ratio, and which is the fastest."""
    rows = _rows_of_each(found, _cell_rows)
    labels = dict.fromkeys(label for scaling in found.values() for label in scaling.labels)
    caption = "Every cell that was measured, coarse before fine. Medians with 95 % intervals."
    return html_table(
        "cells", rows or [{"cell": "none"}], caption, ["threads", *(f"{label}, ms" for label in labels)]
    )


def _cell_rows(scaling: Scaling) -> Rows:
    for _, own in scaling.cells.groupby("cell", sort=False):
        first, *_ = rows = records(own)
        latency = {row["label"]: span(interval_of(row, "latency_s"), 1e3) for row in rows}
        ratio = times(interval_of(first, "ratio")) + ("" if first["resolved"] else " (not resolved)")
        yield {
            "cell": first["config"],
            "threads": first["threads"],
            **{f"{label}, ms": latency.get(label) for label in scaling.labels},
            f"{OURS} × {THEIRS}": ratio if first["ratio"] > 0 else None,
            "fastest": first["fastest"] or "not resolved",
        }


def machines(found: Parts) -> HTML:
    """Each machine's description."""
    names = ("machine", *(f"machine-{place}" for place in range(2, len(found) + 1)))
    described = [tables.machine(s.summary, name) for name, s in zip(names, found.values(), strict=True)]
    return HTML("".join(show_table(table).data for table in described))
