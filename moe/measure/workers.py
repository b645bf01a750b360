"""The worker processes of a generation, by what may share one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, suppress
from typing import Any

from moe.implementations.registry import REGISTRY
from moe.measure.child import Child, WorkerFailedError
from moe.measure.loaded import first_difference, shown
from moe.measure.waiting import UsageClock
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
        self._done: dict[Key, set[tuple[str | int, ...]]] = {}
        self._inside: dict[Key, set[str]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        while self._children:
            self._children.popitem()[1].kill()

    def start(self, m: Measurement) -> bool:
        """Start a measurement's worker; returns whether there was none."""
        if _key(m) in self._children:
            return False
        self._children[_key(m)] = Child(m.threads, self._memory_bytes)
        return True

    def send(self, m: Measurement, operation: str, **arguments: Any) -> None:
        """Send a worker a request without waiting."""
        self.start(m)
        self._inside.setdefault(_key(m), set()).add(m.implementation)
        self._children[_key(m)].send(operation, **arguments)

    def receive(self, m: Measurement, timeout: float) -> dict[str, Any]:
        """The reply to what was sent; raises WorkerFailedError, and forgets the worker where it has died."""
        child = self._children[_key(m)]
        try:
            return child.receive(timeout)
        except WorkerFailedError:
            if child.ended:
                child.kill()
                self._forget(_key(m))
            raise

    def ask(self, m: Measurement, operation: str, *, timeout: float, **arguments: Any) -> dict[str, Any]:
        """A worker's reply; raises WorkerFailedError as `receive` does."""
        self.send(m, operation, **arguments)
        return self.receive(m, timeout)

    def release(self, m: Measurement, number: int, timeout: float) -> bool:
        """Let a measurement's worker forget its layer; returns whether that has changed its weights.

        A worker that dies of it is started again when it is needed.
        """
        if _key(m) in self._children:
            with suppress(WorkerFailedError):
                return bool(self.ask(m, "release", timeout=timeout, number=number)["changed"])
        return False

    def end_unless_needed(self, m: Measurement, others: Iterable[Measurement]) -> None:
        """End the worker of a measurement that has failed, unless one of `others` is in it too."""
        if _key(m) in self._children and all(_key(other) != _key(m) for other in others):
            self._children[_key(m)].kill()
            self._forget(_key(m))

    def _forget(self, key: Key) -> None:
        for known in (self._children, self._done, self._inside):
            known.pop(key, None)

    def rest(self, m: Measurement, most_s: float) -> bool:
        """Wait until a measurement's worker uses no processor time; one that does not come to that is ended.

        Returns whether it did: its threads would otherwise be in everybody's way.
        """
        rested = self._children[_key(m)].rest(most_s)
        if not rested:
            self.end_unless_needed(m, ())
        return rested

    def settle(self, most_s: float) -> None:
        """Wait, at most so long for each, until no worker uses a core: preparing leaves threads spinning."""
        for child in self._children.values():
            child.rest(most_s)

    def stopped(self, m: Measurement) -> AbstractContextManager[None]:
        """Hold a measurement's worker for as long as that lasts."""
        return self._children[_key(m)].stopped()

    def processor_s(self, m: Measurement) -> float:
        """Processor time that a measurement's worker has used, in seconds."""
        return self._children[_key(m)].processor_s()

    def usage(self, m: Measurement) -> UsageClock:
        """A clock of what a measurement's worker uses from now on."""
        return self._children[_key(m)].usage()

    def others_s(self, m: Measurement) -> dict[Key, float]:
        """Processor time that each of the other workers has used."""
        return {key: child.processor_s() for key, child in self._children.items() if key != _key(m)}

    def inside(self, m: Measurement) -> list[str]:
        """The implementations that a measurement's worker has loaded."""
        return sorted(self._inside[_key(m)])

    def has_done(self, m: Measurement, *step: str | int) -> bool:
        """Whether the worker that is there now has taken a step for a measurement."""
        return step in self._done.get(_key(m), ())

    def note_done(self, m: Measurement, *step: str | int) -> None:
        """Remember a step for as long as the worker lives."""
        self._done.setdefault(_key(m), set()).add(step)

    def owns(self, m: Measurement, key: Key) -> bool:
        """Whether a worker is a measurement's."""
        return key == _key(m)


def _key(m: Measurement) -> Key:
    library = REGISTRY[m.implementation].library if m.implementation in REGISTRY else ""
    # Devices apart: a driver's threads are nobody else's.
    return library if library in SHARED else m.implementation, m.threads, m.device, m.control


def require_files(implementation: str, files: dict[str, str]) -> dict[str, str]:
    """What a worker imported, as a run names it; raises WorkerFailedError where this process has another file."""
    if difference := first_difference(implementation, files):
        raise WorkerFailedError(difference)
    return {what: shown(file) for what, file in files.items()}
