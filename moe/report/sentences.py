"""How a run was measured and how far to trust it, in sentences whose every number is computed from it."""

import re
from collections.abc import Sequence
from math import inf

from moe.analysis import Row, Summary
from moe.analysis.limits import shared_cores
from moe.report.findings.words import listed, title_of
from moe.report.origin import machine_text
from moe.report.text import lacking, percent, power_of_ten, significant, threads_text
from moe.run import Run

MOST_NAMED = 6  # rows in one warning
CLEAR = 0.1  # what a control may differ from itself, as a share, before smaller differences are in doubt
NOISY = 0.5  # and before nothing can be read from a run
TOO_NOISY = "too noisy"
NOT_TO_CITE = f"{TOO_NOISY} to cite"  # the whole of a run
USABLE = "usable"
WORDED = {
    TOO_NOISY: NOT_TO_CITE,
    USABLE: f"{USABLE}, sizes are rough",
}  # of a whole run, for who has not read the scale
MOST_DISTURBED = 0.5  # of all turns


def measured_on(summary: Summary) -> str:
    """The machine, and how large the problem is."""
    return f"Measured on {machine_text(summary.run)}, at {summary.config_label}."


def resolution(summary: Summary) -> str:
    """What difference the run can't tell from none, or why it can tell none."""
    if said := resolution_text(summary):
        return said
    if not summary.measured:
        return "Nothing was measured."
    return f"This run can't say which differences are real ({_why_unknown(summary)})."


def resolution_text(summary: Summary) -> str:
    """How far the control can differ from itself on each number of threads, or that it is too far; may be nothing."""
    parts, noisy = [], []
    for threads, share in summary.resolution.items():
        if share is not None and share <= NOISY:
            parts.append(f"{percent(share)} on {threads_text(threads)}")
        elif share is not None:
            noisy.append(
                f"Too noisy to compare on {threads_text(threads)}: {summary.controls_label} against itself differed "
                f"up to {significant(1 + share)} ×."
            )
    if parts:
        twice = f"{summary.controls_label}, timed twice as if it were two programs, differs from itself by up to "
        noisy.insert(0, f"Resolution: {twice}{listed(parts)}.")
    return " ".join(noisy)


def how_sure(summary: Summary, ends: Sequence[int]) -> str:
    """Whether what was measured on these numbers of threads is clear, usable or too noisy, and why."""
    found = sorted((*_grade(summary, threads), threads) for threads in ends)
    _, worst, why, _ = found[-1]
    cut = "" if summary.run.complete else "; the run was cut short"
    if {grade for _, grade, _, _ in found} == {worst}:
        return f"How sure: {WORDED.get(worst, worst)} ({why}){cut}."
    where = [threads_text(found[0][-1]), *(str(threads) for *_, threads in found[1:])]
    first, *others = (f"{grade} on {on} ({why})" for on, (_, grade, why, _) in zip(where, found, strict=True))
    said = [first, *(re.sub(r"\(.* up to ", "(", other) for other in others)]  # the same is not said again
    return f"How sure: {', '.join(said)}{cut}."


def is_too_noisy(summary: Summary, threads: int) -> bool:
    """Whether nothing can be read from what was measured on so many threads."""
    _, grade, _ = _grade(summary, threads)
    return grade == TOO_NOISY


def grade_of(share: float) -> str:
    """How sure a run is whose control differs from itself by that share."""
    return "clear" if share <= CLEAR else USABLE if share <= NOISY else TOO_NOISY


def _grade(summary: Summary, threads: int) -> tuple[float, str, str]:
    """How far the run can be off on so many threads, what that is called, and why."""
    share = summary.resolution.get(threads)
    turns = [out for m in summary.run.measurements if m.threads == threads for out in m.disturbed]
    if sum(turns) > MOST_DISTURBED * len(turns):
        return inf, TOO_NOISY, f"{sum(turns)} of {len(turns)} turns were disturbed"
    if share is None:
        return inf, "not known", _why_unknown(summary)
    grade = grade_of(share)
    how_far = percent(share) if share <= 1 else f"{significant(1 + share)} ×"
    control = title_of(summary.controls_label.partition("[")[0])
    return share, grade, f"{control} timed twice differs by up to {how_far}"


