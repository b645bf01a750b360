"""Probes of the machine beside what is measured: its limits every few seconds, its capacity around every turn."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from math import inf
from typing import Any

from moe.measure.capacity import Capacity
from moe.measure.child import LOAD_TIMEOUT_S, Child, WorkerFailedError
from moe.run import Run

EVERY_S = 5.0  # the clock, and others' use of the memory, change within a run
SHARE = 0.02  # of the time, at most: past a last cache of hundreds of MiB, reading takes long


class Yardsticks:
    """A process of probes for each number of a run's threads, until `stack` ends; one that fails is asked no more."""

    def __init__(self, stack: ExitStack, run: Run) -> None:
        self._limits = run.limits  # which get those that are found, or why there are none
        self._bfloat16 = any(m.config.precision == "bfloat16" for m in run.measurements)  # it has limits of its own
        self._probes = {count: Child(count) for count in run.protocol["threads"]}
        self._due_at = -inf
        for count, child in self._probes.items():
            stack.callback(child.kill)
            child.send("load_probes", threads=count)
        for count in list(self._probes):
            self._ask(count, lambda child: child.receive(LOAD_TIMEOUT_S))
        self.measure_limits()
        self._due_at = time.monotonic() + EVERY_S  # what loading took is no measure of the next time
        self.capacity = Capacity(self._probes)

    def measure_limits(self) -> None:
        """Measure what the machine can do, if that was some time ago."""
        started = time.monotonic()
        if started < self._due_at:
            return
        for count, child in list(self._probes.items()):
            found = self._ask(
                count, lambda child: child.ask("limits", timeout=LOAD_TIMEOUT_S, bfloat16=self._bfloat16)
            )
            self._limits += [found] if found else []
            child.hold()
        now = time.monotonic()
        self._due_at = now + max(EVERY_S, (now - started) / SHARE)

    def _ask(self, count: int, ask: Callable[[Child], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return ask(self._probes[count])
        except WorkerFailedError as error:
            self._limits.append({"threads": count, "reason": str(error)})
            del self._probes[count]
        return None
