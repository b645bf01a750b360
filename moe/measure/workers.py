"""The worker processes of a generation, by what may share one."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Self

from moe.implementations.registry import REGISTRY
from moe.measure.child import Child, WorkerFailedError
from moe.run import Measurement

SHARED = ("numpy", "torch")  # libraries whose layers in this package share a worker
Key = tuple[str, int, str, bool]


class Workers:
    """Starts a worker when it is first asked, and a fresh one after it died; ends them all at the end.

    The package's own layers in NumPy share a worker, and those in PyTorch another, for each number of threads. What
    else is measured has one of its own, so that a crash or a trick costs nobody else; so has a control.
    """

    def __init__(self, memory_bytes: float) -> None:
        self._memory_bytes = memory_bytes
        self._children: dict[Key, Child] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._children:
            self._children.popitem()[1].kill()

    def start(self, m: Measurement) -> bool:
        """Start a measurement's worker; returns whether there was none."""
        if key_of(m) in self._children:
            return False
        self._children[key_of(m)] = Child(m.threads, self._memory_bytes)
        return True

    def of(self, m: Measurement) -> Child:
        """A measurement's worker, which is there."""
        return self._children[key_of(m)]

    def has_done(self, m: Measurement, step: str, what: str | int) -> bool:
        """Whether the worker that is there now has taken a step for a measurement."""
        return key_of(m) in self._children and (step, what) in self.of(m).done

    def send(self, m: Measurement, operation: str, **arguments: Any) -> None:
        """Send a worker a request without waiting."""
        self.start(m)
        self.of(m).inside.add(m.implementation)
        self.of(m).send(operation, **arguments)

    def receive(self, m: Measurement, timeout: float) -> dict[str, Any]:
        """The reply to what was sent; raises WorkerFailedError, and forgets the worker where it has died."""
        try:
            return self.of(m).receive(timeout)
        except WorkerFailedError:
            if self.of(m).ended:
                self.end_unless_needed(m, ())
            raise

    def ask(self, m: Measurement, operation: str, *, timeout: float, **arguments: Any) -> dict[str, Any]:
        """A worker's reply; raises WorkerFailedError as `receive` does."""
        self.send(m, operation, **arguments)
        return self.receive(m, timeout)

    def release(self, m: Measurement, number: int, timeout: float) -> bool:
        """Let a measurement's worker forget its layer, or die of it; returns whether that has changed its weights."""
        if key_of(m) in self._children:
            with suppress(WorkerFailedError):
                return bool(self.ask(m, "release", timeout=timeout, number=number)["changed"])
        return False

    def end_unless_needed(self, m: Measurement, others: Iterable[Measurement]) -> None:
        """End the worker of a measurement that has failed, unless one of `others` is in it too."""
        if key_of(m) in self._children and all(key_of(other) != key_of(m) for other in others):
            self._children.pop(key_of(m)).kill()

    def hold(self) -> None:
        """Hold all workers still until they are asked again: threads may spin on, OpenBLAS's for 100 ms."""
        for child in self._children.values():
            child.hold()


def key_of(m: Measurement) -> Key:
    """What a measurement has in common with those that share its worker."""
    library = REGISTRY[m.implementation].library if m.implementation in REGISTRY else ""
    # Devices apart: a driver's threads are nobody else's.
    return library if library in SHARED else m.implementation, m.threads, m.device, m.control
