"""How far a measurement is from what the machine can do, by the run's own probes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from statistics import median
from typing import Any

import numpy as np

from moe.config import MoEConfig
from moe.run import Measurement, Run

# How many times float32's the peak of products in bfloat16 is where units that no probe uses may multiply them: tiles
# sixteen times (AMX: 1,024 a cycle and core where AVX-512 has 64), two by two matrices four times (ARM's bfmmla).
BEYOND_VECTORS = {"amx_bf16": 16.0, "asimd": 4.0}
PAIRS = 2.0  # in vectors, where no probe measured it
SHARED = 0.7  # of as many times what one thread reaches: what two hardware threads of one core stay below
BEST = 90  # percentile of what probes reached: a limit is what the machine can do, not what it does on average


@dataclass(frozen=True)
class Limits:
    """A machine's limits on one number of threads: FLOP/s, and read bytes/s by the size of what is read.

    `by` says what measured them. flops_per_s is float32's; that of bfloat16 is `half_times` as high.
    """

    threads: int
    flops_per_s: float
    read_bytes_per_s: dict[int, float]
    by: str = "probes in Mojo"
    half_times: float = PAIRS

    def times(self, precision: str) -> float:
        """How many times float32's the peak of a precision is."""
        return self.half_times if precision == "bfloat16" else 1.0

    def arithmetic_s(self, config: MoEConfig) -> float:
        """Seconds of a forward's products at the peak of the precision that it holds its weights in."""
        return config.flops / (self.flops_per_s * self.times(config.precision))

    def bandwidth(self, size: float) -> float:
        """Read bandwidth of the probe whose size is nearest to `size` bytes, by ratio."""
        return self.read_bytes_per_s[min(self.read_bytes_per_s, key=lambda probe: abs(log(probe / size)))]

    def memory_s(self, measurement: Measurement) -> float:
        """Seconds that a forward's bytes take at the read bandwidth of its working set, or past the caches.

        The working set is the whole layer, also where a forward reads few experts: the next input goes to others.
        """
        config = measurement.config
        is_cold = measurement.cache == "cold"
        working_set = max(self.read_bytes_per_s) if is_cold else config.bytes_for(config.num_experts)
        return bytes_of(measurement) / self.bandwidth(working_set)


@dataclass(frozen=True)
class Bound:
    """The least time that a forward can take here, in seconds, and what it is spent on."""

    seconds: float
    by: str  # "arithmetic" or "memory"


def limits_of(run: Run, threads: int) -> Limits | None:
    """A run's limits on `threads`, or None where they were not measured.

    Bandwidths are the medians of its probes. The peak of arithmetic is the BEST percentile of all rates that probes
    reached, and no less than the median of the longer ones: by a median slowed probes would put rows above 100 %, and
    the highest of thousands is that of the millisecond which was measured worst.
    """
    found = [entry for entry in run.limits if entry["threads"] == threads and "flops_per_s" in entry]
    if not found:
        return None
    sizes = [probe["bytes"] for probe in found[0]["bandwidth"]]
    bandwidth = {
        size: median(entry["bandwidth"][i]["read_bytes_per_s"] for entry in found) for i, size in enumerate(sizes)
    }
    longer = median(entry["flops_per_s"] for entry in found)
    peak = max(longer, float(np.percentile(rates_of(run, threads), BEST)))
    return Limits(threads, peak, bandwidth, found[0].get("by", Limits.by), _half_times(run, found))


def _half_times(run: Run, entries: Sequence[Mapping[str, Any]]) -> float:
    """How many times float32's peak bfloat16's is: by the probes, unless there are units that they do not use."""
    beyond = [times for unit, times in BEYOND_VECTORS.items() if unit in run.machine.get("vector_features", ())]
    probed = [e["bfloat16_flops_per_s"] / e["flops_per_s"] for e in entries if "bfloat16_flops_per_s" in e]
    return max([*beyond, max(1.0, median(probed)) if probed else PAIRS])


def rates_of(run: Run, threads: int) -> Sequence[float]:
    """FLOP/s that every probe of a run reached on so many threads of the CPU, those beside turns among them."""
    longer = [entry["flops_per_s"] for entry in run.limits if entry["threads"] == threads and "flops_per_s" in entry]
    beside = [turn for m in run.measurements if m.probed_threads == threads for turn in m.capacities]
    return longer + [rate for turn in beside for rate in turn or () if rate is not None]


def bound_of(measurement: Measurement, limits: Limits) -> Bound:
    """The roofline: arithmetic at the multiply-add peak or memory at the read bandwidth, whichever takes longer."""
    arithmetic, memory = limits.arithmetic_s(measurement.config), limits.memory_s(measurement)
    return Bound(arithmetic, "arithmetic") if arithmetic >= memory else Bound(memory, "memory")


def bytes_of(measurement: Measurement) -> float:
    """Bytes that a forward reads and writes at least: by its routing, or on average if that is not known."""
    return float(measurement.details.get("bytes_moved", measurement.config.expected_bytes))


def shared_cores(run: Run) -> list[int]:
    """Numbers of threads that the machine seems to run on fewer cores: then nothing looks disturbed.

    On them the best probe reached less than SHARED times as many of what the best one reached on one thread.
    """
    counts = {entry["threads"] for entry in run.limits} | {m.probed_threads for m in run.measurements}
    best = {threads: max(rates_of(run, threads), default=0.0) for threads in sorted(counts)}
    one = best.get(1, 0.0)
    return [threads for threads, most in best.items() if threads > 1 and 0 < most < SHARED * threads * one]
