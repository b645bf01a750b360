"""What a run says, in sentences whose every number and verdict is computed from it."""

from __future__ import annotations

from collections.abc import Callable

from moe.analysis import Row, Summary, limits_of, tokens_ratio
from moe.analysis.conditions import (
    by_disturbance,
    by_hypervisor,
    by_others,
    by_the_machine,
    shared_cores,
    too_disturbed,
)
from moe.report.origin import machine_text
from moe.report.text import (
    lacking,
    limit_text,
    percent,
    power_of_ten,
    ratio_text,
    resolution_text,
    seconds,
    significant,
    threads_text,
    times,
)
from moe.run import Run

MOST_NAMED = 6  # rows in one warning


def headline(summary: Summary) -> list[str]:
    """The findings of a comparison, the most important first."""
    lines = [_fastest(summary, threads) for threads in summary.thread_counts]
    lines += [line for threads in summary.thread_counts if (line := _compiled_against_best(summary, threads))]
    lines += [line for threads in summary.thread_counts if (line := _limit(summary, threads))]
    lines += [_missing(row) for row in summary.missing if row.measurement.status == "failed"]
    lines += [measured_on(summary), f"{resolution(summary)} {_told_apart(summary)}".strip()]
    lines += warnings(summary)
    if not summary.run.complete:
        lines.append("The run was cut short: some measurements have fewer rounds than planned, or none.")
    return lines


def measured_on(summary: Summary) -> str:
    """The machine, and how large the problem is."""
    return f"Measured on {machine_text(summary.run)}, at {summary.config_label}."


def resolution(summary: Summary) -> str:
    """What difference the run can't tell from none, or why it can tell none."""
    if said := resolution_text(summary):
        return said
    if not summary.measured:
        return "Nothing was measured."
    control = next((m for m in summary.run.measurements if m.control and m.samples_s), None)
    why = lacking(control, summary.run) if control else "nothing was measured twice"
    return f"This run can't say which differences are real ({why})."


def _told_apart(summary: Summary) -> str:
    """When a difference is resolved."""
    if not summary.compared:
        return ""
    return (
        f"A difference is resolved where it survives Holm's correction over all {summary.compared} comparisons of "
        "this run."
    )


def warnings(summary: Summary) -> list[str]:
    """What spoiled the conditions of the run, and which rows it touched."""
    run = summary.run
    lines = disturbances(run)
    probed = any(m.capacities for m in run.measurements)
    for who, touched in (
        ("Other processes", [] if probed else by_others(run)),
        ("Other systems on the same hardware", [] if probed else by_hypervisor(run)),
    ):
        if touched:
            turns = sum(d.turns for d in touched)
            cores = sum(d.cores * d.turns for d in touched) / turns
            worst = sorted(touched, key=lambda d: -d.cores * d.turns)
            named = [
                f"{d.label} on {threads_text(d.threads)} ({d.turns} of {d.of_turns})" for d in worst[:MOST_NAMED]
            ]
            rows = ", ".join(named) + (f" and {len(worst) - MOST_NAMED} more" if len(worst) > MOST_NAMED else "")
            lines.append(
                f"{who} used {percent(cores)} of a core during some of this run's turns: {rows}. These rows are less "
                "certain than their intervals say."
            )
    if not probed:
        lines += [
            f"Warning: in {s.probes} of {s.of_probes} probes on {threads_text(s.threads)} the machine reached "
            f"{significant(s.flops_per_s / 1e9)} of {significant(s.most / 1e9)} GFLOP/s: rows on as many threads may "
            "read slow."
            for s in by_the_machine(run)
        ]
    quota = run.machine.get("core_quota")
    if quota is not None and quota < max(run.protocol["threads"]):
        lines.append(f"This run may use the time of {quota:g} cores: on more threads than that it is held back.")
    unwatched = run.machine.get("unknown", {}).get("others_cores")
    if unwatched is not None:
        lines.append(f"Whether others used the processor meanwhile is unknown: {unwatched}.")
    return lines


