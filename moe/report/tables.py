"""A summary's tables, as HTML: units in the headings, names escaped."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from html import escape
from math import isnan, nan, prod
from statistics import median
from typing import Any

import pandas as pd

from moe.analysis import Summary, frames, limits_of
from moe.analysis.factors import WHOLE
from moe.analysis.frames import SIZES, interval_of, records
from moe.analysis.overhead import FITS
from moe.config import MoEConfig
from moe.implementations.registry import BASELINE
from moe.report.cells import carry_numbers
from moe.report.style import QUANTITIES, cell, heading
from moe.report.text import label_text, percent, seconds, significant, speedup_text, threads_text
from moe.run import Run

EXPERIMENTS = {"mojo": "inside Mojo", "numpy to torch": "from NumPy to PyTorch"}


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
    return carry_numbers(html.replace("<th ", '<th scope="col" '), frame, numbers)


def frame_table(
    name: str, frame: pd.DataFrame, columns: Sequence[str], caption: str, headings: Mapping[str, str] | None = None
) -> str:
    """Some columns of a frame as a table, with the headings and the number format that QUANTITIES have for them."""
    named = {column: (headings or {}).get(column, heading(column)) for column in columns}
    rows = [{named[column]: cell(row, column) for column in columns} for row in records(frame)]
    numbers = [named[c] for c in columns if c in QUANTITIES or c.endswith("_text") or c == "threads"]
    return html_table(name, rows or [{next(iter(named.values())): "none was measured"}], caption, numbers)


def results(rows: pd.DataFrame) -> str:
    """Latency, throughput and speedup of every measurement on the CPU, and why a missing one is missing."""
    caption = (
        f"{layer_of(rows)}. Medians with 95 % intervals. × compares tokens a second with {BASELINE} on as many "
        "threads; ★ marks the most tokens a second. % of limit: the least time that the machine's arithmetic or "
        "memory would take, whichever is more, as a share of the latency. Error: largest difference "
        "from the float64 reference over its largest value."
    )
    return _results("results", rows[(rows.device == "cpu") & ~rows.control], caption)


def other_devices(rows: pd.DataFrame) -> str:
    """The same on other devices, which no speedup compares with the CPU."""
    caption = (
        f"{layer_of(rows)}. With transfer=on input and output lie in CPU memory, otherwise on the device. No "
        "speedup is given: the baseline runs on another device."
    )
    return _results("devices", rows[(rows.device != "cpu") & ~rows.control], caption)


def layer_of(rows: pd.DataFrame) -> str:
    """The sizes of the largest problem among a frame's rows."""
    if rows.empty:
        return "nothing"
    most = records(rows.sort_values("tokens", kind="stable"))[-1]
    return MoEConfig(**{size: most[size] for size in SIZES}).label


def _results(name: str, rows: pd.DataFrame, caption: str) -> str:
    rows = rows.sort_values(["threads", "tokens_per_s"], ascending=[True, False], kind="stable")
    most = rows.groupby("threads").tokens_per_s.transform("max")
    names = [
        named(row, rows) + (" ★" if is_best else "") if row["status"] == "ok" else f"{row['label']} — {row['reason']}"
        for row, is_best in zip(records(rows), rows.tokens_per_s == most, strict=True)
    ]
    headings = {"name": "implementation", "speedup_text": f"× {BASELINE}", "latency_text": heading("latency_s")}
    columns = ["name", "speedup_text", "threads", "latency_text", "tokens_per_s", "flops_per_s"]
    columns += ["share_of_limit", "bound", "max_rel_error"]
    bounds = set(rows.bound) - {""}
    if len(bounds) <= 1:  # a column for one word would only take room
        columns.remove("bound")
        caption += "".join(f" All are limited by {bound}." for bound in bounds)
    return frame_table(name, with_texts(rows, BASELINE).assign(name=names), columns, caption, headings)


