"""Runs with known times, for tests of what is made from runs."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

import moe
from moe.implementations import parse_variant
from moe.measure.plan import plan
from moe.measure.protocol import Protocol
from moe.run import Run

MACHINE = {
    "processor": "Testium",
    "architecture": "x",
    "vector_features": [],
    "usable_cores": 2,
    "caches_bytes": {"L1 Data": 32768},
    "memory_bytes": 2**30,
    "system": "Linux",
    "cores": 2,
    "hypervisor": False,
    "container": False,
    "core_quota": None,
    "memory_limit_bytes": None,
    "huge_pages": "madvise",
    "threads_per_core": 1,
    "load_average": 0.0,
    "frequency_mhz": None,
}
PARITY = {
    "passed": True,
    "max_rel_error": 1e-7,
    "tolerance": 1e-5,
    "tied_tokens": 0,
    "rerouted_tokens": 0,
    "reason": "",
}
PROTOCOL = {**asdict(Protocol()), "threads": [1]}


def synthetic_run(
    seconds: dict[str, float], threads: tuple[int, ...] = (1,), rounds: int = 12, noise: float = 0.0, seed: int = 3
) -> Run:
    """A run in which each variant takes its seconds on one thread, and half on two."""
    random = np.random.default_rng(seed)
    measurements = plan([parse_variant(name) for name in seconds], moe.PRESETS["seed"], threads)
    for m in measurements:
        m.status, m.parity = "ok", PARITY
        m.processes = [i * 3 // rounds for i in range(rounds)]
        scale = seconds[m.variant] / m.threads * m.config.tokens / 1024
        m.samples_s = [[scale * float(np.exp(random.normal(0, noise)))] * 3 for _ in range(rounds)]
        m.others_cores, m.stolen_cores, m.waited = [0.0] * rounds, [0.0] * rounds, [None] * rounds
    protocol = {**PROTOCOL, "threads": list(threads)}
    return Run(dict(MACHINE), {"moe": "1", "python": "3", "numpy": "2"}, protocol, measurements, complete=True)