def _why_unknown(summary: Summary) -> str:
    control = next((m for m in summary.run.measurements if m.control and m.samples_s), None)
    return lacking(control, summary.run) if control else "nothing was measured twice"


def without_numbers(run: Run, *statuses: str) -> list[str]:
    """Every measurement that has none, or those of some `statuses`, and why."""
    return [
        f"{m.label} on {threads_text(m.threads)}, {m.config.label}: {m.status.replace('_', ' ')}, {m.reason}"
        for m in run.measurements
        if m.status in (statuses or ("failed", "not_run"))
    ]


def trust(summary: Summary, run: Run) -> list[str]:
    """What the run can resolve, what disturbed it, what failed, and whether it was cut short."""
    told_apart = (
        f" A difference is resolved where it survives Holm's correction over all {summary.compared} comparisons of "
        "this run."
    )
    lines = [resolution(summary) + (told_apart if summary.compared else ""), *warnings(summary)]
    lines += without_numbers(run, "failed")
    if not run.complete:
        lines.append("The run was cut short: some measurements have fewer rounds than planned, or none.")
    return lines


def warnings(summary: Summary) -> list[str]:
    """What spoiled the conditions of the run, and which rows it touched; or that nobody could see whether it did."""
    run = summary.run
    lines = disturbances(run)
    quota = run.machine.get("core_quota")
    if quota is not None and quota < max(run.protocol["threads"]):
        lines.append(f"This run may use the time of {quota:g} cores: on more threads than that it is held back.")
    unwatched = run.machine.get("unknown", {}).get("others_cores")
    if unwatched is not None:
        lines.append(f"Whether others used the processor meanwhile is unknown: {unwatched}.")
    return lines


