"""The kernel beyond the contract: its own tests, its bits, its threads and its memory."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest

import moe
from moe import mojo_build
from moe.check import check_layer

from .assembly import ask_at_once, chosen

NATIVE_TESTS = sorted(mojo_build.SOURCE.glob("test_*.mojo"))


def test_there_are_native_tests() -> None:
    assert len(NATIVE_TESTS) >= 4


@cache
def run_native(path: Path) -> subprocess.CompletedProcess[str]:
    toolchain = mojo_build.find_toolchain()
    # New memory is NaN here: what is read before it is written shows in the result.
    command = [
        str(toolchain.command),
        "run",
        "--Werror",
        "-D",
        "POISON=true",
        "-I",
        str(mojo_build.SOURCE),
        str(path),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def natives(request: pytest.FixtureRequest) -> None:
    """All of the kernel's own tests that are going to run, side by side."""
    ask_at_once(run_native, chosen(request, "test_native", "path"))


@pytest.mark.long
@pytest.mark.usefixtures("natives")
@pytest.mark.parametrize("path", NATIVE_TESTS, ids=lambda path: path.stem)
def test_native(mojo: str, path: Path) -> None:
    result = run_native(path)
    output = result.stdout + result.stderr
    assert result.returncode == 0, output
    assert " 0 failed" in output, output
    assert " 0 passed" not in output, output


@pytest.mark.long
def test_docstrings_are_complete(mojo: str) -> None:
    toolchain = mojo_build.find_toolchain()
    command = [
        str(toolchain.command),
        "doc",
        "--diagnose-missing-doc-strings",
        "--Werror",
        "-I",
        str(mojo_build.SOURCE),
    ]

    def diagnose(path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, str(path), "-o", os.devnull], capture_output=True, text=True, check=False)

    files = {*mojo_build.sources(), *mojo_build.package_sources(), mojo_build.SOURCE / "bench_layer.mojo"}
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(diagnose, files):
            assert result.returncode == 0, result.stderr


@pytest.mark.long
def test_the_benchmark_compiles(mojo: str, tmp_path: Path) -> None:
    toolchain = mojo_build.find_toolchain()
    command = [str(toolchain.command), "build", "--Werror", "-I", str(mojo_build.SOURCE)]
    command += [str(mojo_build.SOURCE / "bench_layer.mojo"), "-o", str(tmp_path / "bench")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    "config",
    ["smoke", "small", "seed", "seed,tokens=16", "seed,skew=70", "tokens=5,d_model=37,d_ff=53,num_experts=5,top_k=3"],
)
def test_same_bits_on_any_number_of_threads(mojo: str, config: str) -> None:
    problem = moe.make_problem(moe.config.parse_config(config))
    layers = [moe.create(mojo, problem.weights, top_k=problem.top_k, threads=t) for t in (1, 2, 3)]
    outputs = [layer(problem.x) for layer in layers for _ in range(3)]
    for other in outputs[1:]:
        np.testing.assert_array_equal(outputs[0], other)


def test_more_tokens_than_a_chunk_holds(mojo: str) -> None:
    # 40 MiB of outputs wait at most; a row is padded to a panel of at least 16 floats, so no chunk holds 330,000.
    problem = moe.make_problem(moe.MoEConfig(tokens=340_000, d_model=3, d_ff=4, num_experts=3, top_k=2))
    parity = check_layer(moe.create(mojo, problem.weights, top_k=2, threads=2), problem)
    assert parity.passed, parity.reason


def test_two_python_threads_may_share_a_layer(mojo: str) -> None:
    problem = moe.make_problem(moe.PRESETS["smoke"])
    layer = moe.create(mojo, problem.weights, top_k=2, threads=2)
    inputs = [problem.x, -problem.x]
    expected = [layer(x) for x in inputs]
    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(lambda i: layer(inputs[i % 2]), range(400)))
    for i, y in enumerate(outputs):
        np.testing.assert_array_equal(y, expected[i % 2])


