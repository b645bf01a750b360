"""What it costs to get from Python into the compiled kernel and back."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from moe.config import MoEConfig
from moe.implementations import create
from moe.mojo_kernel import load_kernel
from moe.problem import make_problem

CALLS = 20_000
ROUNDS = 15


def measure_boundary() -> dict[str, list[float]]:
    """Seconds of a call, one for each round: a forward of no tokens, and the layer's forward of one number.

    The first is the call alone, with the arguments of a forward; the second also makes an output and takes its
    address. Both on one thread; raises NotAvailableError where there is no Mojo.
    """
    problem = make_problem(MoEConfig(tokens=1, d_model=1, d_ff=1, num_experts=1, top_k=1))
    layer = create("mojo", problem.weights, top_k=1)
    kernel = load_kernel(layer.implementation.library.path)
    w = problem.weights
    addresses = [a.ctypes.data for a in (w.gate, w.w1, w.w2)]
    handle = kernel.moe_prepare(*addresses, 1, 1, 1, 1, 1, 15)
    weakref.finalize(layer, kernel.moe_release, handle)
    y = np.empty_like(problem.x)
    x = layer.to_native(problem.x)
    into, out_of = x.address, y.ctypes.data
    return {
        "a forward of no tokens": _rounds(kernel.moe_forward, handle, into, out_of, 0),
        "the layer's forward of one number": _rounds(layer.forward, x),
    }


def _rounds(function: Callable[..., Any], *arguments: Any) -> list[float]:
    """Seconds of one call, from ROUNDS loops; the loop itself, some 10 ns a turn, is in it."""
    rounds = []
    for _ in range(ROUNDS):
        started = perf_counter()
        for _ in range(CALLS):
            function(*arguments)
        rounds.append((perf_counter() - started) / CALLS)
    return rounds
