"""What was measured at named shapes: lines for a terminal, and tables between two marks of a page of prose."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from moe.analysis import Interval, Summary, summarise, tokens_ratio
from moe.analysis.goals import IN_PYTORCH, Result, Verdict
from moe.analysis.summary import KERNEL
from moe.config import MoEConfig
from moe.form import PUBLISHED
from moe.models import title_of
from moe.report.origin import versions_text
from moe.report.text import percent, span, threads_text, times
from moe.run import Measurement, Run, write_atomically


def write_between(page: Path, mark: str, text: str) -> None:
    """Put `text` between a page's two marks; raises ValueError for a page without them."""
    content = page.read_text(encoding="utf-8")
    if content.count(mark) != 2:
        raise ValueError(f"{page} must hold {mark} twice, where the table begins and ends")
    begin, _, end = content.split(mark)
    write_atomically(page, f"{begin}{mark}\n{text}\n{mark}{end}")


def result_lines(results: Sequence[Result]) -> list[str]:
    """Results as lines for a terminal."""
    lines = []
    for r in results:
        lines.append(
            f"{r.shape} ({', '.join(filter(None, [r.config.label, r.note, r.cache]))}), {threads_text(r.threads)}: "
            f"{span(r.latency_s, 1e6)} µs, {span(r.share, 100)} % of the limit "
            f"({', '.join(filter(None, [r.bound, r.binds]))})"
        )
        lines += [f"    {v.what}: {span(v.measured)}, goal {v.goal:g}: {v.verdict}" for v in r.verdicts]
    return lines


def goals_table(results: Sequence[Result], calls: Mapping[str, Interval], run: Run) -> str:
    """A line for each result, and the seconds of calls; one of their runs says on what they were measured.

    Columns of PyTorch's layers are there where any of them was measured.
    """
    beside = [name for name in IN_PYTORCH if any(name in r.over for r in results)]
    head = ["shape (T, d, f, E, k)", "threads", "time, µs", "% of the limit", "goal"]
    head += ["× torch", "× fastest PyTorch"] if beside else []
    rule = ["---", *["--:"] * 3, "---", *["--:"] * (len(head) - 5)]
    lines = [f"{_measured_on(run)}. {_tally(results)}", "", _line(*head), _line(*rule)]
    without: dict[str, list[str]] = {}
    for r in results:
        wanted = "; ".join(f"{_goal_text(v)}: {v.verdict}" for v in r.verdicts)
        torch = span(r.over["torch"]) if "torch" in r.over else "–"
        nearest = f"{span(r.nearest[1])} ({r.nearest[0]})" if r.nearest else "–"
        measured = (str(r.threads), span(r.latency_s, 1e6), f"{span(r.share, 100)} ({r.bound})", wanted)
        note = f" ({r.note})" if r.note else ""
        lines.append(_line(f"{r.shape} {_sizes(r.config)}{note}", *measured, *((torch, nearest) if beside else ())))
        if missing := [name for name in IN_PYTORCH if name not in r.over]:
            without.setdefault(", ".join(missing), []).append(f"{r.shape} on {threads_text(r.threads)}")
    for names, places in without.items() if beside else ():
        lines += ["", f"No numbers of {names} at {', '.join(places)}."]
    lines += ["", "A call from Python into the kernel:", ""]
    return "\n".join([*lines, *(f"- {what}: {span(seconds, 1e6)} µs" for what, seconds in calls.items())])


def _tally(results: Sequence[Result]) -> str:
    """How many goals there are, and of how many it can be said that they were reached or missed."""
    found = Counter(verdict.verdict for result in results for verdict in result.verdicts)
    return f"{found.total()} goals: {', '.join(f'{count} {verdict}' for verdict, count in found.most_common())}."


def _goal_text(verdict: Verdict) -> str:
    if verdict.what.startswith("share"):
        return percent(verdict.goal) + verdict.what.removeprefix("share")
    return f"{verdict.goal:g} {verdict.what}"