def test_one_expert_taking_all_is_cut_into_blocks(mojo: str) -> None:
    problem = moe.make_problem(moe.MoEConfig(tokens=500, d_model=40, d_ff=70, num_experts=3, top_k=1))
    gate = np.zeros_like(problem.weights.gate)
    skewed = moe.Problem(moe.Weights(gate, problem.weights.w1, problem.weights.w2), problem.x, 1)
    parity = check_layer(moe.create(mojo, skewed.weights, top_k=1, threads=2), skewed)
    assert parity.passed, parity.reason


@pytest.mark.long
def test_the_kernels_own_memory_does_not_grow_with_tokens(mojo: str) -> None:
    program = (
        "import numpy as np, psutil, moe\n"
        "from moe.measure.worker import peak_rss_bytes\n"
        "problem = moe.make_problem(moe.PRESETS['smoke'].with_tokens(1))\n"
        "moe.create('mojo', problem.weights, top_k=2)(problem.x)\n"
        "weights = moe.make_problem(moe.PRESETS['seed'].with_tokens(1)).weights\n"
        "x = np.random.default_rng(0).standard_normal((262_144, 256), dtype=np.float32)\n"
        "before = psutil.Process().memory_info().rss\n"
        "packed = weights.w1.nbytes + weights.w2.nbytes\n"
        "y = moe.create('mojo', weights, top_k=2, threads=2)(x)\n"
        "print(peak_rss_bytes() - before - packed - y.nbytes)\n"
    )
    own = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert 10e6 < int(own) < 64e6  # the experts' outputs of a chunk alone are 40 MiB


def test_the_layer_keeps_no_reference_to_the_weights(mojo: str) -> None:
    problem = moe.make_problem(moe.PRESETS["smoke"])
    weights = [weakref.ref(a) for a in (problem.weights.gate, problem.weights.w1, problem.weights.w2)]
    layer = moe.create(mojo, problem.weights, top_k=2)
    x = problem.x
    del problem
    assert [ref() for ref in weights] == [None, None, None]
    assert np.isfinite(layer(x)).all()


def threads_of_this_process() -> int:
    return psutil.Process().num_threads()


def test_threads_are_started_in_prepare_and_ended_with_the_layer(mojo: str) -> None:
    problem = moe.make_problem(moe.PRESETS["smoke"])
    before = threads_of_this_process()
    one = moe.create(mojo, problem.weights, top_k=2, threads=1)
    one(problem.x)
    assert threads_of_this_process() == before
    three = moe.create(mojo, problem.weights, top_k=2, threads=3)
    assert three.implementation.threads == 3
    assert threads_of_this_process() == before + 2
    three(problem.x)
    assert threads_of_this_process() == before + 2
    del three
    assert threads_of_this_process() == before


def test_an_idle_layer_uses_no_cpu(mojo: str) -> None:
    program = (
        "import time, moe\n"
        "problem = moe.make_problem(moe.PRESETS['smoke'])\n"
        "layer = moe.create('mojo', problem.weights, top_k=2, threads=4)\n"
        "layer(problem.x)\n"
        "time.sleep(0.1)\n"
        "used = time.process_time()\n"
        "time.sleep(0.5)\n"
        "print(time.process_time() - used)\n"
    )
    used = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    # Three spinning threads would use up to 1.5 s, one of them 0.5 s.
    assert float(used) < 0.25


def test_a_mojo_worker_imports_neither_torch_nor_pandas(mojo: str) -> None:
    program = (
        "import sys, moe\n"
        "problem = moe.make_problem(moe.PRESETS['smoke'])\n"
        "moe.create('mojo', problem.weights, top_k=2)(problem.x)\n"
        "moe.create('numpy', problem.weights, top_k=2)(problem.x)\n"
        "print({'torch', 'scipy', 'pandas', 'matplotlib', 'seaborn', 'IPython'} & set(sys.modules))\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "set()"
