"""The kernel on every platform that README names: compiled for each, and run here or in an emulator."""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import moe
from moe import mojo_build
from moe.edges import FORMS, edge_problems, form_problems
from moe.form import CHOICES
from moe.implementations.mojo_kernel import ALL_ON, ARRAYS, describe
from moe.parity import TOLERANCES, compare_output
from moe.reference import reference

from .agreement import the_references
from .assembly import ask_at_once, assembly, chosen, lanes
from .drawn_forms import ROUNDED_ALIKE, SIZES, drawn, rounded_alike

pytestmark = pytest.mark.long

ALLOW = "ALLOW_NO_QEMU"
DRIVER = Path(__file__).parent / "platforms" / "driver.c"
WORD = np.dtype("<i8")
PUBLISHED, ANY_FORM = range(2)  # the driver's numbers for moe_prepare and moe_prepare_form
THREADS = (1, 3)
SETTINGS = range(16)  # of the published layer's switches


@dataclass(frozen=True)
class Platform:
    """What the compiler is told, and the lanes of a vector there."""

    architecture: str
    cpu: str
    lanes: int
    system: str = "unknown-linux-gnu"

    @property
    def options(self) -> tuple[str, ...]:
        return "--target-triple", f"{self.architecture}-{self.system}", "--target-cpu", self.cpu


RUN = {
    "SSE": Platform("x86_64", "x86-64", 4),
    "AVX2": Platform("x86_64", "x86-64-v3", 8),
    "NEON": Platform("aarch64", "neoverse-n1", 4),
}
COMPILED = {
    "AVX-512": Platform("x86_64", "x86-64-v4", 16),
    "macOS": Platform("arm64", "apple-m1", 4, "apple-macosx13.0"),
}
TILES = {"published": f"form_of({ALL_ON})", "gated, bfloat16": "Form(is_gated=True, words=BFLOAT16)"}


@dataclass(frozen=True)
class Case:
    """A problem, and for the published layer the setting of its switches; other forms have none."""

    name: str
    problem: moe.Problem
    switches: int | None = None

    def job(self, threads: int) -> bytes:
        """What the driver reads: words, and arrays with their sizes."""
        weights, x = self.problem.weights, self.problem.x
        arrays = weights.arrays()
        if self.switches is None:
            described = describe(arrays, weights.form, top_k=self.problem.top_k, threads=threads)
            entry, sizes = ANY_FORM, described[len(ARRAYS) :].tolist()
            given = [arrays[name].tobytes() if name in arrays else b"" for name in ARRAYS]
        else:
            own = (weights.d_model, weights.d_ff, weights.num_experts, self.problem.top_k)
            entry, sizes = PUBLISHED, [*own, threads, self.switches]
            given = [array.tobytes() for array in arrays.values()]
        words = [entry, len(x), x.nbytes, len(sizes), len(given) + 1, *sizes]
        parts = [np.array(words, WORD).tobytes()]
        for contents in (*given, x.tobytes()):
            parts += [np.array(len(contents), WORD).tobytes(), contents]
        return b"".join(parts)

    def error(self, output: bytes) -> tuple[float, float]:
        """How far an output is from the reference, and how far it may be; in bfloat16 from one that rounds alike."""
        y = np.frombuffer(output, np.float32).reshape(self.problem.x.shape)
        if self.problem.weights.form.precision == "bfloat16":
            with rounded_alike():
                return compare_output(y, reference(self.problem)).max_rel_error, ROUNDED_ALIKE
        known = the_references.of(("on platforms", self.name), self.problem)
        return compare_output(y, known).max_rel_error, TOLERANCES["float32"].largest


def published() -> list[Case]:
    """Every edge, and sizes that no edge has: blocks of many tiles, depths of several parts, large weights."""
    sizes = {
        "many blocks": moe.MoEConfig(tokens=500, d_model=37, d_ff=45, num_experts=3, top_k=2),
        "deep": moe.MoEConfig(tokens=7, d_model=1101, d_ff=530, num_experts=2, top_k=1),
        "parts of 64 steps": moe.MoEConfig(tokens=40, d_model=523, d_ff=701, num_experts=2, top_k=1),
    }
    problems = edge_problems() | {name: moe.make_problem(config) for name, config in sizes.items()}
    return [Case(name, problem, switches) for name, problem in problems.items() for switches in SETTINGS]


