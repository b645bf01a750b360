"""The Mojo kernel beside every library that could be used instead, at shapes from one token to thousands."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from moe.analysis import Summary, summarise, tokens_ratio
from moe.config import MoEConfig, parse_config, unknown_name
from moe.implementations import names
from moe.measure.busy import wait_until_quiet
from moe.measure.compare import compare
from moe.measure.machine import VOLATILE
from moe.report.marks import write_between
from moe.report.text import span, threads_text, times
from moe.run import Run, load_run

KERNEL = "mojo"
SHAPES: Mapping[str, str] = {
    "one": "seed,tokens=1",
    "few": "seed,tokens=16",
    "seed": "seed",
    "many": "seed,tokens=4096",
    "many-small": "small",
}
MARK = "<!-- peers -->"
# Token by token, which nobody would use instead; and one that takes longer to load than all others together, and is
# in the table of `moe goals`.
LEFT_OUT = ("python", "torch-naive", "torch-compile")


def measure_peers(
    shapes: Sequence[str], threads: Sequence[int], budget_s: float, folder: Path, *, wait: bool = False
) -> int:
    """Measure each shape in a run of its own, into `folder`; returns the command's exit status.

    With `wait` a busy machine gets some seconds to come to rest first. Raises ValueError for a shape that is not
    there.
    """
    for shape in shapes:
        if shape not in SHAPES:
            raise ValueError(unknown_name("shape", shape, list(SHAPES)))
    if wait:
        wait_until_quiet()
    failed = False
    for shape in shapes or SHAPES:
        print(f"{shape}: {SHAPES[shape]}", file=sys.stderr, flush=True)
        path = folder / f"{shape}.json"
        chosen = [name for name in names(peers=True) if name not in LEFT_OUT]
        run = compare(
            chosen, parse_config(SHAPES[shape]), threads, path=path, force=True, budget_s=budget_s, processes=5
        )
        failed = failed or run.went_wrong
        print(markdown({shape: run}), flush=True)
    return 1 if failed else 0


def render_peers(folder: Path, page: Path) -> None:
    """Put what a folder holds between a page's two marks, without measuring; raises ValueError where it can't."""
    runs = {shape: load_run(path) for shape in SHAPES if (path := folder / f"{shape}.json").exists()}
    if not runs:
        raise ValueError(f"{folder} has no run: `moe peers` writes them")
    machines = [{k: v for k, v in run.machine.items() if k not in VOLATILE} | run.versions for run in runs.values()]
    if any(machine != machines[0] for machine in machines):
        raise ValueError(f"{folder} has runs of other machines or versions than each other: measure all again")
    write_between(page, MARK, markdown(runs))


def markdown(runs: Mapping[str, Run]) -> str:
    """A table for each number of threads: a line for every library, a column for every shape."""
    last = list(runs.values())[-1]
    facts = last.machine
    lines = [
        f"Measured on {facts['processor']} ({facts['usable_cores']} cores, {', '.join(facts['vector_features'])}); "
        + ", ".join(f"{name} {version}" for name, version in last.versions.items() if version)
        + ". Medians with 95 % intervals: the kernel's time in µs, and how many times as fast it is as each of the "
        "others, in bold where another is faster.",
        "",
    ]
    summaries = {shape: summarise(run) for shape, run in runs.items()}
    for threads in sorted({t for s in summaries.values() for t in s.thread_counts}):
        lines += [*_table(runs, summaries, threads), ""]
    return "\n".join([*lines, *_missing(runs)])


def _table(runs: Mapping[str, Run], summaries: Mapping[str, Summary], threads: int) -> list[str]:
    sizes = " | ".join(_label(run.measurements[0].config) for run in runs.values())
    labels = dict.fromkeys(m.label for run in runs.values() for m in run.measurements if not m.control)
    lines = [f"| {threads_text(threads)} | {sizes} |", "| --- |" + " --: |" * len(runs)]
    for label in [KERNEL, *(name for name in labels if name != KERNEL)]:
        lines.append(f"| {label} | " + " | ".join(_cell(s, label, threads) for s in summaries.values()) + " |")
    return lines


def _label(config: MoEConfig) -> str:
    return f"({config.tokens}, {config.d_model}, {config.d_ff}, {config.num_experts}, {config.top_k})"


def _cell(summary: Summary, label: str, threads: int) -> str:
    row, kernel = summary.row(label, threads), summary.row(KERNEL, threads)
    if row is None or row.latency is None:
        return "–"
    if label == KERNEL:
        return span(row.latency, 1e6)
    ratio = tokens_ratio(kernel.measurement, row.measurement) if kernel else None
    if ratio is None:
        return "–"
    return f"**{times(ratio)}**" if ratio.high < 1 else times(ratio)


def _missing(runs: Mapping[str, Run]) -> list[str]:
    """What did not run, and why, once for each reason."""
    reasons = dict.fromkeys(
        f"- {m.label}: {m.status.replace('_', ' ')}, {m.reason}"
        for run in runs.values()
        for m in run.measurements
        if m.status != "ok"
    )
    return ["Without numbers:", "", *reasons] if reasons else []
