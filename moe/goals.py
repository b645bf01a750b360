"""The Mojo kernel beside its goals: how near to the machine's limit, and how far ahead of PyTorch's forms."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from moe.analysis import Interval, Row, Summary, summarise
from moe.analysis.statistics import median_interval
from moe.analysis.summary import tokens_ratio
from moe.config import MoEConfig, parse_config, unknown_name
from moe.measure.busy import wait_until_quiet
from moe.measure.child import Child
from moe.measure.compare import compare
from moe.measure.protocol import Protocol
from moe.mojo_build import SOURCE
from moe.report.marks import write_between
from moe.report.text import significant, span, threads_text
from moe.run import Run, load_run, write_atomically

GOALS = SOURCE / "goals.yaml"
KERNEL = "mojo"
FORMS = ("torch", "torch-loop", "torch-grouped", "torch-onednn", "torch-compile")
EMPTY_CALL_S = 2e-6  # most that a call into the kernel should take
TURN_FORWARDS_COLD = 5  # writing over the caches before each takes far longer than it
SUMMARY = "goals.json"
MARK = "<!-- goals -->"


@dataclass(frozen=True)
class Goal:
    """A shape, what binds it, and what the kernel should reach there, by number of threads.

    `effort` multiplies the time given to it: preparing gigabytes of weights for every worker takes some, and leaves
    room for fewer `processes`.
    """

    name: str
    config: str
    binds: str
    cache: str = "warm"
    share: dict[int, float] = field(default_factory=dict)
    over_torch: dict[int, float] = field(default_factory=dict)
    beyond_us: dict[int, float] = field(default_factory=dict)
    of: str = ""
    effort: float = 1.0
    processes: int = 6

    @property
    def size(self) -> MoEConfig:
        """The sizes."""
        return parse_config(self.config)


@dataclass(frozen=True)
class Verdict:
    """One goal on one number of threads: what was wanted, what was measured, and whether it was reached."""

    what: str
    goal: float
    measured: Interval
    verdict: str


@dataclass(frozen=True)
class Result:
    """The kernel on one shape and number of threads."""

    shape: str
    config: MoEConfig
    cache: str
    binds: str
    threads: int
    latency_s: Interval
    share: Interval
    bound_s: float
    over: dict[str, Interval]
    verdicts: list[Verdict]

    @property
    def nearest(self) -> tuple[str, Interval] | None:
        """The fastest form of PyTorch, and how many times as fast the kernel is."""
        return _nearest(self.over)


def load_goals(names: Sequence[str] = ()) -> list[Goal]:
    """The goals of these names, or all; raises ValueError for a name that is not there."""
    goals = {g["name"]: Goal(**g) for g in yaml.safe_load(GOALS.read_text(encoding="utf-8"))}
    for name in names:
        if name not in goals:
            raise ValueError(unknown_name("shape", name, list(goals)))
    return [goal for goal in goals.values() if not names or goal.name in names]


def measure_goals(
    names: Sequence[str],
    threads: Sequence[int],
    budget_s: float,
    folder: Path,
    beside: Sequence[str] = FORMS,
    *,
    wait: bool = False,
) -> int:
    """Measure each shape in a run of its own, print and save results; returns the command's exit status.

    A missed goal is a result, not a failure. The summary in the folder holds every shape that was measured there.
    Only some forms `beside` the kernel are added to a shape that was measured before. With `wait` a busy machine gets
    some seconds to come to rest first. Raises ValueError for a shape or form that is not there.
    """
    goals = load_goals(names)
    for form in beside:
        if form not in FORMS:
            raise ValueError(unknown_name("form", form, list(FORMS)))
    folder.mkdir(parents=True, exist_ok=True)
    if wait:
        wait_until_quiet()
    failed = False
    for goal in goals:
        run = compare(
            [KERNEL, *beside],
            goal.size,
            threads,
            path=folder / f"{goal.name}{'' if tuple(beside) == FORMS else '+' + '+'.join(beside)}.json",
            force=True,
            budget_s=budget_s * goal.effort,
            processes=goal.processes,
            cache=goal.cache,
            turn_forwards=TURN_FORWARDS_COLD if goal.cache == "cold" else Protocol.turn_forwards,
        )
        failed = failed or run.went_wrong
        results = collect(folder)
        print("\n".join(result_lines([r for r in results if r.shape == goal.name])), flush=True)
        _save(folder, results, {}, run)
    calls = _calls()
    print("\n".join(f"{what}: {span(i, 1e6)} µs, goal {EMPTY_CALL_S * 1e6:g} µs" for what, i in calls.items()))
    _save(folder, results, calls, run)
    return 1 if failed else 0


def _calls() -> dict[str, Interval]:
    """Seconds of a call into the kernel alone, and of the layer's, which also makes an output."""
    found = {}
    for library in (KERNEL, f"{KERNEL} layer"):
        rounds: list[float] = []
        processes: list[int] = []
        for process in range(Protocol.processes):
            child = Child(1)
            try:
                (reply,) = child.ask("calls", timeout=Protocol.timeout_s, library=library)["calls"]
            finally:
                child.kill()
            rounds += reply["seconds"]
            processes += [process] * len(reply["seconds"])
        found[reply["call"]] = median_interval(rounds, processes)
    return found


