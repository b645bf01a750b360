"""The direction in which data flows, as imports show it: no circle, and no floor knows of those above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import moe

ROOT = Path(moe.__file__).parent.parent
FILES = [path for folder in ("moe", "peers", "cheats") for path in ROOT.glob(f"{folder}/**/*.py")]
# What a floor of the house may not import, whenever: in a function too.
FORBIDDEN = {
    "moe.measure": ("cheats", "moe.report", "matplotlib", "seaborn", "IPython"),
    "moe.implementations": ("moe.measure", "moe.analysis", "moe.report"),
    "moe.analysis": (
        *("moe.measure", "moe.report", "matplotlib", "seaborn", "IPython"),
        "moe.implementations.availability",  # the reader's machine need not be the one that measured
    ),
    "moe.report": ("cheats",),
    "peers": ("moe.measure", "moe.analysis", "moe.report"),
    "cheats": ("moe.analysis", "moe.report"),
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in FILES}


def statements(node: ast.AST, *, late: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that run: with the module, or `late` also those in functions; not those for the type checker alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        elif late or not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from statements(child, late=late)


def imported(path: Path, *, late: bool) -> set[str]:
    """Everything that a file imports, a module's parts by their full names."""
    found = set()
    for statement in statements(ast.parse(path.read_text(encoding="utf-8")), late=late):
        prefix = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
        found |= {prefix + alias.name for alias in statement.names}
    return found


def module_of(name: str) -> str | None:
    """The module of the project that a full name is, or is in."""
    parts = name.split(".")
    return next((n for n in (".".join(parts[:i]) for i in range(len(parts), 0, -1)) if n in MODULES), None)


def test_no_circle_of_imports() -> None:
    graph = {
        name: {module for other in imported(path, late=False) if (module := module_of(other)) not in (None, name)}
        for name, path in MODULES.items()
    }
    assert "moe.run" in graph["moe.measure.bench"]  # it is read as it stands
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("floor", FORBIDDEN)
def test_a_floor_knows_nothing_of_those_above(floor: str) -> None:
    own = {name: path for name, path in MODULES.items() if name == floor or name.startswith(f"{floor}.")}
    assert own
    wrong = {
        f"{name} imports {other}"
        for name, path in own.items()
        for other in imported(path, late=True)
        if any(other == above or other.startswith(f"{above}.") for above in FORBIDDEN[floor])
    }
    assert wrong == set()
