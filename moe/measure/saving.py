"""A run's file while the run grows: whole at every moment, cheap to keep, and elsewhere where there is no room."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moe.run import Run, RunFileError

SHARE = 0.02  # of a run's time: the most that saving it takes
SAMPLE_BYTES = 22  # that a sample takes in a file, about
ROWS_BYTES = 2**16  # what a first file is taken to hold at least: the less is written, the less its time says


class RunEndedError(OSError):
    """A run that ended early or could not be saved; the message says why, `run` has what was measured."""

    def __init__(self, run: Run, message: str) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[type["RunEndedError"], tuple[Run, str]]:
        """For a cluster's worker, which sends it."""
        return RunEndedError, (self.run, str(self))


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C, after what was measured was saved; `run` has it, and so has the file at `path`, if there is one."""

    def __init__(self, run: Run, path: Path | None) -> None:
        super().__init__()
        self.run = run
        self.path = path


class Saving:
    """A run, the file at `path` if there is one, and when it was saved last."""

    def __init__(self, run: Run, path: Path | None, every_s: float = 0.0) -> None:
        self.run = run
        self.path = path
        self._every_s = every_s
        self._before_s = run.elapsed_s
        self._begun = time.monotonic()
        self._saved_at = 0.0
        self._took_s = self._spent_s = 0.0  # the last time, and in all
        self._samples = 0

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Save the run at once, so that a file that can't be written is found out, and however it ends.

        Raises RunInterrupted for Ctrl-C, and RunEndedError for what the system refused meanwhile or at the end.
        """
        self._save()
        ended: BaseException | None = None
        try:
            yield
        except BaseException as error:
            ended = error
        self._save_somewhere()
        if isinstance(ended, KeyboardInterrupt):
            raise RunInterrupted(self.run, self.path) from None
        if isinstance(ended, (OSError, MemoryError)):
            raise RunEndedError(self.run, f"measuring has ended early: {ended}") from ended
        if ended is not None:
            raise ended

    def save_if_due(self) -> None:
        """Save the run, unless it was saved not long ago or its share of the time so far would not do.

        There has to be as much left for the end. Where saving fails, there may be room later.
        """
        now = time.monotonic()
        left_s = SHARE * (now - self._begun) - self._spent_s
        if self.path is None or now - self._saved_at < self._every_s:
            return
        grown = 1 + SAMPLE_BYTES * (self._count() - self._samples) / (ROWS_BYTES + SAMPLE_BYTES * self._samples)
        if left_s < 2 * grown * self._took_s:
            return
        try:
            self._save()
        except OSError:
            self._spent_s += time.monotonic() - now

    def _count(self) -> int:
        return sum(len(turn) for m in self.run.measurements for turn in m.samples_s)

    def _save(self) -> None:
        started = time.monotonic()
        self.run.elapsed_s = self._before_s + started - self._begun
        if self.path is not None:
            self.run.save(self.path, force=True)
            self._samples = self._count()
            self._saved_at = time.monotonic()
            self._took_s = self._saved_at - started
            self._spent_s += self._took_s

    def _save_somewhere(self) -> None:
        """Save the run, in another folder if there is no room where it should be; raises RunEndedError then."""
        try:
            self._save()
        except OSError as error:
            where = self._elsewhere()
            kept = f"the run is in {where}" if where else "there is no room elsewhere either"
            raise RunEndedError(
                self.run, f"{self.path} can't be written ({error.strerror or error}): {kept}"
            ) from error

    def _elsewhere(self) -> Path | None:
        assert self.path is not None
        for folder in (tempfile.gettempdir, os.getcwd, lambda: os.path.expanduser("~")):
            try:
                other = Path(folder(), f"{self.path.stem}-{os.getpid()}.json")
                self.run.save(other)
            except (OSError, RunFileError):
                continue
            return other
        return None