def with_texts(rows: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Rows with what stands in tables for a latency that is missing and a speedup that is not resolved."""
    return rows.assign(
        latency_text=[cell(row, "latency_s") or row["status"].replace("_", " ") for row in records(rows)],
        speedup_text=[
            _ratio(row, "speedup") or ("baseline" if row["label"] == baseline and row["status"] == "ok" else "")
            for row in records(rows)
        ],
    )


def named(row: Mapping[str, Any], rows: pd.DataFrame) -> str:
    """A row's variant, with what is special about it."""
    return label_text(
        row["label"], row["tokens"], rows.tokens.max(), note=row["note"], disturbed=row["too_disturbed"]
    )


def _ratio(row: Mapping[str, Any], column: str) -> str:
    return "" if isnan(row[column]) else speedup_text(interval_of(row, column), row["resolved"])


def beside_the_time(run: Run) -> str:
    """Loading, prepare, first call and memory: what the latencies leave out."""
    rows = frames.with_numbers(measured := frames.rows(run))
    details = [m.details for m in run.measurements]
    own = [details[place] for place in measured.index.get_indexer(rows.index)]
    libraries, empty_calls = ([found.get(what) for found in own] for what in ("library", "calls"))
    shown = rows.assign(
        memory_text=[_memory(row, found) for row, found in zip(records(rows), own, strict=True)],
        call=[f"{c[0]['call']}: {seconds(median(c[0]['seconds']))}" if c else "" for c in empty_calls],
        code=[", ".join(f"{n:,} {language}" for language, n in found.get("lines", {}).items()) for found in own],
        pools=["; ".join(f"{p['name']}: {p['threads']}" for p in found.get("pools", [])) for found in own],
        library=[f"{found['compiler']}, SHA-256 {found['sha256'][:12]}" if found else "" for found in libraries],
    )
    caption = (
        "What happens before the timed forwards, and the libraries that each worker found inside itself. Workers "
        "load side by side: the first column says what waiting is like, not who is faster. NumPy is loaded before. "
        "Variants of an implementation share a worker on as many threads, and with it import, peak memory and empty "
        "call; so do this package's layers in PyTorch, and in NumPy: peak memory names who else was in the worker. "
        "An empty call is what it costs to get from Python into the library behind an implementation. Lines of "
        "code are those of its module and of what that imports from this package, without comments and docstrings."
    )
    headings = {
        "label": "implementation",
        "memory_text": "peak memory, MiB",
        "call": "an empty call",
        "code": "lines of code",
        "pools": "thread pools found",
        "library": "compiled library",
    }
    columns = ["label", "threads", "load_s", "prepare_s", "first_call_s", *list(headings)[1:]]
    return frame_table("beside", shown, columns, caption, headings)


def _memory(row: Mapping[str, Any], details: Mapping[str, Any]) -> str:
    """The most memory that a measurement's worker held, and who else was in it."""
    if isnan(row["peak_memory_bytes"]):
        return ""
    others = [name for name in details.get("memory_of", []) if name != row["implementation"]]
    return significant(row["peak_memory_bytes"] / 2**20) + (f" (with {', '.join(others)})" if others else "")


def single_forwards(rows: pd.DataFrame) -> str:
    """How the single forwards of each row vary."""
    rows = frames.with_numbers(rows)
    shown = rows.assign(name=[named(row, rows) for row in records(rows)])
    caption = (
        "Every timed forward by itself. Variation is the standard deviation over the mean; a percentile needs at "
        "least one forward beyond it."
    )
    columns = ["name", "threads", "samples", "median_s", "p95_s", "p99_s", "variation"]
    return frame_table("single", shown, columns, caption, {"name": "implementation"})


def factors(rows: pd.DataFrame, name: str) -> str:
    """An experiment's factors, the most important first, and the whole; `rows` are `moe.factors`."""
    own = rows[rows.experiment == name].sort_values("times", ascending=False)
    parts, whole = own[own.factor != WHOLE], own[own.factor == WHOLE]
    product = significant(prod(row["times"] for row in records(parts)))
    shown = pd.concat([parts, whole.assign(factor=f"all (the product: {product})", share=nan)])
    caption = (
        f"The speedup {EXPERIMENTS[name]}, split by Shapley values: what a factor gives on average over all orders "
        "in which they could be turned on. Least and most are what turning it on gave with any set of the others on."
    )
    columns = ["factor", "times", "share", "least", "most"]
    return frame_table(EXPERIMENTS[name].replace(" ", "-"), shown, columns, caption)


def steps(rows: pd.DataFrame, chain: str) -> str:
    """A ladder's or bridge's steps: time, what each gave, and how near to the machine's limit it leads."""
    own = rows[rows.chain == chain]
    caption = (
        "Each step adds one thing to the one before; the steps multiply to the last. × leaves out what a round did "
        "to these variants alike: it need not be the ratio of the latencies, nor what a split over more variants "
        "gives. % of limit: the least time that the machine's arithmetic or memory would take, as a share of the "
        "latency."
    )
    columns = ["turned_on", "threads", "step_times", "so_far", "latency_s", "share_of_limit"]
    if chain == "bridge":
        columns.insert(1, "label")
    if own.lines.notna().any():
        columns.append("lines")
        caption += " Lines of Mojo: those of the files that only this step needs; dashes where it is a few in others."
    return frame_table(chain, own, columns, caption, {"turned_on": "turned on", "label": "variant"})


def precisions(rows: pd.DataFrame) -> str:
    """Each implementation in float32 and in bfloat16; `rows` are `analysis.factors.precisions`."""
    shown = rows.assign(
        latency_text=[cell(row, "latency_s") or row["reason"] for row in records(rows)],
        times_text=[_ratio(row, "times") for row in records(rows)],
    )
    caption = (
        "The same layer with weights and input held in float32 and in bfloat16, in one run. % of peak: the least "
        "time of the products, at the peak of the row's own precision, as a share of the latency; % of read "
        "bandwidth: that of all bytes, at the bandwidth of the probe nearest to the layer in size. The larger "
        "limits the row."
    )
    headings = {"label": "implementation", "latency_text": heading("latency_s"), "times_text": "× float32"}
    columns = ["tokens", "label", "precision", "latency_text", "times_text"]
    columns += ["share_of_peak", "share_of_bandwidth", "bound"]
    return frame_table("precisions", shown, columns, caption, headings)


def overheads(points: pd.DataFrame) -> str:
    """Overhead, rate and n½ of each implementation, and how much of its time is overhead at each size."""
    lines = points.drop_duplicates("label").set_index("label")
    fitting = lines[["overhead_s", "rate", "half"]].where(lines.fits.astype(bool))
    shown = lines.assign(**fitting).reset_index()
    for tokens, own in points.groupby("tokens"):
        said = {row["label"]: _point(row) for row in records(own)}
        shown[f"T={tokens}"] = [said.get(label) for label in shown.label]
    caption = (
        f"Time against tokens{', at ' + lines.layer.iloc[0] if len(lines) else ''}, as overhead + tokens / rate, by "
        "least squares on relative deviations. n½ is the number of tokens that take as long as the overhead. In "
        "parentheses: how much of the time is overhead, where that is resolved. The intervals are of noise alone; a "
        f"line that is off by more than {percent(FITS)} is not given, and an overhead no larger than what the line "
        "is off at the fewest tokens is not resolved. Variation is that of single forwards of the fewest tokens: "
        "standard deviation over mean."
    )
    sizes = [f"T={tokens}" for tokens in sorted(points.tokens.unique())]
    columns = ["label", "overhead_s", "rate", "half", "off", *sizes, "variation"]
    return frame_table("overhead", shown, columns, caption, {"label": "implementation"})


def _point(row: Mapping[str, Any]) -> str:
    share = f" ({percent(row['overhead_share'])})" if row["fits"] and row["has_overhead"] else ""
    return seconds(row["latency_s"]) + share


def calls(rows: pd.DataFrame) -> str:
    """What single calls cost."""
    caption = "Single calls from Python, in loops of thousands; what the loop itself costs is in them."
    return frame_table("calls", rows, ["call", "median_s", "fastest_s", "slowest_s"], caption)


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
    used = sorted({m.config.precision for m in summary.run.measurements}, reverse=True)
    peaks = (f"{significant(limits.flops_per_s * limits.times(kind) / 1e9)} GFLOP/s in {kind}" for kind in used)
    return f"{', '.join(peaks)}, reads {', '.join(reads)}, by {limits.by}"


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