def collect(folder: Path) -> list[Result]:
    """The results of every shape that was measured into a folder."""
    results: list[Result] = []
    for goal in load_goals():
        if (path := folder / f"{goal.name}.json").exists():
            added = [load_run(more) for more in sorted(folder.glob(f"{goal.name}+*.json"))]
            results += judge(goal, load_run(path), results, added)
    return results


def render_goals(folder: Path, page: Path) -> None:
    """Put what a folder holds between a page's two marks, without measuring; raises ValueError where it can't."""
    if not (folder / SUMMARY).exists():
        raise ValueError(f"{folder / SUMMARY} not found: `moe goals` writes it")
    saved = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    calls = {what: Interval(**interval) for what, interval in saved["calls_s"].items()}
    write_between(page, MARK, markdown(collect(folder), calls, saved))


def judge(goal: Goal, run: Run, before: Sequence[Result] = (), added: Sequence[Run] = ()) -> list[Result]:
    """The kernel's results in a run, one for each number of threads; `before` holds those that goals refer to.

    Forms that the run has no numbers of are taken from the `added` ones, in which the kernel was measured again.
    """
    summary = summarise(run, "torch")
    summaries = [summary, *(summarise(more, "torch") for more in added)]
    results = []
    for threads in summary.thread_counts:
        row = summary.row(KERNEL, threads)
        if row is None or row.latency is None or row.share_of_limit is None or row.bound is None:
            continue
        over = _over(summaries, threads)
        verdicts = _verdicts(goal, row, over, before)
        results.append(
            Result(
                goal.name, row.measurement.config, goal.cache, goal.binds, threads,
                row.latency, row.share_of_limit, row.bound.seconds, over, verdicts,
            )
        )  # fmt: skip
    return results


def _over(summaries: Sequence[Summary], threads: int) -> dict[str, Interval]:
    """How many times as fast the kernel is as each form, in the first run that has numbers of both."""
    over: dict[str, Interval] = {}
    for form in FORMS:
        rows = ((s.row(KERNEL, threads), s.row(form, threads)) for s in summaries)
        ratios = (tokens_ratio(kernel.measurement, other.measurement) for kernel, other in rows if kernel and other)
        if ratio := next((r for r in ratios if r is not None), None):
            over[form] = ratio
    return over


