"""Two runs beside each other: what became faster or slower from one to the other."""

from dataclasses import dataclass

from moe.analysis.pairing import latency_of
from moe.analysis.statistics import Interval
from moe.run import Measurement, Run

# Machines that agree in these are of one class.
MACHINE_CLASS = ("processor", "architecture", "vector_features", "usable_cores", "core_quota", "caches_bytes")


@dataclass(frozen=True)
class Change:
    """A row that two runs have in common: its latencies in seconds, and how many times as fast the second is.

    The runs' rounds were not paired: what the machine itself did between them is in the ratio, not in its interval.
    """

    label: str
    threads: int
    device: str
    before: Interval
    after: Interval
    speedup: Interval


def compare_runs(before: Run, after: Run) -> list[Change]:
    """What changed between two runs of the same sizes on one class of machine; ValueError for any others."""
    for key in MACHINE_CLASS:
        ours, theirs = before.machine.get(key), after.machine.get(key)
        if ours != theirs:
            raise ValueError(f"runs can't be compared: their machines' {key} are {ours!r} and {theirs!r}")
    ours, theirs = _measured(before), _measured(after)
    common = [key for key in ours if key in theirs]
    if not common:
        raise ValueError(f"runs can't be compared: one measured {_names(before)}, the other {_names(after)}")
    return [_change(ours[key], theirs[key]) for key in common]


def _measured(run: Run) -> dict[tuple[str, int, str, int], Measurement]:
    """What has results, by its name, threads, device, and place among those of the same."""
    found: dict[tuple[str, int, str, int], Measurement] = {}
    for m in run.measurements:
        if m.status == "ok" and not m.control:
            place = sum(key[:3] == (m.label, m.threads, m.device) for key in found)
            found[m.label, m.threads, m.device, place] = m
    return found


def _names(run: Run) -> str:
    return ", ".join(f"{label} (threads: {threads})" for label, threads, *_ in _measured(run)) or "nothing"


def _change(before: Measurement, after: Measurement) -> Change:
    for name in ("config", "cache"):
        ours, theirs = getattr(before, name), getattr(after, name)
        if ours != theirs:
            raise ValueError(f"runs can't be compared: {before.label}'s {name} are {ours} and {theirs}")
    old, new = latency_of(before), latency_of(after)
    return Change(before.label, before.threads, before.device, old, new, old.over(new))
