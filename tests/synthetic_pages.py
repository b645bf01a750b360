"""Runs with known times of what each page is about: a breakdown, forwards over tokens, and a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

import moe
from moe.analysis.breakdown import SWITCHES, Breakdown, inside_mojo, to_pytorch, variants_of
from moe.implementations import parse_variant
from moe.measure.grid import cells_of
from moe.measure.plan import plan, plan_cells
from moe.models import MODELS, held
from moe.run import Measurement, Run

from .synthetic import MACHINE, PARITY, PROTOCOL

SPEED = {"batch=on": 1.5, "simd=on": 6.0, "tile=on": 2.0, "specialize=on": 1.0, "pool=on": 1.1, "dtype=float32": 2.0}
ROUNDS = 12
SIZES = (1, 4, 16, 64, 256)
OF_LINE = [p for p in range(4) for _ in range(5)]
PROCESSES = 5
GRIDS: list[dict[str, Any]] = [
    {"tokens": [1, 16, 256, 1024], "d_model": [64, 256, 512], "threads": [2]},
    {"tokens": [1, 16, 256, 1024], "num_experts": [4, 16, 64], "threads": [2], "d_model": [64], "d_ff": [128]},
    {"tokens": [1024], "threads": [1, 2]},
    {"tokens": [256], "skew": [0, 90], "threads": [2]},
    {"config": [held(MODELS["olmoe-1b-7b"].config, 2**28)], "tokens": [16], "threads": [2]},
]
CALL_S = {"numpy": 50e-6, "torch": 100e-6, "mojo": 5e-6}
FLOPS_PER_S = {"numpy": 5e10, "torch": 9e10, "mojo": 1e11}


def a_run(
    switches: tuple[str, ...] = SWITCHES,
    threads: tuple[int, ...] = (1, 2),
    noise: float = 0.01,
    speed: Mapping[str, float] = SPEED,
    together: float = 1.0,
) -> Breakdown:
    """Every variant takes the time that its options and threads say; PyTorch is 1.3 times as fast as NumPy.

    Vectors and tiles give `together` times as much together as apart.
    """
    random = np.random.default_rng(8)
    several = len(threads) > 1
    names = variants_of([inside_mojo(switches, with_threads=several), to_pytorch(with_threads=several)])
    measurements = plan([parse_variant(name) for name in names], moe.PRESETS["seed"], threads)
    drift = np.cumsum(random.normal(0, 0.05, ROUNDS))
    for m in measurements:
        gain = prod(times for option, times in speed.items() if option in m.variant) * m.threads**0.9
        gain *= together if "simd=on" in m.variant and "tile=on" in m.variant else 1.0
        gain *= 1.3 if m.implementation.startswith("torch") else 1.0
        gain *= 1.5 if m.implementation == "torch" else 1.0
        m.status, m.parity, m.processes = "ok", PARITY, [i * 4 // ROUNDS for i in range(ROUNDS)]
        m.samples_s = [[float(s)] * 3 for s in np.exp(drift + random.normal(0, noise, ROUNDS)) / gain]
        m.others_cores = m.stolen_cores = [0.0] * ROUNDS
    run = Run(
        dict(MACHINE),
        {"moe": "1", "python": "3"},
        {**PROTOCOL, "threads": list(threads)},
        measurements,
        complete=True,
    )
    return Breakdown(run)


def measured(
    overhead: float, rate: float, bend: float = 1.0, noise: float = 0.01, seed: int = 1, name: str = "mojo"
) -> list[Measurement]:
    """Rounds of overhead + tokens / rate; with a bend, one token takes that many times as long."""
    random = np.random.default_rng(seed)
    found = plan([parse_variant("mojo")], moe.PRESETS["seed"], [1], [
        (parse_variant(name), moe.PRESETS["seed"].with_tokens(tokens)) for tokens in SIZES
    ])[2:]  # fmt: skip
    for m in found:
        seconds = (overhead + m.config.tokens / rate) * (bend if m.config.tokens == 1 else 1)
        offset = np.repeat(random.normal(0, noise, 4), 5)
        m.status, m.processes = "ok", OF_LINE
        m.samples_s = [[float(s)] * 3 for s in seconds * np.exp(offset + random.normal(0, noise, len(OF_LINE)))]
    return found


def a_sweep(
    call_s: dict[str, float] = CALL_S, rate: dict[str, float] = FLOPS_PER_S, noise: float = 0.01, hot: float = 1.5
) -> Run:
    """A forward takes a call and its operations at a rate: half on two threads, `hot` times as long when skewed."""
    random = np.random.default_rng(4)
    cells = list(dict.fromkeys(cell for grid in GRIDS for cell in cells_of(moe.PRESETS["seed"], grid)[0]))
    measurements = plan_cells([parse_variant(name) for name in call_s], cells)
    for m in measurements:
        seconds = call_s[m.implementation] + m.config.flops / rate[m.implementation] / m.threads
        seconds *= hot if m.config.skew else 1.0
        m.status, m.reason, m.parity = "ok", "", PARITY
        m.processes = list(range(PROCESSES))
        m.samples_s = [[float(seconds * np.exp(random.normal(0, noise)))] * 3 for _ in range(PROCESSES)]
        m.others_cores, m.stolen_cores = [0.0] * PROCESSES, [0.0] * PROCESSES
        m.details["lines"] = {"Python": 100}
    rates = {2**22: 1e11, 2**27: 2e10}
    probes = [{"bytes": size, "read_bytes_per_s": r, "triad_bytes_per_s": r} for size, r in rates.items()]
    limits = [{"threads": t, "by": "probes", "flops_per_s": t * 1.2e11, "bandwidth": probes} for t in (1, 2)]
    protocol = {**PROTOCOL, "threads": [1, 2], "processes": PROCESSES}
    return Run(dict(MACHINE), {"moe": "1", "python": "3"}, protocol, measurements, limits, complete=True)
