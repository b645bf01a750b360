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
from moe.edges import edge_problems
from moe.implementations.mojo_kernel import ALL_ON
from moe.parity import compare_output
from moe.reference import reference

from .assembly import assembly, lanes

pytestmark = pytest.mark.long

ALLOW = "ALLOW_NO_QEMU"
DRIVER = Path(__file__).parent / "platforms" / "driver.c"
WORD = np.dtype("<i8")
LAYER = 0  # the driver's number for moe_prepare
THREADS = (1, 3)
SETTINGS = range(16)  # of the switches


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


def all_problems() -> dict[str, moe.Problem]:
    """Every edge, and sizes that no edge has: blocks of many tiles, depths of several parts, large weights."""
    sizes = {
        "many blocks": moe.MoEConfig(tokens=500, d_model=37, d_ff=45, num_experts=3, top_k=2),
        "deep": moe.MoEConfig(tokens=7, d_model=1101, d_ff=530, num_experts=2, top_k=1),
        "parts of 64 steps": moe.MoEConfig(tokens=40, d_model=523, d_ff=701, num_experts=2, top_k=1),
    }
    return edge_problems() | {name: moe.make_problem(config) for name, config in sizes.items()}


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


def job(problem: moe.Problem, threads: int, setting: int) -> bytes:
    """What the driver reads: words, and arrays with their sizes."""
    weights = problem.weights
    sizes = [*weights.w1.shape[1:], len(weights.w1), problem.top_k, threads, setting]
    arrays = [weights.gate, weights.w1, weights.w2, problem.x]
    words = [LAYER, len(problem.x), problem.x.nbytes, len(sizes), len(arrays), *sizes]
    parts = [np.array(words, WORD).tobytes()]
    for array in arrays:
        parts += [np.array(array.nbytes, WORD).tobytes(), array.tobytes()]
    return b"".join(parts)


@pytest.mark.parametrize("target", RUN.values(), ids=RUN)
def test_the_kernel_is_right_on(mojo: str, target: Platform, tmp_path: Path) -> None:
    problems = all_problems()
    jobs = [(name, setting, threads) for name in problems for setting in SETTINGS for threads in THREADS]
    given = b"".join(job(problems[name], threads, setting) for name, setting, threads in jobs)
    answer = io.BytesIO(finished(compiled(target, tmp_path), given))

    def word() -> int:
        return int.from_bytes(answer.read(WORD.itemsize), "little")

    assert word() == target.lanes
    references = {name: reference(problem) for name, problem in problems.items()}
    bits: dict[tuple[str, int], bytes] = {}
    for name, setting, threads in jobs:
        assert word() == threads
        x = problems[name].x
        found = answer.read(x.nbytes)
        parity = compare_output(np.frombuffer(found, np.float32).reshape(x.shape), references[name])
        assert parity.passed, (name, setting, threads, parity.reason)
        assert bits.setdefault((name, setting), found) == found, (name, setting, threads)
    assert not answer.read()


@pytest.mark.parametrize("target", (RUN | COMPILED).values(), ids=RUN | COMPILED)
def test_the_register_tile_is_vectors_on(mojo: str, target: Platform) -> None:
    text = assembly(f"form_of({ALL_ON})", options=target.options)
    assert lanes(text) == target.lanes
    # A full tile has at least six tokens times two vectors of columns, in each of the 16 steps of a block.
    assert sum(lanes(line) == target.lanes for line in text.splitlines()) >= 6 * 2 * 16
