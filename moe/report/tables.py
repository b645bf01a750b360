"""A summary's tables, as HTML: units in the headings, names escaped."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from html import escape
from statistics import median
from typing import Any

import pandas as pd

from moe.analysis import Row, Summary, limits_of
from moe.report.cells import carry_numbers
from moe.report.text import (
    label_text,
    percent,
    power_of_ten,
    seconds,
    share_text,
    significant,
    span,
    speedup_text,
    threads_text,
)
from moe.run import Measurement


def html_table(name: str, rows: Sequence[Mapping[str, Any]], caption: str, numbers: Sequence[str] = ()) -> str:
    """Rows as a table; the columns named in `numbers` are aligned to the right. `name` is the table's own."""
    frame = pd.DataFrame(rows, dtype=object).fillna("–")
    style = frame.style.hide(axis="index").format(escape="html").set_caption(escape(caption))
    right: list[Hashable] = [c for c in numbers if c in frame]
    # Only a speedup may break, since it can carry a remark.
    unbroken: list[Hashable] = [c for c in numbers if c in frame and not c.startswith("×")]
    style = style.set_properties(subset=right, **{"text-align": "right"})
    style = style.set_table_styles({c: [{"selector": "th", "props": [("text-align", "right")]}] for c in right})
    style = style.set_properties(subset=unbroken, **{"white-space": "nowrap"})
    style = style.set_properties(subset=list(set(right) - set(unbroken)), **{"min-width": "12em"})
    # A fixed identifier instead of a random one: two renders of one run are the same bytes.
    html = style.set_uuid(name).to_html(table_attributes='class="results"')
    return carry_numbers(html.replace("<th ", '<th scope="col" '), frame)


def results(summary: Summary) -> str:
    """Latency, throughput and speedup of every measurement on the CPU, and why a missing one is missing."""
    caption = (
        f"{summary.config_label}. Medians with 95 % intervals. × compares tokens a second with {summary.baseline} on "
        "as many threads; ★ marks the most tokens a second. % of limit: the least time that the machine's own "
        "arithmetic or memory would take, as a share of the latency. Error: largest difference from the float64 "
        "reference over its largest value."
    )
    return _results("results", summary, [r for r in summary.rows if r.measurement.device == "cpu"], caption)


def other_devices(summary: Summary) -> str:
    """The same on other devices, which no speedup compares with the CPU."""
    caption = (
        f"{summary.config_label}. With transfer=on input and output lie in CPU memory, otherwise on the device. No "
        "speedup is given: the baseline runs on another device."
    )
    return _results("devices", summary, [r for r in summary.rows if r.measurement.device != "cpu"], caption)


def _results(name: str, summary: Summary, chosen: Sequence[Row], caption: str) -> str:
    most: dict[int, float] = {}
    for row in chosen:
        if row.throughput:
            most[row.threads] = max(most.get(row.threads, 0.0), row.throughput.value)
    rows = [
        {
            "implementation": _name(row, summary.tokens, most.get(row.threads)),
            "threads": row.threads,
            "latency, ms": span(row.latency, 1e3) if row.latency else row.measurement.status.replace("_", " "),
            "tokens/s": significant(row.throughput.value) if row.throughput else None,
            "GFLOP/s": significant(row.flops_per_s / 1e9) if row.flops_per_s else None,
            f"× {summary.baseline}": speedup_text(row, summary) if row.latency else None,
            "% of limit": share_text(row),
            "error": _error(row),
        }
        for row in chosen
    ]
    numbers = ["threads", "latency, ms", "tokens/s", "GFLOP/s", f"× {summary.baseline}", "% of limit", "error"]
    return html_table(name, rows, caption, numbers)


def _name(row: Row, tokens: int, most: float | None) -> str:
    """The variant, marked if it computes the most tokens a second, and why it has no numbers if it has none."""
    if row.latency is None:
        return f"{row.label} — {row.measurement.reason}"
    best = row.throughput is not None and row.throughput.value == most
    return label_text(row, tokens) + (" ★" if best else "")


def _error(row: Row) -> str | None:
    parity = row.measurement.parity
    return power_of_ten(parity["max_rel_error"]) if parity and parity["max_rel_error"] is not None else None


def beside_the_time(summary: Summary) -> str:
    """Loading, prepare, first call and memory: what the latencies leave out."""
    rows = []
    for row in summary.measured:
        m = row.measurement
        library = m.details.get("library")
        rows.append(
            {
                "implementation": row.label,
                "threads": m.threads,
                "import or compile": seconds(m.details["load_s"]) if "load_s" in m.details else None,
                "prepare": seconds(m.prepare_s) if m.prepare_s is not None else None,
                "first call": seconds(m.first_call_s) if m.first_call_s is not None else None,
                "peak memory, MiB": _memory(m),
                "an empty call": _empty_call(m.details.get("calls")),
                "lines of code": ", ".join(f"{n:,} {language}" for language, n in m.details.get("lines", {}).items()),
                "thread pools found": "; ".join(f"{p['name']}: {p['threads']}" for p in m.details.get("pools", [])),
                "compiled library": f"{library['compiler']}, SHA-256 {library['sha256'][:12]}" if library else None,
            }
        )
    caption = (
        "What happens before the timed forwards, and the libraries that each worker found inside itself. Workers "
        "load side by side: the first column says what waiting is like, not who is faster. NumPy is loaded before. "
        "Variants of an implementation share a worker on as many threads, and with it import, peak memory and empty "
        "call; so do this package's forms of PyTorch, and of NumPy: peak memory names who else was in the worker. An "
        "empty call is what it costs to get from Python into the library behind an implementation. Lines of "
        "code are those of its module and of what that imports from this package, without comments and docstrings."
    )
    numbers = ["threads", "import or compile", "prepare", "first call", "peak memory, MiB", "lines of code"]
    return html_table("beside", rows, caption, numbers)


