"""What the page of sizes says first."""

from collections.abc import Iterable, Mapping
from math import inf
from statistics import median
from typing import Any

from moe.analysis.frames import interval_of, records
from moe.analysis.scaling import OURS, THEIRS, Scaling
from moe.form import PUBLISHED
from moe.report.findings.words import begin, counted, fitting, listed, rounded, title_of
from moe.report.sentences import NOT_TO_CITE, TOO_NOISY, WORDED, grade_of
from moe.report.text import percent, threads_text
from moe.run import NOT_REACHED, OVER_BUDGET

EQUAL = 1.05  # a ratio whose whole interval is nearer to 1 makes no difference to anybody
MANY_DISTURBED = 0.1  # of all rows

Cell = dict[str, Any]


def headline(found: Mapping[str, Scaling]) -> list[str]:
    """Where OURS is ahead of THEIRS, by how much, and how sure that is; of all machines together."""
    parts = list(found.values())
    noisy = [n for n, own in _timed_twice(parts).items() if own and grade_of(median(own)) == TOO_NOISY]
    unknown = {"resolved": False, "ratio_low": 0.0, "ratio_high": inf}
    measured = [cell for part in parts for cell in records(part.problems)]
    cells = [cell | unknown if cell["threads"] in noisy else cell for cell in measured]
    if not cells:
        return ["Nothing was measured here, so nothing can be said of who is faster where."]
    compared = [cell for cell in cells if cell["ratio"] > 0]
    lines = [_lead(compared), _most(compared)] if compared else [_alone(parts), _fastest(cells)]
    return fitting([line for line in (*lines, _trust(parts)) if line])


def _lead(cells: list[Cell]) -> str:
    """At how many of the cells OURS is faster, slower, equal or neither."""
    ours, theirs, whole = title_of(OURS), title_of(THEIRS), len(cells)
    equal = [cell for cell in cells if _is_equal(cell)]
    told = [cell for cell in cells if cell["resolved"] and not _is_equal(cell)]
    ahead = sum(cell["ratio"] > 1 for cell in told)
    counts = {
        f"faster than {theirs}": ahead,
        f"slower{'' if ahead else f' than {theirs}'}": len(told) - ahead,
        f"within {percent(EQUAL - 1)} of {theirs}": len(equal),
        "undecided": whole - len(told) - len(equal),
    }
    half = len({cell["precision"] for cell in cells}) > 1
    of = "sizes, precisions and threads" if half else "sizes and threads"
    at = f"the {counted(whole, 'measured combination', 'measured combinations')} of {of}"
    if counts["undecided"] == whole:
        return f"Whether {ours} or {theirs} is faster is undecided at {at}."
    only = [what for what, count in counts.items() if count == whole]
    if only:
        return f"{ours} is {only[0]} at {'all of ' if whole > 1 else ''}{at}."
    return f"{ours} is {listed([f'{what} at {count}' for what, count in counts.items() if count])} of {at}."


def _is_equal(cell: Cell) -> bool:
    """Whether the two are as fast as each other, as far as it matters."""
    return bool(cell["ratio_low"] >= 1 / EQUAL and cell["ratio_high"] <= EQUAL)


def _most(cells: list[Cell]) -> str:
    """The largest lead and the farthest behind, of what is decided."""
    told = [cell for cell in cells if cell["resolved"] or _is_equal(cell)]
    if not any(cell["resolved"] for cell in told):
        return ""
    most, least = (end(told, key=lambda cell: cell["ratio"]) for end in (max, min))
    it_is = "It is" if len(told) == len(cells) else "Decided:"  # the sentence before counts what is undecided
    text = {id(cell): f"{rounded(interval_of(cell, 'ratio'))} times" for cell in (most, least)}
    if most is least:
        return f"{it_is} {text[id(most)]} as fast at {_place(most)}."
    return f"{it_is} from {text[id(least)]} as fast at {_place(least)} to {text[id(most)]} at {_place(most)}."


def _place(cell: Cell) -> str:
    """A cell in words."""
    tokens, experts = counted(cell["tokens"], "token", "tokens"), counted(cell["num_experts"], "expert", "experts")
    hot = f", {cell['skew']} % of them on one," if cell["skew"] else ""
    sizes = f"d_model {cell['d_model']}, d_ff {cell['d_ff']} and {experts}"
    half = "" if cell["precision"] == PUBLISHED.precision else f" in {cell['precision']}"
    return f"{tokens}{hot or ','} {sizes}{half} on {threads_text(cell['threads'])}"


def _alone(parts: Iterable[Scaling]) -> str:
    """Which of the two was not measured beside the other."""
    labels = {label for part in parts for label in part.cells.label}
    missing = [title_of(label) for label in (OURS, THEIRS) if label not in labels]
    both = f"{title_of(OURS)} and {title_of(THEIRS)}"
    if not missing:
        return f"{both} were measured together nowhere, so they can't be compared."
    were = "was" if len(missing) == 1 else "were"
    return f"{listed(missing)} {were} not measured here, so {both} can't be compared."


def _fastest(cells: list[Cell]) -> str:
    """Who leads in the most cells, where OURS and THEIRS are not both there."""
    names = [cell["fastest"] for cell in cells if cell["fastest"]]
    if not names:
        return ""
    first = max(dict.fromkeys(names), key=names.count)
    return begin(f"{title_of(first)} is the fastest of the others at {names.count(first)} of {len(cells)} sizes.")


def _trust(parts: list[Scaling]) -> str:
    """How sure it is: by what the same program timed twice differs, and by what was disturbed or not reached."""
    own = [m for part in parts for m in part.run.measurements]
    rows = [m for m in own if m.status == "ok" and not m.control]
    disturbed = sum(m.is_disturbed for m in rows)
    if disturbed > MANY_DISTURBED * len(rows):
        return f"How sure: {NOT_TO_CITE} (the machine was disturbed during {disturbed} of {len(rows)} rows)."
    late = len({(m.details.get("machine"), m.details["cell"]) for m in own if m.code in (NOT_REACHED, OVER_BUDGET)})
    more = f"; time ran out before {counted(late, 'cell', 'cells')}" if late else ""
    twice = _timed_twice(parts)
    if not any(twice.values()):
        return f"How sure: not known (nothing was timed twice often enough){more}."
    half = {threads: median(own) for threads, own in twice.items() if own}
    grades = {threads: grade_of(half[threads]) if threads in half else "not known" for threads in twice}
    one, *others = dict.fromkeys(grades.values())
    said = ", ".join(f"{grade} on {threads_text(n)}" for n, grade in grades.items()) if others else one
    shares = listed([percent(share) for share in (half.values() if others else [max(half.values())])])
    said = WORDED.get(said, said)
    control = title_of(parts[0].summary.controls_label)
    where = " in half of the cells" if any(len(own) > 1 for own in twice.values()) else ""
    return f"How sure: {said} ({control} timed twice differs by up to {shares}{where}){more}."


def _timed_twice(parts: list[Scaling]) -> dict[int, list[float]]:
    """For each number of threads by how much what was timed twice differed from itself, in each cell that has it."""
    counts = sorted({m.threads for part in parts for m in part.run.measurements if m.status == "ok"})
    controls = {n: [i for part in parts for i in part.summary.controls.get(n, []) if i.bounded] for n in counts}
    return {n: [max(i.high, 1 / i.low) - 1 for i in own] for n, own in controls.items()}
