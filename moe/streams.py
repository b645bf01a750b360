"""Standard streams for a command line: whatever they are, it goes on, and what can be printed is.

A stream may have any encoding, be closed, or have lost its reader. Files are written in UTF-8, wherever.
"""

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any, TextIO, cast

# What an encoding lacks is written as like it as ASCII can.
LIKE = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "×": "x", "·": "*", "µ": "u", "…": "...", "→": "->", "“": '"', "”": '"'}
)
ESCAPES = "moe.like"
NO_READER = (errno.EPIPE, errno.ESHUTDOWN)


def _like(error: UnicodeError) -> tuple[str | bytes, int]:
    """For an encoding's `errors`: something like what it lacks, and else the character's number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(LIKE)
    return text.encode("ascii", "backslashreplace").decode("ascii"), error.end


codecs.register_error(ESCAPES, _like)


class Lasting:
    """A stream to print on that takes any text and never raises; None is one that was closed.

    What it can't be given any more goes to `instead`, unless its reader has gone, who wants no more of it. `lost`
    says what was wrong.
    """

    def __init__(self, stream: TextIO | None, instead: "Lasting | None" = None) -> None:
        self._stream = stream
        self._instead = instead
        self.lost: Exception | None = None

    @property
    def encoding(self) -> str:
        """The stream's, by which others choose what to draw."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Print a text, at once: what is wrong with a stream is known while the text still is."""
        if self._stream is not None and self.lost is None:
            try:
                self._stream.write(text.encode(self.encoding, ESCAPES).decode(self.encoding))
                self._stream.flush()
            except (OSError, ValueError) as error:  # a ValueError where somebody has closed it
                self._give_up(error)
        if self._instead is not None and self.fails:
            self._instead.write(text)
        return len(text)

    def flush(self) -> None:
        """Nothing waits."""

    def isatty(self) -> bool:
        """Whether somebody watches."""
        with suppress(OSError, ValueError):
            return self._stream is not None and self.lost is None and self._stream.isatty()
        return False

    @property
    def fails(self) -> bool:
        """Whether somebody waits for what can't be given to it."""
        return self.lost is not None and getattr(self.lost, "errno", None) not in NO_READER

    def _give_up(self, error: Exception) -> None:
        self.lost = error
        # Python would try again at its end, and complain.
        with suppress(OSError, ValueError):
            assert self._stream is not None
            number = self._stream.fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[Lasting]:
    """Standard output, which is returned, and standard error as such streams while it lasts."""
    _occupy()
    errors = Lasting(sys.stderr)
    out = Lasting(sys.stdout, instead=errors)
    with redirect_stdout(cast("TextIO", out)), redirect_stderr(cast("TextIO", errors)):
        yield out


def _occupy() -> None:
    """Open what was closed of the three, on nothing: else the next file that is opened would be printed on."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
