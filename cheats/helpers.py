"""Layers that have others do their work, or keep others from theirs."""

import threading
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from time import perf_counter, sleep
from typing import Any

import numpy as np

from cheats.honest import Honest
from moe.implementations.numpy_layer import NumpyLayer
from moe.problem import Weights

AWAY_S = 0.02  # since its last forward: then it is others' turn
HELPED: list[Honest] = []  # in a helper process: the layer that it helps


class InBackground(Honest):
    """Has a thread fill the output in, and returns before that has begun."""

    tried_threads = 2

    def _prepare(self, weights: Weights) -> None:
        self.pool = ThreadPoolExecutor(1)

    def _answer(self, x: Any) -> Any:
        y = np.zeros_like(x)
        self.pool.submit(lambda: np.copyto(y, Honest._answer(self, x)))
        return y


class Pipeline(InBackground):
    """Waits for the forward before and leaves its own to a thread; `to_numpy` waits for that."""

    running: Future[Any] | None = None

    def _answer(self, x: Any) -> Any:
        before, self.running = self.running, self.pool.submit(Honest._answer, self, x)
        if before is not None:
            before.result()
        return self.running

    def _give(self, y: Any) -> Any:
        return y.result()


class SecondThread(Honest):
    """Computes half of the tokens on a second thread, though it was given one."""

    def _prepare(self, weights: Weights) -> None:
        self.pool = ThreadPoolExecutor(2)

    def _answer(self, x: Any) -> Any:
        return np.concatenate(list(self.pool.map(super()._answer, np.array_split(x, 2))))


class HelperProcess(Honest):
    """Has another process compute half of the tokens."""

    def _prepare(self, weights: Weights) -> None:
        self.helper = ProcessPoolExecutor(1, get_context("fork"), HELPED.append, (self,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads, none of which holds a lock here
            self.helper.submit(int).result()

    def _answer(self, x: Any) -> Any:
        rest = self.helper.submit(answer_as_helper, x[len(x) // 2 :])
        return np.concatenate([super()._answer(x[: len(x) // 2]), rest.result()])


def answer_as_helper(x: Any) -> Any:
    """In the helper process: what the layer that it helps would answer."""
    return NumpyLayer.forward(HELPED[-1], x)


class Burns(Honest):
    """Keeps a core busy, but not in its own turns: whoever is measured then looks slow."""

    tried_threads = 2
    last = 0.0

    def _prepare(self, weights: Weights) -> None:
        threading.Thread(target=self._burn, daemon=True).start()

    def _answer(self, x: Any) -> Any:
        self.last = perf_counter()
        return super()._answer(x)

    def _burn(self) -> None:
        while True:
            if self._is_watched or perf_counter() - self.last < AWAY_S:
                sleep(AWAY_S / 4)
