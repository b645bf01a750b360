"""Runs with known times, for tests of what is made from runs."""

from __future__ import annotations

import numpy as np

import moe
from moe.implementations import parse_variant
from moe.measure.engine import plan
from moe.run import Run

MACHINE = {
    "processor": "Testium",
    "architecture": "x",
    "vector_features": [],
    "usable_cores": 2,
    "caches_bytes": {"L1 Data": 32768},
    "memory_bytes": 2**30,
    "system": "Linux",
    "hypervisor": False,
    "load_average": 0.0,
}
PARITY = {
    "passed": True,
    "max_rel_error": 1e-7,
    "tolerance": 1e-5,
    "tied_tokens": 0,
    "rerouted_tokens": 0,
    "reason": "",
}


def synthetic_run(
    seconds: dict[str, float], threads: tuple[int, ...] = (1,), rounds: int = 12, noise: float = 0.0
) -> Run:
    """A run in which each variant takes its seconds on one thread, and half on two."""
    random = np.random.default_rng(3)
    measurements = plan([parse_variant(name) for name in seconds], moe.PRESETS["seed"], threads)
    for m in measurements:
        m.status, m.parity = "ok", PARITY
        m.processes = [i * 3 // rounds for i in range(rounds)]
        scale = seconds[m.variant] / m.threads * m.config.tokens / 1024
        m.samples_s = [[scale * float(np.exp(random.normal(0, noise)))] * 3 for _ in range(rounds)]
    protocol = {"turn_s": 0.02, "turn_forwards": 3, "inputs": 4}
    return Run(MACHINE, {"numpy": "2"}, protocol, measurements, complete=True)
