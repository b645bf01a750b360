"""In a worker: how many cores a library's own threads keep busy, by the processor time of work that they share."""

import sys
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time
from typing import Any

import numpy as np

from moe.config import MoEConfig
from moe.implementations import create
from moe.problem import make_problem

PRODUCT = 1024  # rows and columns: shared by all threads of a library that has more than one
LEAST_S = 0.03
FIRST = 2  # calls that start threads
# Where the kernel is what is called, a layer on which its threads work for most of the time.
LAYER = MoEConfig(tokens=512, d_model=256, d_ff=512, num_experts=8, top_k=2)


def cores_used(library: str, threads: int) -> float | None:
    """Cores' worth of processor time that work of a library takes; None where there is no such work to try.

    `library` is what the registry calls it; an unknown one that has PyTorch's threads is taken for that.
    """
    if library not in WORK:
        if "torch" not in sys.modules or sys.modules["torch"].get_num_threads() != threads:
            return None
        library = "torch"
    work = WORK[library](threads)
    for _ in range(FIRST):
        work()
    started, used = perf_counter(), process_time()
    while perf_counter() - started < LEAST_S:
        work()
    return (process_time() - used) / (perf_counter() - started)


def _numpy(_: int) -> Callable[[], Any]:
    square = np.ones((PRODUCT, PRODUCT), np.float32)
    return partial(np.matmul, square, square, out=np.empty_like(square))


def _torch(_: int) -> Callable[[], Any]:
    import torch

    square = torch.ones(PRODUCT, PRODUCT)
    return partial(torch.mm, square, square, out=torch.empty_like(square))


def _layer(name: str, threads: int) -> Callable[[], Any]:
    problem = make_problem(LAYER)
    layer = create(name, problem.weights, top_k=problem.top_k, threads=threads)
    return partial(layer.forward, layer.to_native(problem.x))


WORK: dict[str, Callable[[int], Callable[[], Any]]] = {
    "numpy": _numpy,
    "torch": _torch,
    "mojo": partial(_layer, "mojo"),
    "max": partial(_layer, "mojo-max"),
}
