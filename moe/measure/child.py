"""The parent's end of a worker: starting it, asking it, and saying in words how it died."""

import json
import os
import platform
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from math import inf
from typing import Any

import psutil

from moe.implementations.own_files import import_path
from moe.measure.environment import worker_environment
from moe.measure.waiting import UsageClock

# Started as `-m` or `-c` it would import from the folder that one stands in, also where this process does not.
WORKER = "import sys; sys.path[:], sys.argv[1:] = sys.argv[1:], []; from moe.measure.worker import main; main()"
LAST_LINES = 5
LOAD_TIMEOUT_S = 360.0  # longer than the Mojo compiler gets, so that it is stopped first and says so
LINUX = platform.system() == "Linux"
REST_S = 0.02  # for which most libraries' threads spin at most after a forward
WATCH_S = 0.25  # between looks at a worker's memory, which cost a turn some 50 µs


class WorkerFailedError(RuntimeError):
    """A worker raised, died or hung; the message says which, with its last words."""


def memory_of(process: int) -> int:
    """Bytes of memory that a process holds; raises whatever the system does where it does not say."""
    held: int = psutil.Process(process).memory_info().rss
    return held


class Child:
    """A worker process on `threads` threads with up to `memory_bytes`, answering one request at a time."""

    def __init__(self, threads: int, memory_bytes: float = inf) -> None:
        self._memory_bytes = memory_bytes
        self._was_asked = True
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", WORKER, *import_path()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Its streams carry JSON, and whatever an implementation prints: none of it is the terminal's.
            env=worker_environment(threads) | {"PYTHONIOENCODING": "utf-8:backslashreplace"},
            # Ctrl-C is the parent's to handle: it ends its workers after it has saved.
            start_new_session=True,
        )
        self._unread = b""
        self.done: set[tuple[str, str | int]] = set()  # the steps that it has taken, each for what
        self.inside: set[str] = set()  # the implementations that it was to load

    def ask(self, operation: str, *, timeout: float, **arguments: Any) -> dict[str, Any]:
        """The worker's reply; raises WorkerFailedError where it raises, dies, or takes too much time or memory."""
        self.send(operation, **arguments)
        return self.receive(timeout)

    def send(self, operation: str, **arguments: Any) -> None:
        """Send a request without waiting; a worker that is gone is found out by `receive`."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        self._was_asked = True
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"op": operation, **arguments}).encode() + b"\n")
            self._process.stdin.flush()

    def receive(self, timeout: float) -> dict[str, Any]:
        """The reply to the last request; raises WorkerFailedError as `ask` does, OSError where a disk was full."""
        line = self._read_line(timeout)
        if not line:
            raise WorkerFailedError(self._last_words())
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError:
            self.kill()
            raise WorkerFailedError(f"something printed where its answers go: {line[:80]!r}") from None
        if "no_room" in reply:
            raise OSError(reply["no_room"])
        if "error" in reply:
            raise WorkerFailedError(reply["error"])
        return reply

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def _read_line(self, timeout: float) -> bytes:
        """One line, or b"" at the end of the pipe; ends the worker at the deadline and past its memory."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self._unread:
            ready, _, _ = select.select([pipe], [], [], min(WATCH_S, max(0.0, deadline - time.monotonic())))
            if ready:
                data = os.read(pipe, 1 << 16)
                if not data:
                    return b""
                self._unread += data
            elif time.monotonic() >= deadline:
                self.kill()
                raise WorkerFailedError(f"stopped after {timeout:g} s without an answer")
            else:
                self._require_memory()
        self._require_memory()
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _require_memory(self) -> None:
        if (held := self._memory()) > self._memory_bytes:
            self.kill()
            most = self._memory_bytes / 2**20
            raise WorkerFailedError(f"stopped at {held / 2**20:.0f} MiB of memory, {most:.0f} allowed")

    def hold(self) -> None:
        """Hold the worker still until it is asked again, with all of its threads and the processes of its group.

        Only Linux ends what is held when the parent is gone; elsewhere its threads get some time to come to rest.
        """
        if LINUX:
            self._signal(signal.SIGSTOP)
        elif self._was_asked:
            time.sleep(REST_S)
        self._was_asked = False

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def processor_s(self) -> float:
        """Processor time that the worker has used; 0 once it is gone."""
        with suppress(OSError):
            if LINUX:
                # The process's own clock, as clock_getcpuclockid makes it from a process's number.
                return time.clock_gettime((~self._process.pid << 3) | 2)
        try:
            return sum(psutil.Process(self._process.pid).cpu_times()[:2])
        except Exception:  # it is gone, or whatever else psutil meets
            return 0.0

    def usage(self) -> UsageClock:
        """A clock of what the worker uses from now on."""
        return UsageClock(self._process.pid, self.processor_s)

    def _memory(self) -> int:
        """Bytes of memory that the worker holds; 0 once it is gone."""
        try:
            return memory_of(self._process.pid)
        except Exception:  # it is gone; or nobody says, of which the run's description of the machine says why
            return 0

    def _last_words(self) -> str:
        """How a dead worker ended: its signal or exit code, and the end of its standard error."""
        code = self._process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()[-LAST_LINES:]
        return f"{how}: {' / '.join(lines)}" if lines else how

    def kill(self) -> None:
        """End the worker and whatever it started in its process group."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
