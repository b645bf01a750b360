"""How far a measurement is from what the machine can do, by the run's own probes."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from statistics import median

from moe.run import Measurement, Run


@dataclass(frozen=True)
class Limits:
    """A machine's limits on one number of threads: FLOP/s, and read bytes/s by the size of what is read.

    `by` says what measured them.
    """

    threads: int
    flops_per_s: float
    read_bytes_per_s: dict[int, float]
    by: str = "probes in Mojo"

    def bandwidth(self, size: float) -> float:
        """Read bandwidth of the probe whose size is nearest to `size` bytes, by ratio."""
        return self.read_bytes_per_s[min(self.read_bytes_per_s, key=lambda probe: abs(log(probe / size)))]

    @property
    def far_bandwidth(self) -> float:
        """Read bandwidth past the last cache."""
        return self.read_bytes_per_s[max(self.read_bytes_per_s)]


@dataclass(frozen=True)
class Bound:
    """The least time that a forward can take here, in seconds, and what it is spent on."""

    seconds: float
    by: str  # "arithmetic" or "memory"


def limits_of(run: Run, threads: int) -> Limits | None:
    """The medians of a run's probes on `threads`, or None where they were not measured."""
    found = [entry for entry in run.limits if entry["threads"] == threads and "flops_per_s" in entry]
    if not found:
        return None
    sizes = [probe["bytes"] for probe in found[0]["bandwidth"]]
    bandwidth = {
        size: median(entry["bandwidth"][i]["read_bytes_per_s"] for entry in found) for i, size in enumerate(sizes)
    }
    return Limits(threads, median(entry["flops_per_s"] for entry in found), bandwidth, found[0].get("by", Limits.by))


def bound_of(measurement: Measurement, limits: Limits) -> Bound:
    """The roofline: arithmetic at the multiply-add peak or memory at the read bandwidth, whichever takes longer."""
    config = measurement.config
    arithmetic = config.flops / limits.flops_per_s
    size = measurement.details.get("bytes_moved", config.expected_bytes)
    memory = size / (limits.far_bandwidth if measurement.cache == "cold" else limits.bandwidth(size))
    return Bound(arithmetic, "arithmetic") if arithmetic >= memory else Bound(memory, "memory")