def _verdicts(goal: Goal, row: Row, over: dict[str, Interval], before: Sequence[Result]) -> list[Verdict]:
    found = []
    threads, share, latency, bound = row.threads, row.share_of_limit, row.latency, row.bound
    assert share is not None
    assert latency is not None
    assert bound is not None
    if threads in goal.share:
        other = next((r for r in before if (r.shape, r.threads) == (goal.of, threads)), None)
        if not goal.of:
            found.append(_verdict("share of the limit", goal.share[threads], share))
        elif other is not None:
            found.append(_verdict(f"share of {goal.of}'s", goal.share[threads], share.over(other.share)))
    if threads in goal.beyond_us:
        beyond = Interval(*((s - bound.seconds) * 1e6 for s in (latency.value, latency.low, latency.high)))
        found.append(_verdict("µs beyond the limit", goal.beyond_us[threads], beyond, most=True))
    # The implementation, which sorts tokens, and the loop by expert that most model code is written as.
    for form in ("torch", "torch-loop"):
        if threads in goal.over_torch and form in over:
            found.append(_verdict(f"× {form}", goal.over_torch[threads], over[form]))
    if (nearest := _nearest(over)) is not None:
        found.append(_verdict(f"× {nearest[0]}", 1.0, nearest[1]))
    return found


def _nearest(over: dict[str, Interval]) -> tuple[str, Interval] | None:
    return min(over.items(), key=lambda item: item[1].value) if over else None


def _verdict(what: str, goal: float, measured: Interval, *, most: bool = False) -> Verdict:
    if not measured.excludes(goal):
        return Verdict(what, goal, measured, "not resolved")
    reached = (measured.value < goal) if most else (measured.value > goal)
    return Verdict(what, goal, measured, "reached" if reached else "missed")


def result_lines(results: Sequence[Result]) -> list[str]:
    """Results as lines for a terminal."""
    lines = []
    for r in results:
        lines.append(
            f"{r.shape} ({r.config.label}, {r.cache}), {threads_text(r.threads)}: {span(r.latency_s, 1e6)} µs, "
            f"{span(r.share, 100)} % of the limit ({r.binds})"
        )
        lines += [f"    {v.what}: {span(v.measured)}, goal {v.goal:g}: {v.verdict}" for v in r.verdicts]
    return lines


def _save(folder: Path, results: Sequence[Result], calls: dict[str, Interval], run: Run) -> None:
    content = {
        "schema": 1,
        "machine": run.machine,
        "versions": run.versions,
        "results": [asdict(r) for r in results],
        "calls_s": calls,
    }
    write_atomically(folder / SUMMARY, json.dumps(content, default=asdict, indent=1))


def markdown(results: Sequence[Result], calls: dict[str, Interval], machine: dict[str, Any]) -> str:
    """Results as a Markdown table, with the machine and versions that they belong to."""
    facts, versions = machine["machine"], machine["versions"]
    lines = [
        f"Measured on {facts['processor']} ({facts['usable_cores']} cores, {', '.join(facts['vector_features'])}); "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ". Medians with 95 % intervals.",
        "",
        "| shape (T, d, f, E, k) | threads | time, µs | % of the limit | goal | × torch | × the fastest form |",
        "| --- | --: | --: | --: | --- | --: | --: |",
    ]
    for r in results:
        c = r.config
        sizes = f"{r.shape} ({c.tokens}, {c.d_model}, {c.d_ff}, {c.num_experts}, {c.top_k})"
        wanted = "; ".join(f"{_goal_text(v)}: {v.verdict}" for v in r.verdicts)
        torch = span(r.over["torch"]) if "torch" in r.over else "–"
        nearest = f"{span(r.nearest[1])} ({r.nearest[0]})" if r.nearest else "–"
        cells = (sizes, str(r.threads), span(r.latency_s, 1e6), span(r.share, 100), wanted, torch, nearest)
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(line for r in results for line in _without(r))]
    lines += ["A call from Python into the kernel:", ""]
    lines += [f"- {what}: {span(i, 1e6)} µs" for what, i in calls.items()]
    return "\n".join(lines)


def _without(result: Result) -> list[str]:
    """What the kernel could not be compared with."""
    missing = [form for form in FORMS if form not in result.over]
    where = f"{result.shape} on {threads_text(result.threads)}"
    return [f"No numbers of {', '.join(missing)} at {where}.", ""] if missing else []


def _goal_text(verdict: Verdict) -> str:
    if verdict.what.startswith("share"):
        return re.sub("^share", f"{significant(100 * verdict.goal, 2)} %", verdict.what)
    return f"{verdict.goal:g} {verdict.what}"