def forms() -> list[Case]:
    """Every edge of every form; and drawn forms with each expert in each precision, at all of their sizes."""
    edges = [Case(f"{form}: {edge}", p) for form in FORMS for edge, p in form_problems(form).items()]
    experts = [(e, p) for e in CHOICES["expert"] for p in CHOICES["precision"]]
    drawn_ones = [
        Case(f"{expert} in {precision}, seed {seed}", drawn(seed, expert=expert, precision=precision))
        for expert, precision in experts
        for seed in range(len(SIZES))
    ]
    return edges + drawn_ones


def needed(command: str, package: str) -> str:
    """The command's path; without it the test fails, or is skipped where that is allowed."""
    if found := shutil.which(command):
        return found
    reason = f"{command} not found; on Debian and Ubuntu: apt-get install {package}"
    if os.environ.get(ALLOW) == "1":
        pytest.skip(f"{reason}; {ALLOW}=1 allows that")
    pytest.fail(f"{reason}. To test without it: {ALLOW}=1", pytrace=False)


def tools(target: Platform) -> tuple[list[str], list[str]]:
    """Commands that link a program for a platform, and that run it; another architecture takes an emulator."""
    if (platform.system(), platform.machine()) == ("Linux", target.architecture):
        return [needed("cc", "gcc libc6-dev")], []
    name = target.architecture.replace("_", "-")  # as Debian writes it
    compiler = needed(f"{target.architecture}-linux-gnu-gcc", f"gcc-{name}-linux-gnu")
    # Linked statically, so that the emulator finds all of the program in one file.
    return [compiler, "-static"], [needed(f"qemu-{target.architecture}-static", "qemu-user-static")]


def compiled(target: Platform, folder: Path) -> list[str]:
    """The command that runs the driver with the kernel's object for a platform."""
    link, run = tools(target)
    toolchain = mojo_build.find_toolchain()
    kernel, program = folder / "moe_kernel.o", folder / "driver"
    command = [str(toolchain.command), "build", "--Werror", "--emit", "object", *target.options]
    finished([*command, str(mojo_build.SOURCE / mojo_build.KERNEL), "-o", str(kernel)], b"")
    finished([*link, str(DRIVER), str(kernel), "-o", str(program), "-pthread", "-lm"], b"")
    return [*run, str(program)]


def finished(command: list[str], given: bytes) -> bytes:
    """What a command writes; one that fails says why."""
    result = subprocess.run(command, input=given, capture_output=True, timeout=300, check=False)
    assert result.returncode == 0, (result.returncode, result.stderr.decode(errors="replace"))
    return result.stdout


@pytest.mark.parametrize("target", RUN.values(), ids=RUN)
def test_the_kernel_is_right_on(mojo: str, target: Platform, tmp_path: Path) -> None:
    cases = published() + forms()
    given = b"".join(case.job(threads) for case in cases for threads in THREADS)
    answer = io.BytesIO(finished(compiled(target, tmp_path), given))

    def word() -> int:
        return int.from_bytes(answer.read(WORD.itemsize), "little")

    assert word() == target.lanes
    for case in cases:
        outputs = []
        for threads in THREADS:
            assert word() == threads
            outputs.append(answer.read(case.problem.x.nbytes))
        assert outputs[0] == outputs[1], (case.name, case.switches)
        error, allowed = case.error(outputs[0])
        assert error <= allowed, (case.name, case.switches, error)
    assert not answer.read()


def tile_of(target: Platform, form: str) -> str:
    return assembly(form, options=target.options)


@pytest.fixture(scope="module")
def tiles(request: pytest.FixtureRequest) -> None:
    """All that are looked at, compiled side by side."""
    ask_at_once(tile_of, chosen(request, "test_the_register_tile_is_vectors_on", "target", "form"))


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("form", TILES.values(), ids=TILES)
@pytest.mark.parametrize("target", (RUN | COMPILED).values(), ids=RUN | COMPILED)
def test_the_register_tile_is_vectors_on(mojo: str, target: Platform, form: str) -> None:
    text = tile_of(target, form)
    assert lanes(text) == target.lanes
    # A full tile has at least six tokens times two vectors of columns, in each of the 16 steps of a block.
    assert sum(lanes(line) == target.lanes for line in text.splitlines()) >= 6 * 2 * 16