def disturbances(run: Run) -> list[str]:
    """What the probes before and after turns say of the machine, and of which rows too little is left."""
    lines = []
    for threads in sorted({d.threads for d in by_disturbance(run)}):
        touched = [d for d in by_disturbance(run) if d.threads == threads]
        whole = sum(len(m.samples_s) for m in run.measurements if m.threads == threads)
        lines.append(
            f"Disturbed turns on {threads_text(threads)}: {sum(d.turns for d in touched)} of {whole}, the machine "
            "being slower than it can be or in others' use. Rows leave them out where three others are left, and "
            "they were repeated where time allowed."
        )
    for threads in sorted({d.threads for d in too_disturbed(run)}):
        labels = [d.label for d in too_disturbed(run) if d.threads == threads]
        more = f" and {len(labels) - MOST_NAMED} more" if len(labels) > MOST_NAMED else ""
        lines.append(
            f"The machine gave too few undisturbed turns on {threads_text(threads)}: the medians of "
            f"{', '.join(labels[:MOST_NAMED])}{more} are of all turns, without intervals."
        )
    lines += [
        f"On {threads_text(threads)} the machine never came near {threads} times what it does on 1 thread: its cores "
        "may be hardware threads of one core, and a disturbance would not show."
        for threads in shared_cores(run)
    ]
    return lines


def _fastest(summary: Summary, threads: int) -> str:
    rows = [row for row in summary.measured if row.threads == threads and row.speedup]
    baseline = summary.row(summary.baseline, threads)
    if baseline is None or not rows:
        return f"On {threads_text(threads)} there is nothing to compare with {summary.baseline}."
    ordered = sorted(rows, key=_speed, reverse=True)
    parts = [f"{row.label} {_over_baseline(row, summary.run)}" for row in ordered]
    return f"On {threads_text(threads)}, against {summary.baseline}'s tokens a second: {'; '.join(parts)}."


def _speed(row: Row) -> float:
    return row.speedup.value if row.speedup else 0.0


def _over_baseline(row: Row, run: Run) -> str:
    assert row.speedup is not None
    return ratio_text(row.speedup, row.resolved, why=lacking(row.measurement, run))


def _compiled_against_best(summary: Summary, threads: int) -> str:
    """Mojo against the fastest of the others, which is the fairer question than Mojo against the baseline."""
    ahead = summary.ahead.get(threads)
    if ahead is None:
        return ""
    best, ratio = ahead.other.label, ahead.ratio
    if not ahead.resolved:
        said = ratio_text(ratio, False, why=lacking(ahead.mojo.measurement, summary.run))
        return f"mojo over {best}, the fastest of the others, on {threads_text(threads)}: {said}."
    if ratio.value > 1:
        return f"mojo is {times(ratio)} as fast as the next, {best}, on {threads_text(threads)}."
    return f"The fastest on {threads_text(threads)} is {best}; mojo runs at {times(ratio)} its speed."


def _limit(summary: Summary, threads: int) -> str:
    """How close each implementation of the whole problem comes to the machine's own limit."""
    rows = [row for row in summary.measured if row.threads == threads and row.share_of_limit]
    if not rows:
        return ""
    shares = sorted(((row.share_of_limit.value, row) for row in rows if row.share_of_limit), key=lambda s: -s[0])
    parts = (f"{row.label} {limit_text(row)}" for _, row in shares)
    limits = limits_of(summary.run, threads)
    assert limits is not None  # there is no share without them
    return f"Of what {limits.by} reach in the same run on {threads_text(threads)}: {'; '.join(parts)}."


def _missing(row: Row) -> str:
    status = row.measurement.status.replace("_", " ")
    return f"{row.label} on {threads_text(row.threads)}: {status}, {row.measurement.reason}"


def not_measured(summary: Summary) -> list[str]:
    """Every row without numbers, and why."""
    return [_missing(row) for row in summary.missing] or ["Everything that was asked for was measured."]


