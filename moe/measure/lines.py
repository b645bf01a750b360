"""How many lines of code an implementation is, counted the same way for all."""

import ast
import inspect
import tokenize
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moe.implementations.foreign import contained
from moe.implementations.mojo_layer import MojoLayer
from moe.implementations.registry import load

LANGUAGES = {".py": "Python", ".mojo": "Mojo"}
# What every implementation stands on.
SHARED = {
    *("moe", "moe.config", "moe.form", "moe.weights", "moe.bfloat16", "moe.problem"),
    *("moe.implementations", "moe.implementations.contract", "moe.implementations.cuda"),
}
NOT_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}
# Files of the kernel that only one switch needs; the other switches are a few lines within files.
FILES_OF = {
    "tile": ("tile.mojo", "sums.mojo", "products.mojo", "gate.mojo", "packing.mojo"),
    "threads": ("pool.mojo", "cores.mojo"),
}
# Files of layers of other forms, which have no switches.
OTHER_FORMS = ("words.mojo", "knobs.mojo", "activation.mojo", "scores.mojo", "hidden.mojo")


def kernel_lines() -> dict[str, int]:
    """Lines of Mojo by the switch that they are for; `nothing` has those that the plainest kernel needs too."""
    counts = {path.name: count_lines(path) for path in MojoLayer.sources() if path.name not in OTHER_FORMS}
    found = {switch: sum(counts.pop(name) for name in files) for switch, files in FILES_OF.items()}
    return found | {"nothing": sum(counts.values())}


def lines_of(implementation: type[Any]) -> dict[str, int]:
    """Lines of code by language: its module, those of its package and this one that it imports, its `sources()`."""
    found: list[Path] = []
    _collect(Path(inspect.getfile(implementation)), ("moe", _package(implementation.__module__)), found)
    if hasattr(implementation, "sources"):
        found += implementation.sources()
    counts = Counter[str]()
    for path in found:
        counts[LANGUAGES[path.suffix]] += count_lines(path)
    return dict(counts)


def known_lines(implementation: str) -> dict[str, int]:
    """The same by name; none where a source can't be read, which is no reason not to measure it."""
    with suppress(Exception), contained():
        return lines_of(load(implementation))
    return {}


def known_kernel_lines(implementation: str) -> dict[str, int]:
    """Lines of Mojo by the switch that they are for, of the implementation that has switches; none of others."""
    with suppress(OSError):  # a source that can't be read is no reason not to measure
        return kernel_lines() if implementation == MojoLayer.name else {}
    return {}


def count_lines(path: Path) -> int:
    """Lines that hold more than a comment or a docstring; Mojo's words are near enough to Python's to tell."""
    lines: set[int] = set()
    begins = True  # a string that begins a line of code, and ends it, is a docstring
    with tokenize.open(path) as file:
        tokens = [t for t in tokenize.generate_tokens(file.readline) if t.type not in (tokenize.COMMENT, tokenize.NL)]
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        docstring = begins and token.type == tokenize.STRING and after.type == tokenize.NEWLINE
        if token.type not in NOT_CODE and not docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
        begins = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
    return len(lines)


def _collect(path: Path, packages: Sequence[str], found: list[Path]) -> None:
    """A Python file, and the files of these packages that it imports."""
    if path in found:
        return
    found.append(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and _package(node.module) in packages:
            for module in {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} - SHARED:
                if (origin := _origin(module)).suffix == ".py":
                    _collect(origin, packages, found)


def _package(module: str) -> str:
    return module.partition(".")[0]


def _origin(name: str) -> Path:
    """The file of a module; a path without a suffix where there is none, as for something inside a module."""
    with suppress(ModuleNotFoundError):
        spec = find_spec(name)
        return Path(spec.origin or "") if spec else Path()
    return Path()
