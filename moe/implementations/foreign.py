"""Code of third parties: whatever it raises is an error of its own, and ends nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class ForeignError(RuntimeError):
    """A third party's code did what would have ended this process, or misled it; the message says what."""


@contextmanager
def contained() -> Iterator[None]:
    """Turn what is made to end a process, like `sys.exit`, into an error; only Ctrl-C stays what it is."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise ForeignError(words_of(error)) from error


def words_of(error: BaseException) -> str:
    """An error in words: what it is, and what it says of itself."""
    try:
        said = str(error)
    except Exception:
        said = "it can't be printed"
    return said if isinstance(error, ForeignError) else f"{type(error).__name__}: {said}"