def _first(names: Sequence[str]) -> str:
    """The first MOST_NAMED, and how many more there are."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def disturbances(run: Run) -> list[str]:
    """What the probes before and after turns say of the machine, and of which rows too little is left."""
    counts = sorted({m.threads for m in run.measurements})
    on = {threads: [m for m in run.measurements if m.threads == threads] for threads in counts}
    disturbed = [
        f"{sum(sum(m.disturbed) for m in own)} of {sum(len(m.samples_s) for m in own)} on {threads_text(threads)}"
        for threads, own in on.items()
        if any(any(m.disturbed) for m in own)
    ]
    said = (
        f"Disturbed turns: {', '.join(disturbed)}, the machine being slower than it can be or in others' use. Rows "
        "leave them out where three others are left, and they were repeated where time allowed."
    )
    lines = [said] if disturbed else []
    touched = {t: [m.label for m in own if m.is_disturbed and m.status == "ok"] for t, own in on.items()}
    lines += [
        f"The machine gave too few undisturbed turns on {threads_text(threads)}: the medians of {_first(labels)} are "
        "of all turns, without intervals."
        for threads, labels in touched.items()
        if labels
    ]
    lines += [
        f"On {threads_text(threads)} the machine never came near {threads} times what it does on 1 thread: its cores "
        "may be hardware threads of one core, and a disturbance would not show."
        for threads in shared_cores(run)
    ]
    return lines


def what_is_measured(summary: Summary) -> list[str]:
    """What the numbers are and are not, for this run."""
    protocol = summary.run.protocol
    tokens = summary.tokens
    fewer = {
        row.label: row.measurement.config.tokens for row in summary.rows if row.measurement.config.tokens != tokens
    }
    half = any(m.config.precision == "bfloat16" for m in summary.run.measurements)
    held = "float32, of numbers that bfloat16 can hold" if half else "float32"
    rounds = [len(row.measurement.values_s) for row in summary.measured]
    most_s = protocol.get("turn_most_s")
    fewest = f", or as many as {significant(1e3 * most_s)} ms have room for, and one in any case" if most_s else ""
    lines = [
        "Measured: one forward of the layer, from input in the implementation's own form to a new output "
        f"({summary.config_label}); both are {held}, and weights and inputs are the same numbers for everyone.",
        "Not measured: preparing (copying, packing, compiling) and the first call, which stand in a table of their "
        "own, and converting between NumPy and an implementation's own form.",
        "Each turn runs forwards until they get no faster, then times single ones for at least "
        f"{significant(1e3 * protocol['turn_s'])} ms and "
        f"{protocol['turn_forwards']} of them{fewest}; "
        "a round gives each variant a turn, in shuffled order. "
        f"Here: {count_text(rounds)} rounds in {processes_text(summary)}, caches "
        f"{protocol.get('cache', 'warm')}"
        f"{inputs_text(summary.run)}.",
        "A row's value is the median of its rounds; brackets hold its 95 % interval, the wider of a bootstrap over "
        "processes and rounds and Student's t over processes, or a question mark where there are too few rounds or "
        "one process; ratios are paired round by round.",
    ]
    if took_s := summary.run.elapsed_s:
        inside_s = sum(m.warm_up_s + sum(map(sum, m.samples_s)) for m in summary.run.measurements)
        lines.append(
            f"Of the run's {significant(took_s)} s, {percent(inside_s / took_s)} passed in "
            "forwards; the rest went to starting workers, preparing, checking, probes and pauses."
        )
    lines += [
        f"{label} gets the first {count} of the {tokens:,} tokens, since all would take too long: compare its tokens "
        "a second, not its latency."
        for label, count in fewer.items()
    ]
    if any(row.label == "python" for row in summary.rows):
        lines.append("Python's own floats have 64 bits: python computes in double precision and rounds at the end.")
    return lines


def inputs_text(run: Run) -> str:
    """What forwards were given."""
    if not _probed(run):
        return f", cycling through {run.protocol['inputs']} inputs; no probes beside turns tell which were disturbed"
    return ", every forward on an input of its own, written shortly before"


def _probed(run: Run) -> bool:
    """Whether it has probes beside its turns: older ones neither gave each forward its input nor kept outputs."""
    return any(m.capacities for m in run.measurements)


def processes_text(summary: Summary) -> str:
    """How many processes a variant had, and of how many where the time did not reach all."""
    run, made = summary.run, _processes_of(summary.measured)
    most = max(made, default=0)
    asked = run.protocol.get("processes", most)
    fewer = f" ({asked} were asked for)" if most < asked else ""
    leading = _processes_of([row for lead in summary.ahead.values() for row in (lead.mojo, lead.other)])
    whole = run.complete and not run.protocol.get("target")  # else the last process may have lacked rows
    narrowed = whole and most in leading and most > min(made) >= asked
    more = " (more where a lead was uncertain)" if narrowed else ""
    return f"{count_text(made)} {'process' if most == 1 else 'processes'} a variant{fewer}{more}"


def _processes_of(rows: Sequence[Row]) -> list[int]:
    """How many processes each of some rows was measured in."""
    return [len(set(row.measurement.processes)) for row in rows]


def count_text(counts: list[int]) -> str:
    """Numbers as `6`, or `5 to 6`."""
    least, most = min(counts, default=0), max(counts, default=0)
    return str(least) if least == most else f"{least} to {most}"


def agreement(summary: Summary) -> str:
    """What the comparison with the reference found."""
    checked = [(row, row.measurement.parity) for row in summary.rows if row.measurement.parity]
    if not checked:
        return "Nothing could be compared with the reference."
    wrong = [f"{row.label} on {threads_text(row.threads)}" for row, parity in checked if not parity["passed"]]
    inputs = summary.run.protocol["inputs"]
    timed = " So was the output of one timed forward of every turn, chosen at random." if _probed(summary.run) else ""
    how = f"Before its first timed forward the outputs for {inputs} inputs were compared with "
    if wrong:
        return f"{how}the float64 reference. Disagreeing, and not timed from then on: {', '.join(wrong)}."
    worst = max(parity["max_rel_error"] for _, parity in checked)
    allowed = power_of_ten(checked[0][1]["tolerance"])
    return (
        f"{how}the float64 reference: all {len(checked)} measurements agree within {power_of_ten(worst)} of its "
        f"largest value ({allowed} allowed).{timed}"
    )
