"""The kernel's assembly, here or for another processor."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from moe import mojo_build

ONE_FORWARD = """
from form import Form, form_of
from forward import forward, work_on_layer
from layer import Model
from pool import Pool
from vectors import Floats
from words import BFLOAT16, PAIRS

comptime FORM = {form}


@export
def one_forward(model: Int, pool: Int, x: Int, y: Int, tokens: Int) abi("C"):
    forward[FORM](
        Model[FORM](unsafe_from_address=model),
        Pointer[Pool[work_on_layer[FORM]], MutUntrackedOrigin](unsafe_from_address=pool)[],
        Floats(unsafe_from_address=x),
        Floats(unsafe_from_address=y),
        tokens,
    )
"""
# Apple's assemblers write fmla.4s v0, v1, v2 for fmla v0.4s, v1.4s, v2.4s.
APPLE = re.compile(r"^(\s+\w+)\.(\d+[bhsd])(\s+v\d+)", re.M)

# Before AVX2 a product is an instruction of its own.
MULTIPLY_ADD = re.compile(r"^\s+(?:vfmadd|fmla|fmadd|mul[ps]s)")
REGISTERS = {r"ss\b|\bs\d": 1, r"ps\b.*%xmm|v\d+\.4s": 4, r"%ymm": 8, r"%zmm": 16}


@cache
def assembly(form: str, sources: Path = mojo_build.SOURCE, options: tuple[str, ...] = ()) -> str:
    """The instructions of a forward in a form, an expression of Mojo's; `options` of the compiler name a platform."""
    toolchain = mojo_build.find_toolchain()
    with TemporaryDirectory() as folder:
        source, output = Path(folder) / "one_forward.mojo", Path(folder) / "one_forward.s"
        source.write_text(ONE_FORWARD.format(form=form))
        command = [str(toolchain.command), "build", "--Werror", "--emit", "asm", *options, "-I", str(sources)]
        result = subprocess.run(
            [*command, str(source), "-o", str(output)],
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stderr
        return APPLE.sub(r"\1\3.\2", output.read_text())


def ask_at_once(ask: Callable[..., Any], asked: Iterable[tuple[Any, ...]]) -> None:
    """Ask what is remembered, two at a time; one that fails does so again when it is used."""
    with ThreadPoolExecutor(2) as pool:
        for arguments in asked:
            pool.submit(ask, *arguments)


def chosen(request: pytest.FixtureRequest, test: str, *names: str) -> list[tuple[Any, ...]]:
    """The parameters of a test wherever it is going to run."""
    items = [item for item in request.session.items if getattr(item, "originalname", "") == test]
    return [tuple(item.callspec.params[name] for name in names) for item in items]  # type: ignore[attr-defined]


def lanes(text: str) -> int:
    """Floats that the widest multiply-add takes at once."""
    widest = 1
    for line in text.splitlines():
        if MULTIPLY_ADD.match(line):
            widest = max([widest, *(count for register, count in REGISTERS.items() if re.search(register, line))])
    return widest
