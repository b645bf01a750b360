"""The layer's Mojo kernel as an operation of a MAX graph.

MAX compiles `mojo_src/max_op.mojo`, and with it the kernel's own modules, into three graphs: one packs the weights
and starts the kernel's threads, one is the forward, one ends them. Between them goes the address of what was
prepared, as a tensor, so that every step of a forward is code that MAX compiled, and none the library of `mojo`.
"""

import ctypes
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from moe import mojo_build
from moe.implementations.contract import NotAvailableError
from moe.problem import Float32Array, Weights
from moe.processor import allowed_cores

PREPARED = 4  # words that stand for a prepared layer: two addresses, then threads and lanes, as `max_op.mojo` says
THREADS, WIDTH = 2, 3
PR_SET_TIMERSLACK = 29
SLACK_NS = 50_000_000


class MojoMaxLayer:
    """The kernel in `mojo_src/` in a MAX graph, on a pool of `threads` threads of its own.

    The graphs are compiled for any sizes, once in a process, and MAX keeps them on disk for the next one.
    """

    name = "mojo-max"
    description = "Mojo, the kernel in a MAX graph"

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether MAX and the Mojo toolchain are there; nothing is compiled."""
        installed, reason = mojo_build.is_installed()
        if not installed:
            return False, reason
        if find_spec("max") is None or find_spec("max.engine") is None:
            return False, f"MAX is not installed (the package `max.engine` is missing): {mojo_build.HOW_TO_INSTALL}"
        return True, ""

    @staticmethod
    def sources() -> list[Path]:
        """The operations, and the kernel's files without those for C."""
        return mojo_build.package_sources()

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        available, reason = self.available()
        if not available:
            raise NotAvailableError(reason)
        self.library, graphs = _compiled()
        arrays = (weights.gate, weights.w1, weights.w2)
        (self._prepared,) = graphs["prepare"].execute(*arrays, top_k, threads)
        weakref.finalize(self, graphs["release"].execute, self._prepared)
        self.threads = int(self._prepared[THREADS].item())
        self.vector_width = int(self._prepared[WIDTH].item())
        self._forward = graphs["forward"].execute
        self._lock = threading.Lock()

    def to_native(self, x: Float32Array) -> Any:
        """A (T, d) array as a buffer of MAX, in the same memory if it may be written."""
        from max.driver import Buffer

        return Buffer.from_numpy(x)

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d), both buffers of MAX."""
        # The kernel has one workspace.
        with self._lock:
            return self._forward(x, self._prepared)[0]

    def to_numpy(self, y: Any) -> Float32Array:
        """The output (T, d) as an array."""
        return y.to_numpy()  # type: ignore[no-any-return]


@cache
def _compiled() -> tuple[mojo_build.Library, dict[str, Any]]:
    """The package that MAX compiled, and its graphs by name, ready to execute."""
    from max.engine import InferenceSession

    package = mojo_build.build_package()
    with _one_quiet_thread():
        graphs = InferenceSession().load_all(_graphs(package.path), custom_extensions=package.path)
        # MAX starts the last of its threads in the first execution; there is nothing to release yet.
        graphs["release"].execute(np.zeros(PREPARED, np.int64))
    return package, graphs


def _graphs(package: Path) -> Any:
    """The three graphs; T, d, f and E are known at run time."""
    from max.dtype import DType
    from max.graph import BufferType, DeviceRef, Graph, Module, TensorType, ops

    module, cpu = Module(), DeviceRef.CPU()

    def floats(*shape: str) -> TensorType:
        return TensorType(DType.float32, shape, device=cpu)

    def graph(name: str, *inputs: Any) -> Graph:
        return Graph(name, input_types=inputs, custom_extensions=[package], module=module)

    number, prepared = TensorType(DType.int64, (), device=cpu), TensorType(DType.int64, (PREPARED,), device=cpu)
    with graph("prepare", floats("d", "E"), floats("E", "d", "f"), floats("E", "f", "d"), number, number) as prepare:
        prepare.output(*ops.custom("moe_prepare", cpu, prepare.inputs, [prepared]))
    with graph("forward", floats("T", "d"), prepared) as forward:
        forward.output(*ops.custom("moe_layer", cpu, forward.inputs, [floats("T", "d")]))
    with graph("release", BufferType(DType.int64, (PREPARED,), device=cpu)) as release:
        ops.inplace_custom("moe_release", cpu, release.inputs)
        release.output()
    return module


@contextmanager
def _one_quiet_thread() -> Iterator[None]:
    """Let MAX start one thread for operations, and its logger wake 20 times a second.

    The kernel brings threads of its own. Without this MAX starts one for each core, which look for work for a while
    after a forward, and a logger that looks every 100 µs, a tenth of a core for the rest of the process. No setting
    of MAX changes either, but it counts the cores that it may use, and its threads inherit how late timers may be.
    """
    others = _own_threads()
    if not others:  # another system, or a sandbox that names no threads: none could be let go again
        yield
        return
    system, cores = ctypes.CDLL(None), allowed_cores()
    with suppress(OSError):
        os.sched_setaffinity(0, {min(cores)})
    system.prctl(PR_SET_TIMERSLACK, SLACK_NS)
    try:
        yield
    finally:
        system.prctl(PR_SET_TIMERSLACK, 0)  # what it was
        for task in {"0"} | _own_threads() - others:
            with suppress(OSError):  # it may have ended
                os.sched_setaffinity(int(task), cores)


def _own_threads() -> set[str]:
    """Numbers of this process's threads; none where Linux does not say."""
    try:
        return set(os.listdir("/proc/self/task"))
    except OSError:
        return set()