def _memory(m: Measurement) -> str | None:
    """The most memory that a measurement's worker held, and who else was in it."""
    if not m.peak_rss_bytes:
        return None
    others = [name for name in m.details.get("memory_of", []) if name != m.implementation]
    return significant(m.peak_rss_bytes / 2**20) + (f" (with {', '.join(others)})" if others else "")


def _empty_call(calls: Sequence[Mapping[str, Any]] | None) -> str | None:
    return f"{calls[0]['call']}: {seconds(median(calls[0]['seconds']))}" if calls else None


def single_forwards(summary: Summary) -> str:
    """How the single forwards of each row vary."""
    rows = []
    for row in summary.measured:
        spread = row.spread
        assert row.latency is not None
        assert spread is not None
        rows.append(
            {
                "implementation": label_text(row, summary.tokens),
                "threads": row.threads,
                "forwards": f"{sum(map(len, row.measurement.samples_s)):,}",
                "median": seconds(row.latency.value),
                "95th percentile": seconds(spread.p95) if spread.p95 is not None else None,
                "99th percentile": seconds(spread.p99) if spread.p99 is not None else None,
                "variation": percent(spread.variation),
            }
        )
    caption = (
        "Every timed forward by itself. Variation is the standard deviation over the mean; a percentile needs at "
        "least one forward beyond it."
    )
    numbers = ["threads", "forwards", "median", "95th percentile", "99th percentile", "variation"]
    return html_table("single", rows, caption, numbers)


def _limits(summary: Summary, threads: int) -> str:
    limits = limits_of(summary.run, threads)
    if limits is None:
        reasons = [
            entry["reason"] for entry in summary.run.limits if "reason" in entry and entry["threads"] == threads
        ]
        return f"not measured: {reasons[0]}" if reasons else "not measured"
    reads = (
        f"{significant(rate / 1e9)} GB/s at {size / 2**20:g} MiB" for size, rate in limits.read_bytes_per_s.items()
    )
    return f"{significant(limits.flops_per_s / 1e9)} GFLOP/s in float32, reads {', '.join(reads)}, by {limits.by}"


# What is said of a machine only where it is unknown.
UNWATCHED = {"others_cores": "others' use of the processor", "workers_memory": "workers' memory while they run"}


def _container(facts: Mapping[str, Any]) -> str:
    cores, memory = facts.get("core_quota"), facts.get("memory_limit_bytes")
    held = [
        f"at most {cores:g} cores" if cores else "no limit on cores",
        f"at most {memory / 2**30:.1f} GiB" if memory else "no limit on memory",
    ]
    return f"{'yes' if facts.get('container') else 'no sign of one'}, {', '.join(held)}"


def machine(summary: Summary, name: str = "machine") -> str:
    """The machine and the versions, as a table of names and values; `name` is the table's own."""
    facts = summary.run.machine
    caches = ", ".join(f"{name} {size // 1024} KiB" for name, size in facts["caches_bytes"].items())
    hypervisor = ", under a hypervisor" if facts["hypervisor"] else ""

    def told(fact: str, text: Callable[[Any], str]) -> str:
        """A fact in words, or why it is unknown."""
        if facts.get(fact) is not None:
            return text(facts[fact])
        why = facts.get("unknown", {}).get(fact)
        return f"unknown ({why})" if why else "unknown"

    values = {
        "processor": f"{facts['processor']} ({facts['architecture']}{hypervisor})",
        "vector units": ", ".join(facts["vector_features"]) or "none known",
        "usable cores": facts["usable_cores"],
        "caches": caches or "unknown",
        "memory": told("memory_bytes", lambda size: f"{size / 2**30:.1f} GiB"),
        "system": facts["system"],
        "container": _container(facts),
        "huge pages": facts.get("huge_pages", "unknown"),
        "hardware threads a core": told("threads_per_core", str),
        "clock at the start": told("frequency_mhz", lambda mhz: f"{mhz:.0f} MHz" if mhz else "unknown"),
        "load average at the start": told("load_average", lambda load: f"{load:.2f}"),
    }
    unwatched = facts.get("unknown", {})
    values |= {what: told(fact, str) for fact, what in UNWATCHED.items() if fact in unwatched}
    if kept_back := facts.get("not_passed_on"):
        values["not passed on to workers"] = ", ".join(f"{name}={value}" for name, value in kept_back.items())
    values |= {f"limits on {threads_text(t)}": _limits(summary, t) for t in summary.thread_counts}
    libraries = [m.details["library"] for m in summary.run.measurements if "library" in m.details]
    values["Mojo library"] = ", ".join(sorted({f"{lib['compiler']}, SHA-256 {lib['sha256']}" for lib in libraries}))
    versions = {package: value or "not installed" for package, value in summary.run.versions.items()}
    rows = [{"what": key, "value": str(value) or "none"} for key, value in (values | versions).items()]
    return html_table(name, rows, "Where and with what this run was measured.")
