"""Implementations that go wrong, each in its own way, for real worker processes to run."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from moe import bfloat16
from moe.implementations import NotAvailableError
from moe.implementations.numpy_layer import NumpyLayer
from moe.problem import Weights


class Wrong(NumpyLayer):
    """Right until it is not; the subclasses say how."""

    name = "wrong"
    calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return self.go_wrong(super().forward(x))

    def go_wrong(self, y: Any) -> Any:
        return y


class Raises(Wrong):
    def go_wrong(self, y: Any) -> Any:
        raise ArithmeticError("no luck today")


class RaisesLater(Wrong):
    def go_wrong(self, y: Any) -> Any:
        if self.calls > 3 and len(y) > 1:
            raise ArithmeticError("tired")
        return y


class Exits(Wrong):
    def go_wrong(self, y: Any) -> Any:
        print("last words", file=sys.stderr, flush=True)
        os._exit(3)


class Killed(Wrong):
    def go_wrong(self, y: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


class Segfaults(Wrong):
    def go_wrong(self, y: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSEGV)


class Hangs(Wrong):
    def go_wrong(self, y: Any) -> Any:
        while len(y) > 1:
            pass
        return y


class Slow(Wrong):
    def go_wrong(self, y: Any) -> Any:
        time.sleep(1.2 if len(y) > 1 else 0.0)
        return y


class WrongShape(Wrong):
    def go_wrong(self, y: Any) -> Any:
        return y[:-1]


class GivesNaN(Wrong):
    def go_wrong(self, y: Any) -> Any:
        return y * np.float32("nan")


class Reuses(Wrong):
    """Its output is one buffer: the next call overwrites the last result."""

    buffer: Any = None

    def go_wrong(self, y: Any) -> Any:
        if self.buffer is None or len(self.buffer) != len(y):
            self.buffer = y
        self.buffer[:] = y
        return self.buffer


class Stale(Wrong):
    """Computes once and repeats that."""

    kept: Any = None

    def go_wrong(self, y: Any) -> Any:
        if self.kept is None or len(self.kept) != len(y):
            self.kept = y
        return self.kept


class TooManyThreads(Wrong):
    """Says that it uses more threads than it was given."""

    threads = 7


class TakesFewerThreads(Wrong):
    """Uses one thread, however many it is given."""

    def __init__(self, weights: Any, *, top_k: int, threads: int) -> None:
        super().__init__(weights, top_k=top_k, threads=1)


class TakesMoreThreads(Wrong):
    """Gives NumPy's own pool more threads than the worker was given."""

    def __init__(self, weights: Any, *, top_k: int, threads: int) -> None:
        super().__init__(weights, top_k=top_k, threads=threads)
        self.limits = threadpool_limits(threads + 1)


class ChangesItsInput(Wrong):
    """Right, and from its second call on makes its input zeros, for which zeros at once are right."""

    right = 1

    def forward(self, x: Any) -> Any:
        self.calls += 1
        if self.calls <= self.right:
            return super().forward(x)
        x[:] = 0
        return np.zeros_like(x)


class ChangesItsInputLater(ChangesItsInput):
    """The same, once its first outputs were compared."""

    right = 2


class SpoilsItsInput(Wrong):
    """Always right, and leaves something else in its input."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        x[...] = -x
        return y


class ChangesItsWeights(Wrong):
    """Right, and from its second call on makes its weights zeros, for which zeros at once are right."""

    def __init__(self, weights: Any, *, top_k: int, threads: int) -> None:
        super().__init__(weights, top_k=top_k, threads=threads)
        self.weights = weights

    def go_wrong(self, y: Any) -> Any:
        if self.calls == 1:
            return y
        self.weights.w2[:] = 0
        return np.zeros_like(y)


class SpoilsItsWeights(Wrong):
    """Always right, and scales an expert's two matrices in its second call, which cancels out."""

    def __init__(self, weights: Any, *, top_k: int, threads: int) -> None:
        super().__init__(weights, top_k=top_k, threads=threads)
        self.weights = weights

    def go_wrong(self, y: Any) -> Any:
        if self.calls == 2:
            self.weights.w1[0] *= 2
            self.weights.w2[0] /= 2
        return y


class TellsEnvironment(Wrong):
    """Fails with what its process was started with."""

    def go_wrong(self, y: Any) -> Any:
        told = ("OMP_THREAD_LIMIT", "OMP_NUM_THREADS", "KMP_BLOCKTIME", "MODULAR_ENABLE_AFFINITY", "ZENDNNL_LIKED")
        raise ArithmeticError(" ".join(f"{name}={os.environ.get(name)}" for name in told))


class SharesACore(Wrong):
    """Has PyTorch's threads, as many as it was given, all on one core."""

    def __init__(self, weights: Any, *, top_k: int, threads: int) -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        import torch

        torch.set_num_threads(threads)
        super().__init__(weights, top_k=top_k, threads=threads)


class HoldsMemory(Wrong):
    """Takes more and more memory, and never gives any back."""

    def go_wrong(self, y: Any) -> Any:
        held = []
        while len(y) > 1:
            held.append(np.ones(2**21))
            time.sleep(0.01)
        return y


class DiesOnce(Wrong):
    """Two variants in one worker, of which one takes it down when it is timed."""

    def __init__(self, weights: Any, *, top_k: int, threads: int, dies: str = "no") -> None:
        super().__init__(weights, top_k=top_k, threads=threads)
        self.dies = dies == "yes"

    def go_wrong(self, y: Any) -> Any:
        if self.dies and self.calls > 8:
            os._exit(5)
        return y


class Prints(Wrong):
    """Writes to standard output, which is the worker's reply channel."""

    def go_wrong(self, y: Any) -> Any:
        print("chatter")
        os.write(1, b"more chatter\n")
        return y


class Absent(Wrong):
    """Not available anywhere."""

    @staticmethod
    def available() -> tuple[bool, str]:
        return False, "it is not there"


class Selective(Wrong):
    """Takes one size alone."""

    def __init__(self, weights: Weights, *, top_k: int, threads: int) -> None:
        super().__init__(weights, top_k=top_k, threads=threads)
        if weights.d_model != 8:
            raise NotAvailableError(f"d_model must be 8, got {weights.d_model}")


class EndsItsMachine(Wrong):
    """With two tokens it kills the Dask worker that measures it the first time, with three every time."""

    def go_wrong(self, y: Any) -> Any:
        mark = Path(os.environ["MARK"])
        if len(y) == 3 or (len(y) == 2 and not mark.exists()):
            if len(y) == 2:
                mark.touch()
            else:
                with mark.with_name("deaths").open("a") as deaths:
                    deaths.write("x")
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        return y


class RoutesRoughly(NumpyLayer):
    """Chooses experts by logits in bfloat16, and says nothing of it."""

    name = "rough"

    def _route(self, x: Any) -> Any:
        logits = x @ self.gate
        experts = np.argsort(-bfloat16.rounded(logits), axis=1, kind="stable")[:, : self.top_k]
        weights = np.exp(np.take_along_axis(logits, experts, axis=1))
        return experts, weights / weights.sum(axis=1, keepdims=True)


class SaysSo(RoutesRoughly):
    """The same, honestly."""

    router_precision = "bfloat16"


class DoublesToo(SaysSo):
    """The same, and twice what comes out."""

    name = "doubles"

    def forward(self, x: Any) -> Any:
        return 2 * super().forward(x)
