"""Code of third parties: whatever it raises is an error of its own, and ends nothing else."""

import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import extract_tb

# Where the standard library, what was installed, and this package lie.
BROUGHT = {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")} | {
    Path(__file__).resolve().parent.parent
}


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
    """An error in words: what it is, what it says of itself, and where in a third party's file it came about."""
    try:
        said = str(error)
    except Exception:
        said = "it can't be printed"
    if isinstance(error, ForeignError):
        return said
    return f"{type(error).__name__}: {said}" + (f" ({place})" if (place := place_of(error)) else "")


def place_of(error: BaseException) -> str:
    """The last line that ran in a file which neither Python, a library nor this package brought; may be nothing."""
    own = [frame for frame in extract_tb(error.__traceback__) if not _is_brought(Path(frame.filename))]
    return f"{Path(own[-1].filename).name}, line {own[-1].lineno}: {own[-1].line}" if own else ""


def _is_brought(path: Path) -> bool:
    return not path.is_file() or any(path.is_relative_to(folder) for folder in BROUGHT)
