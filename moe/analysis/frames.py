"""A run as tidy frames: what pages print, as numbers.

Times are in seconds, rates a second, shares and ratios plain numbers; a number that a run can't give is NaN, and so
are both ends of an interval that too few rounds bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, isnan, nan
from statistics import median
from typing import TYPE_CHECKING, Any, cast

from moe.analysis.pairing import forwards_of
from moe.analysis.statistics import Interval, spread_of
from moe.analysis.summary import Row, summarise
from moe.config import RANGES, MoEConfig, field_names
from moe.implementations.registry import BASELINE
from moe.run import Measurement, Run

if TYPE_CHECKING:
    import pandas as pd

SIZES = tuple(field_names())


def rows(run: Run, baseline: str = BASELINE) -> pd.DataFrame:
    """One row a measurement, controls and what was not run among them.

    speedup is in tokens a second over the `baseline`'s on as many threads, a control's over what it measures again;
    `resolved` says whether it differs from 1; `disturbed` counts turns, of which too few may be left to count alone
    (`too_disturbed`). variation is the standard deviation of single forwards over their mean; p95_s and p99_s are
    NaN where too few lie beyond. `machine` is the key of the machine where runs of several were joined, `cell` the
    number of a sweep's cell.
    """
    import pandas as pd

    parts = run.by_machine().items()
    found = [_row(row) | {"machine": key} for key, part in parts for row in summarise(part, baseline).every]
    nothing = Measurement("", "", {}, MoEConfig(), 1)  # a run without measurements has the columns too
    return pd.DataFrame(found, columns=[*_row(Row(nothing)), "machine"])


def frame(*runs: Run) -> pd.DataFrame:
    """The rows of several runs, of whatever machines and sizes, below each other.

    `run` counts the runs from 1, `processor` is what each ran on. Their rounds were not paired: whatever the machine
    did between them is part of a ratio of two of them.
    """
    import pandas as pd

    found = (rows(run).assign(run=number, processor=_processor(run)) for number, run in enumerate(runs, 1))
    return pd.concat(list(found), ignore_index=True)


def short(run: Run) -> pd.DataFrame:
    """What a run says in a few columns: sizes where there are several, milliseconds, and ratios to the baseline."""
    import pandas as pd

    every = rows(run)
    sizes = [name for name in SIZES if every[name].nunique() > 1]
    of = every[["label", "threads", "tokens", *(name for name in sizes if name != "tokens")]]
    times = pd.DataFrame({name.replace("_s", "_ms"): 1e3 * every[name] for name in _columns("latency_s")})
    return of.join(times).join(every[[*_columns("speedup"), "resolved", "share_of_limit", "status", "reason"]])


def ends(rows: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Three rows for each, with the quantity's low end, value and high end, or one where it has no interval.

    With estimator="median" and errorbar=("pi", 100) seaborn draws exactly these.
    """
    import pandas as pd

    parts = (rows.assign(**{quantity: rows[column]}) for column in _columns(quantity))
    return pd.concat(parts).dropna(subset=[quantity])


def with_numbers(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that pages show: with numbers, on the CPU, and no controls."""
    return rows[(rows.status == "ok") & (rows.device == "cpu") & ~rows.control & rows.latency_s.notna()]


def _row(row: Row) -> dict[str, Any]:
    m = row.measurement
    spread = spread_of([s for _, s in forwards_of(m)]) if row.latency else None
    fields = {name: getattr(m.config, name) for name in SIZES}
    return {
        "label": m.label,
        "implementation": m.implementation,
        "threads": m.threads,
        "device": m.device,
        "tokens": fields["tokens"],
        "status": m.status,
        "reason": m.reason,
        "rounds": len(m.values_s),
        "samples": sum(map(len, m.samples_s)),
        "median_s": median(m.values_s.values()) if m.samples_s else nan,
        **{name: fields[name] for name in RANGES if name != "tokens"},
        **interval_columns("latency_s", row.latency),
        **interval_columns("tokens_per_s", row.throughput),
        **interval_columns("speedup", row.speedup),
        "resolved": row.resolved,
        "flops_per_s": m.config.flops / row.latency.value if row.latency else nan,
        **interval_columns("share_of_limit", row.share_of_limit),
        "bound": row.bound.by if row.bound else "",
        "max_rel_error": _number(m.parity["max_rel_error"] if m.parity else None),
        "p95_s": _number(spread.p95 if spread else None),
        "p99_s": _number(spread.p99 if spread else None),
        "variation": _number(spread.variation if spread else None),
        "load_s": _number(m.details.get("load_s")),
        "prepare_s": _number(m.prepare_s),
        "first_call_s": _number(m.first_call_s),
        "peak_memory_bytes": _number(m.peak_rss_bytes),
        "control": m.control,
        "cell": m.details.get("cell", -1),
        "cache": m.cache,
        "disturbed": sum(m.disturbed),
        "too_disturbed": m.is_disturbed,
        "note": m.note,
        **{name: fields[name] for name in SIZES if name not in RANGES},
    }


def _number(value: float | None) -> float:
    return nan if value is None else float(value)


def _processor(run: Run) -> str:
    machines = [part.machine for part in run.by_machine().values()]
    return ", ".join(dict.fromkeys(str(machine.get("processor", "unknown")) for machine in machines))


def _columns(name: str) -> tuple[str, str, str]:
    return name, f"{name}_low", f"{name}_high"


def interval_columns(name: str, interval: Interval | None) -> dict[str, float]:
    """An interval as the columns name, name_low and name_high; without one they are NaN."""
    if interval is None:
        values = (nan, nan, nan)
    elif interval.bounded:
        values = (interval.value, interval.low, interval.high)
    else:
        values = (interval.value, nan, nan)
    return dict(zip(_columns(name), values, strict=True))


def interval_of(row: Mapping[str, Any] | pd.Series[Any], name: str) -> Interval:
    """The interval that a row has in the columns name, name_low and name_high."""
    value, low, high = (row[column] for column in _columns(name))
    return Interval(value, 0.0, inf) if isnan(high) else Interval(value, low, high)


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A frame's rows, each by the names of its columns."""
    return cast("list[dict[str, Any]]", frame.to_dict("records"))