def peers_table(runs: Sequence[Run]) -> str:
    """A table for each number of threads: a line for every library, a column for every run; and what did not run."""
    lines = [
        f"{_measured_on(runs[-1])}: the kernel's time in µs, and how many times as fast it is as each of the others, "
        "in bold where another is faster.",
        "",
    ]
    measured = [m for run in runs for m in run.measurements]
    labels = dict.fromkeys([KERNEL, *(m.label for m in measured if not m.control)])
    sizes = [_sizes(run.measurements[0].config) for run in runs]
    summaries = [summarise(run) for run in runs]
    for threads in sorted({t for s in summaries for t in s.thread_counts}):
        lines += [_line(threads_text(threads), *sizes), "| --- |" + " --: |" * len(runs)]
        lines += [_line(label, *(_cell(s, label, threads) for s in summaries)) for label in labels]
        lines.append("")
    return "\n".join([*lines, *_without_numbers(measured)])


def models_table(run: Run) -> str:
    """A table of a sweep for each number of threads: a line for every layer, a column for every library.

    Below them is what libraries note about how they computed a layer, and what did not run.
    """
    measured = [m for m in run.measurements if not m.control]
    labels = list(dict.fromkeys([KERNEL, *(m.label for m in measured)]))
    lines = [
        f"{_measured_on(run)}: the kernel's time in ms, and how many times as fast it is as each of the others, in "
        "bold where another is faster. Weights and input are a seed's.",
        "",
    ]
    for threads in sorted({m.threads for m in measured}):
        lines += [
            _line(threads_text(threads), "precision", "T", *labels),
            "| --- | --- |" + " --: |" * (1 + len(labels)),
        ]
        own = [m for m in measured if m.threads == threads]
        for config in sorted(dict.fromkeys(m.config for m in own), key=_from_small_to_large):
            summary = summarise(replace(run, measurements=[m for m in own if m.config == config]))
            cells = (_cell(summary, label, threads, 1e3) for label in labels)
            in_float32 = replace(config, precision=PUBLISHED.precision)  # precision has a column of its own
            layer = title_of(config) or in_float32.label.partition(" ")[2]
            lines.append(_line(layer, config.precision, f"{config.tokens}", *cells))
        lines.append("")
    noted = dict.fromkeys(f"- {m.label}, {m.config.precision}: {m.note}" for m in measured if m.note)
    how = ["How it was computed:", "", *noted, ""] if noted else []
    return "\n".join([*lines, *how, *_without_numbers(measured)])


def _from_small_to_large(config: MoEConfig) -> tuple[int, bool, int]:
    """What layers are sorted by: a token's work, float32 first, tokens."""
    return config.with_tokens(1).flops, config.precision != PUBLISHED.precision, config.tokens


def _without_numbers(measured: Sequence[Measurement]) -> list[str]:
    """What did not run: a line a reason, which names the layer and the threads where they are the same for all."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for m in (m for m in measured if m.status != "ok"):
        labels, places = found.setdefault(f"{m.status.replace('_', ' ')}, {m.reason}", ({}, {}))
        where = filter(None, (title_of(m.config), m.config.label, threads_text(m.threads)))
        labels[m.label] = places[f" ({', '.join(where)})"] = None
    lines = [
        f"- {', '.join(labels)}: {why}{''.join(places) if len(places) == 1 else ''}"
        for why, (labels, places) in found.items()
    ]
    return ["Without numbers:", "", *lines] if lines else []


def _cell(summary: Summary, label: str, threads: int, factor: float = 1e6) -> str:
    """The kernel's microseconds, or seconds times another factor; or how many times as fast it is as another."""
    row, kernel = summary.row(label, threads), summary.row(KERNEL, threads)
    if row is not None and row.latency is not None and label == KERNEL:
        return span(row.latency, factor)
    ratio = tokens_ratio(kernel.measurement, row.measurement) if kernel and row else None
    if ratio is None:
        return "–"
    return f"**{times(ratio)}**" if ratio.high < 1 else times(ratio)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _sizes(config: MoEConfig) -> str:
    sizes = f"({config.tokens}, {config.d_model}, {config.d_ff}, {config.num_experts}, {config.top_k})"
    return f"{sizes} {config.knobs_text}".rstrip()


def _measured_on(run: Run) -> str:
    facts = run.machine
    machine = f"{facts['processor']} ({facts['usable_cores']} cores, {', '.join(facts['vector_features'])})"
    return f"Measured on {machine}; {versions_text(run)}. Medians with 95 % intervals"
