"""What single calls cost: from Python into what an implementation is built on and back, and what comes with that."""

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from timeit import repeat
from typing import Any

import numpy as np

from moe import mojo_build
from moe.config import MoEConfig
from moe.implementations import create
from moe.implementations.mojo_kernel import ALL_ON, load_kernel
from moe.problem import make_problem

CALLS = 1_000
ROUNDS = 15

Calls = dict[str, Callable[[], Any]]


def measure_calls(library: str) -> list[dict[str, Any]]:
    """Name and seconds of a library's calls, one value a round, the emptiest first."""
    found = []
    for name, call in CALLS_INTO[library]().items():
        # The loop itself, some 10 ns a turn, is in it.
        found.append({"call": name, "seconds": [s / CALLS for s in repeat(call, number=CALLS, repeat=ROUNDS)]})
    return found


def _forward(name: str, tokens: int) -> Callable[[], Any]:
    """An implementation's forward of so many tokens of one number each."""
    problem = make_problem(MoEConfig(tokens=tokens, d_model=1, d_ff=1, num_experts=1, top_k=1))
    layer = create(name, problem.weights, top_k=1)
    return partial(layer.forward, layer.to_native(problem.x))


def _python() -> Calls:
    def step() -> float:
        total = 0.0
        for a in values:
            total += a * 2.0
        return total

    values = [1.0] * 100
    return {"a Python function": lambda: None, "100 steps of a loop with a multiply-add": step}


def _numpy() -> Calls:
    one = np.ones(1, np.float32)
    return {
        "a NumPy ufunc on one number": partial(np.add, one, one, np.empty_like(one)),
        "an uninitialised array of 1 MiB": partial(np.empty, 2**18, np.float32),
    }


def _torch() -> Calls:
    import torch

    one, recorded = torch.ones(1), torch.ones(1, requires_grad=True)
    return {
        "a PyTorch operator on one number": partial(torch.add, one, one, out=torch.empty_like(one)),
        "the same with a new output": partial(torch.add, one, one),
        "the same recorded for autograd": partial(torch.add, recorded, one),
        "an uninitialised tensor of 1 MiB": partial(torch.empty, 2**18),
    }


def _mojo() -> Calls:
    kernel = load_kernel(mojo_build.build().path)
    one = np.ones((1, 1), np.float32)
    address = one.ctypes.data
    handle = kernel.moe_prepare(address, address, address, 1, 1, 1, 1, 1, ALL_ON)
    call = partial(kernel.moe_forward, handle, address, address, 0)
    weakref.finalize(call, kernel.moe_release, handle)
    return {"a forward of no tokens in Mojo": call}


CALLS_INTO: Mapping[str, Callable[[], Calls]] = {
    "python": _python,
    "numpy": _numpy,
    "torch": _torch,
    "mojo": _mojo,
    "max": lambda: {"a forward of no tokens in a MAX graph": _forward("mojo-max", 0)},
    "mojo layer": lambda: {"the layer's forward of one number": _forward("mojo", 1)},
}
