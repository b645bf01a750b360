"""Classes from files of one's own, `path/to/file.py:Class`, each of which can import what lies beside it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from moe.variant import OWN_FILE

PREFIX = "moe_file_"  # of the names of their modules, which are nobody else's whatever the files are called

_folder = ""  # beside whose files imports look now
_found: dict[str, dict[str, ModuleType]] = {}  # what was imported from beside the files of other folders


def own_file(name: str) -> tuple[Path, str] | None:
    """The file and the class that a name means; None for a name of another form."""
    match = OWN_FILE.fullmatch(name)
    return (Path(match["path"]).resolve(), match["cls"]) if match else None


def load_file(path: Path) -> ModuleType:
    """A file's module, executed anew, with imports that look beside it from now on."""
    look_beside(path)
    name = PREFIX + sha256(os.fsencode(path)).hexdigest()[:16]
    spec = spec_from_file_location(name, path)
    assert spec is not None  # true of every file that ends in .py
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Dataclasses and pickles look their module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def look_beside(path: Path | None) -> None:
    """Have imports look beside a file, or beside none.

    Its folder comes last, so that nothing in it takes a library's place, and without those of other files, in which
    there may be modules of the same names.
    """
    global _folder
    folder = str(path.parent) if path else ""
    if folder == _folder:
        return
    if _folder:
        _found[_folder] = {name: sys.modules.pop(name) for name in _imported_from(_folder)}
        sys.path[:] = [place for place in sys.path if place != _folder]
    _folder = "" if folder in map(os.path.abspath, sys.path) else folder
    if _folder:
        sys.path.append(_folder)
        sys.modules.update(_found.pop(_folder, {}))


@contextmanager
def looking_beside(path: Path | None) -> Iterator[None]:
    """The same for as long as that lasts."""
    before = _folder
    look_beside(path)
    try:
        yield
    finally:
        look_beside(Path(before) / "file" if before else None)


def forget_beside() -> None:
    """Have what lies beside files imported anew: it may have been edited."""
    look_beside(None)
    _found.clear()


def import_path() -> list[str]:
    """Where this process looks for modules, whatever folder it is in; what lies beside a file comes with the file."""
    places = [place for place in sys.path if not _folder or place != _folder]
    # What is no place in the file system means something to somebody else's import hook.
    return [os.path.abspath(place) if os.path.exists(place or ".") else place for place in places]


def _imported_from(folder: str) -> list[str]:
    """The modules that lie in a folder, with all that is inside them."""
    tops = {name: module for name, module in sys.modules.items() if "." not in name and not name.startswith(PREFIX)}
    own = {name for name, module in tops.items() if os.path.dirname(_place_of(module)) == folder}
    return [name for name in sys.modules if name.partition(".")[0] in own - {"__main__"}]


def _place_of(module: object) -> str:
    """A package's folder, or the file of another module; nothing where there is none."""
    known = vars(module) if isinstance(module, ModuleType) else {}
    return str(next(iter(known.get("__path__") or ()), known.get("__file__") or ""))
