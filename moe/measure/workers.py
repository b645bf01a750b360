"""The worker processes of a generation: one for each implementation and number of threads, and a control's own."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from moe.measure.child import Child, WorkerFailedError
from moe.run import Measurement

Key = tuple[str, int, str, bool]


class Workers:
    """Starts a worker when it is first asked, and a fresh one after it died; ends them all at the end."""

    def __init__(self, memory_bytes: float) -> None:
        self._memory_bytes = memory_bytes
        self._children: dict[Key, Child] = {}
        self._done: dict[Key, set[tuple[str | int, ...]]] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.kill()

    def start(self, m: Measurement) -> bool:
        """Start a measurement's worker; returns whether there was none."""
        if _key(m) in self._children:
            return False
        self._children[_key(m)] = Child(m.threads, self._memory_bytes)
        return True

    def send(self, m: Measurement, operation: str, **arguments: Any) -> None:
        """Send a worker a request without waiting."""
        self.start(m)
        self._children[_key(m)].send(operation, **arguments)

    def receive(self, m: Measurement, timeout: float) -> dict[str, Any]:
        """The reply to what was sent; raises WorkerFailedError, and forgets the worker where it has died."""
        child = self._children[_key(m)]
        try:
            return child.receive(timeout)
        except WorkerFailedError:
            if child.ended:
                child.kill()
                del self._children[_key(m)]
                self._done.pop(_key(m), None)
            raise

    def ask(self, m: Measurement, operation: str, *, timeout: float, **arguments: Any) -> dict[str, Any]:
        """A worker's reply; raises WorkerFailedError as `receive` does."""
        self.send(m, operation, **arguments)
        return self.receive(m, timeout)

    def release(self, m: Measurement, number: int, timeout: float) -> None:
        """Let a measurement's worker forget its layer; one that dies of it is started again when it is needed."""
        if _key(m) in self._children:
            with suppress(WorkerFailedError):
                self.ask(m, "release", timeout=timeout, number=number)

    def rest(self, m: Measurement, most_s: float) -> None:
        """Wait until a measurement's worker uses no processor time."""
        self._children[_key(m)].rest(most_s)

    def has_done(self, m: Measurement, *step: str | int) -> bool:
        """Whether the worker that is there now has taken a step for a measurement."""
        return step in self._done.get(_key(m), ())

    def note_done(self, m: Measurement, *step: str | int) -> None:
        """Remember a step for as long as the worker lives."""
        self._done.setdefault(_key(m), set()).add(step)


def _key(m: Measurement) -> Key:
    # Devices apart: a driver's threads are nobody else's.
    return m.implementation, m.threads, m.device, m.control
