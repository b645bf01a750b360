"""What stands beside the time: lines of code, and the cost of an empty call."""

from __future__ import annotations

import importlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from moe.implementations import names
from moe.implementations.registry import REGISTRY, load
from moe.measure.boundary import CALLS_INTO, measure_calls
from moe.measure.lines import OTHER_FORMS, count_lines, kernel_lines, known_kernel_lines, lines_of
from moe.mojo_build import SOURCE, sources

PYTHON = '''"""Docstring,
two lines."""

import os  # counts

# does not


def f():
    """Docstring."""
    text = """two
lines"""
    return (text,
            os)
'''
MOJO = '''"""Docstring."""

comptime LANES = 8
"""What it is."""


struct Thing:
    """Docstring."""

    var x: Int
    """Field."""

    def double(deinit self) -> Int:
        return 2 * self.x^  # a transfer
'''


@pytest.mark.parametrize(("name", "text", "lines"), [("a.py", PYTHON, 6), ("a.mojo", MOJO, 5)])
def test_comments_docstrings_and_blank_lines_are_no_code(tmp_path: Path, name: str, text: str, lines: int) -> None:
    (tmp_path / name).write_text(text)
    assert count_lines(tmp_path / name) == lines


def test_an_implementations_lines_are_its_modules_and_what_it_imports_here() -> None:
    package = Path(load("numpy").available.__code__.co_filename).parent
    numpy, torch, naive, mojo = (lines_of(load(name)) for name in ("numpy", "torch", "torch-naive", "mojo"))
    assert numpy == {"Python": sum(count_lines(package / f"numpy_{part}.py") for part in ("layer", "common"))}
    common = sum(count_lines(package / f"torch_{part}.py") for part in ("common", "experts", "router"))
    assert torch == {"Python": common + count_lines(package / "torch_layer.py")}
    assert naive["Python"] > common
    probes = SOURCE / "probes.mojo"
    assert mojo["Mojo"] == sum(map(count_lines, sources())) - count_lines(probes)
    assert mojo["Python"] > count_lines(package / "mojo_layer.py")
    for_c, for_max = SOURCE / "moe_kernel.mojo", SOURCE / "max_op.mojo"
    in_max = lines_of(load("mojo-max"))["Mojo"]
    assert in_max == mojo["Mojo"] - count_lines(for_c) + count_lines(for_max)


def test_the_kernels_lines_are_shared_out_among_its_switches() -> None:
    found = kernel_lines()
    assert set(found) == {"nothing", "tile", "threads"}
    own = [path for path in load("mojo").sources() if path.name not in OTHER_FORMS]
    assert sum(found.values()) == sum(map(count_lines, own))
    assert {path.name for path in load("mojo").sources()} >= set(OTHER_FORMS)
    assert known_kernel_lines("mojo") == found
    assert known_kernel_lines("numpy") == {}


def test_somebody_elses_implementation_has_lines_too() -> None:
    assert lines_of(load(f"{Path(__file__).with_name('misbehaving.py')}:Wrong"))["Python"] > 50


def test_a_packages_own_modules_are_its_implementations_lines_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peers = Path(__file__).resolve().parent.parent / "peers"
    numba = count_lines(peers / "numba_layer.py") + count_lines(peers / "numba_kernel.py")
    assert lines_of(load("numba")) == {"Python": numba}
    package = tmp_path / "theirs_in_parts"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / f"compiled{EXTENSION_SUFFIXES[0]}").write_bytes(b"\xff")
    (package / "product.py").write_text("def multiply(a, b):\n    return a @ b\n")
    (package / "layer.py").write_text(
        "from theirs_in_parts.product import multiply\ndef load():\n    from theirs_in_parts import compiled\n"
        "class Layer:\n    multiply = multiply\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    layer = importlib.import_module("theirs_in_parts.layer")
    assert lines_of(layer.Layer) == {"Python": 5 + 2}


def test_every_implementation_has_a_boundary() -> None:
    assert {entry.library for entry in REGISTRY.values()} - {""} == set(CALLS_INTO) - {"mojo layer"}
    assert all(REGISTRY[name].library for name in names())


@pytest.mark.long
@pytest.mark.parametrize("library", list(CALLS_INTO))
def test_calls_are_measured(library: str, mojo: str) -> None:
    found = measure_calls(library)
    assert [call["call"] for call in found] == list(CALLS_INTO[library]())
    for call in found:
        assert len(call["seconds"]) >= 5
        assert min(call["seconds"]) > 0


def test_the_layers_smallest_forward_can_be_called(mojo: str) -> None:
    (call,) = CALLS_INTO["mojo layer"]().values()
    assert call().shape == (1, 1)
