"""Where what can be made again is kept: compiled kernels, and what libraries that draw keep for themselves.

`$MOE_CACHE` where it is set, and nowhere else; without it the user's cache folder, or, where nothing can be written
there, a folder of this user's own among temporary files.
"""

import getpass
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

VARIABLE = "MOE_CACHE"


class Place(NamedTuple):
    """A folder to keep things in, and whether it lies in one that everybody may write in."""

    folder: Path
    among_others: bool = False


def kept_folders(name: str) -> list[Path]:
    """Where a folder of this name may be, the best place first; none that somebody else could have filled."""
    return [place.folder / name for place in _places() if not place.among_others or _is_private(place.folder)]


def usable_folder(name: str) -> Path:
    """The first place's folder that can be written in, and libraries loaded from; made where it was not.

    Raises OSError that says what was tried, and which variable names another place.
    """
    folder, tried = try_folders(name)
    if folder is None:
        what = "; ".join(tried) or "there is neither a home folder nor one for temporary files"
        raise OSError(f"{what}; set {VARIABLE} to a folder that can be written in")
    return folder


def try_folders(name: str) -> tuple[Path | None, list[str]]:
    """The first place's folder that can be used, if any, and what is wrong with those before it."""
    tried = []
    for place in _places():
        folder = place.folder / name
        try:
            _require_usable(place, folder)
        except OSError as error:
            tried.append(f"{folder}: {error.strerror or error}")
        else:
            return folder, tried
    return None, tried


def settle() -> None:
    """Give a user whom the system does not know a name, and a home among temporary files where HOME names none.

    Libraries look for both in places that nobody would guess, and raise where there is neither.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        os.environ["LOGNAME"] = f"user-{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        with suppress(OSError):
            os.environ["HOME"] = str(usable_folder("home"))


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock beside a file, so that of several processes one makes it and the others wait.

    Some file systems have no locks: there several may make it at once, and each has to put it in its place whole.
    """
    from filelock import FileLock  # which only building needs

    with ExitStack() as held:
        with suppress(OSError, NotImplementedError):
            held.enter_context(FileLock(f"{path}.lock"))
        yield


def _places() -> list[Place]:
    if named := os.environ.get(VARIABLE):
        return [Place(Path(named))]
    from platformdirs import user_cache_path

    places = []
    with suppress(RuntimeError):  # without HOME, for a user whom the system does not know
        places.append(Place(user_cache_path("moe")))
    with suppress(OSError):
        places.append(Place(Path(tempfile.gettempdir()) / f"moe-{os.getuid()}", among_others=True))
    return places


def _require_usable(place: Place, folder: Path) -> None:
    """Make a place's folder where there is none; raises OSError unless it can be used."""
    place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.among_others and not _is_private(place.folder):
        raise PermissionError("it is not this user's alone")
    folder.mkdir(exist_ok=True)
    if os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0):
        raise PermissionError("libraries in it can't be loaded (it is mounted noexec)")
    with tempfile.TemporaryFile(dir=folder):
        pass


def _is_private(folder: Path) -> bool:
    """Whether a folder is there and this user's, and nobody else can write in it."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & others