def what_is_measured(summary: Summary) -> list[str]:
    """What the numbers are and are not, for this run."""
    protocol = summary.run.protocol
    tokens = summary.tokens
    fewer = {
        row.label: row.measurement.config.tokens for row in summary.rows if row.measurement.config.tokens != tokens
    }
    generations = sorted({p for row in summary.measured for p in row.measurement.processes})
    rounds = [len(row.measurement.values_s) for row in summary.measured]
    lines = [
        "Measured: one forward of the layer, from input in the implementation's own form to a new output "
        f"({summary.config_label}), both float32, on weights and inputs that are the same numbers for everyone.",
        "Not measured: preparing (copying, packing, compiling) and the first call, which stand in a table of their "
        "own, and converting between NumPy and an implementation's own form.",
        "Each turn runs forwards until they get no faster, then times single ones for at least "
        f"{significant(1e3 * protocol['turn_s'])} ms and "
        f"{protocol['turn_forwards']} of them; a round gives every variant one turn in shuffled order. "
        f"Here: {count_text(rounds)} rounds in {len(generations)} "
        f"{'process' if len(generations) == 1 else 'processes'} a variant, caches {protocol.get('cache', 'warm')}"
        f"{inputs_text(summary.run)}.",
        "A row's value is the median of its rounds; brackets hold its 95 % interval, the wider of a bootstrap over "
        "processes and rounds and Student's t over processes, or a question mark where there are too few rounds or "
        "one process; ratios are paired round by round.",
    ]
    if summary.share_in_forwards is not None:
        lines.append(
            f"Of the run's {significant(summary.run.elapsed_s)} s, {percent(summary.share_in_forwards)} passed in "
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
    """What forwards were given: a run that probed its turns gave each an input of its own."""
    if not any(m.capacities for m in run.measurements):
        return f", cycling through {run.protocol['inputs']} inputs"
    return ", every forward on an input of its own, written shortly before"


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
    fewer = " (in later processes one)" if any(m.capacities for m in summary.run.measurements) else ""
    how = f"Before its first timed forward the outputs for {inputs} inputs{fewer} were compared with "
    if wrong:
        return f"{how}the float64 reference. Disagreeing, and not timed from then on: {', '.join(wrong)}."
    worst = max(parity["max_rel_error"] for _, parity in checked)
    allowed = power_of_ten(checked[0][1]["tolerance"])
    return (
        f"{how}the float64 reference: all {len(checked)} measurements agree within {power_of_ten(worst)} of its "
        f"largest value ({allowed} allowed).{_of_timed(summary.run)}"
    )


def _of_timed(run: Run) -> str:
    if not any(m.capacities for m in run.measurements):
        return ""
    return " So was the output of one timed forward of every turn, chosen at random."


def scaling(summary: Summary, label: str = "mojo") -> str:
    """How an implementation's throughput grows with threads."""
    rows = [row for row in summary.measured if row.label == label]
    if not rows:
        return f"{label} was not measured."
    first, last = rows[0], rows[-1]
    if first is last:
        return f"{label} was measured on {threads_text(first.threads)} only: this run says nothing of how it scales."
    ratio = tokens_ratio(last.measurement, first.measurement)
    if ratio is None:
        return f"{label} on different numbers of threads has nothing to compare."
    share = percent(ratio.value / (last.threads / first.threads))
    return (
        f"On {threads_text(last.threads)} {label} is {times(ratio)} as fast as on {threads_text(first.threads)}: "
        f"{share} of what perfect scaling would give."
    )


def latency(summary: Summary) -> str:
    """The shortest and the longest latency of those that ran the whole problem."""
    tokens = summary.tokens
    rows = [row for row in summary.measured if row.measurement.config.tokens == tokens]
    return _extremes(rows, lambda row: seconds(row.latency.value) if row.latency else "", "takes")


def throughput(summary: Summary) -> str:
    """The highest and the lowest throughput."""

    def rate(row: Row) -> str:
        return f"{significant(row.throughput.value)} tokens a second" if row.throughput else ""

    return _extremes([row for row in summary.measured if row.throughput], rate, "computes")


def _extremes(rows: list[Row], text: Callable[[Row], str], verb: str) -> str:
    if not rows:
        return "Nothing was measured."

    def tokens_per_s(row: Row) -> float:
        return row.measurement.config.tokens / row.latency.value if row.latency else 0.0

    ordered = sorted(rows, key=tokens_per_s, reverse=True)
    first, last = ordered[0], ordered[-1]
    line = f"{first.label} on {threads_text(first.threads)} {verb} {text(first)}"
    if first is last:
        return f"{line}."
    return f"{line}, {last.label} on {threads_text(last.threads)} {text(last)}."


def speedup(summary: Summary) -> str:
    """The highest speedup on the most threads, and who shows none."""
    if not summary.thread_counts:
        return "Nothing was measured."
    return _fastest(summary, summary.thread_counts[-1])
