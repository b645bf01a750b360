"""What it costs to get from Python into what an implementation is built on, and back: a call that does nothing."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from moe import mojo_build
from moe.config import MoEConfig
from moe.implementations import create
from moe.mojo_kernel import FORM_SWITCHES, form_number, load_kernel
from moe.problem import make_problem

CALLS = 5_000
ROUNDS = 15

Call = tuple[str, Callable[[], Any]]


def measure_empty_call(library: str) -> dict[str, Any]:
    """Name and seconds of an empty call into a library, one value a round; raises KeyError for an unknown one."""
    name, call = CALLS_INTO[library]()
    return {"call": name, "seconds": seconds_of(call)}


def seconds_of(call: Callable[[], Any]) -> list[float]:
    """Seconds of one call, from ROUNDS loops; the loop itself, some 10 ns a turn, is in it."""
    rounds = []
    for _ in range(ROUNDS):
        started = perf_counter()
        for _ in range(CALLS):
            call()
        rounds.append((perf_counter() - started) / CALLS)
    return rounds


def _mojo_layer() -> Call:
    problem = make_problem(MoEConfig(tokens=1, d_model=1, d_ff=1, num_experts=1, top_k=1))
    layer = create("mojo", problem.weights, top_k=1)
    return "the layer's forward of one number", partial(layer.forward, layer.to_native(problem.x))


def _python() -> Call:
    return "a Python function", lambda: None


def _numpy() -> Call:
    one = np.ones(1, np.float32)
    return "a NumPy ufunc on one number", partial(np.add, one, one, np.empty_like(one))


def _torch() -> Call:
    import torch

    one = torch.ones(1)
    return "a PyTorch operator on one number", partial(torch.add, one, one, out=torch.empty_like(one))


def _mojo() -> Call:
    kernel = load_kernel(mojo_build.build().path)
    one = np.ones((1, 1), np.float32)
    address = one.ctypes.data
    form = form_number(**dict.fromkeys(FORM_SWITCHES, "on"))
    handle = kernel.moe_prepare(address, address, address, 1, 1, 1, 1, 1, form)
    call = partial(kernel.moe_forward, handle, address, address, 0)
    weakref.finalize(call, kernel.moe_release, handle)
    return "a forward of no tokens", call


CALLS_INTO: Mapping[str, Callable[[], Call]] = {
    "python": _python,
    "numpy": _numpy,
    "torch": _torch,
    "mojo": _mojo,
    "mojo layer": _mojo_layer,
}
