"""The kernel in a MAX graph: the same bits, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import psutil
import pytest

import moe
from moe import mojo_build
from moe.implementations.mojo_max_layer import MojoMaxLayer
from tests.conftest import require

IDLE = """
import os, time, moe
problem = moe.make_problem(moe.PRESETS["smoke"])
layer = moe.create("mojo-max", problem.weights, top_k=2, threads=2)
layer(problem.x)
cores = os.sched_getaffinity(0)
assert all(os.sched_getaffinity(int(task)) == cores for task in os.listdir("/proc/self/task"))
time.sleep(0.1)
before = time.process_time()
time.sleep(0.5)
print(time.process_time() - before)
"""


@pytest.fixture
def mojo_max() -> str:
    return require("mojo-max")


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "config", ["smoke", "seed", "seed,tokens=1", "tokens=5,d_model=37,d_ff=53,num_experts=5,top_k=3"]
)
def test_same_bits_as_without_max(mojo_max: str, config: str, threads: int) -> None:
    problem = moe.make_problem(moe.config.parse_config(config))
    outputs = [
        moe.create(name, problem.weights, top_k=problem.top_k, threads=threads)(problem.x)
        for name in ("mojo", mojo_max)
    ]
    np.testing.assert_array_equal(*outputs)


def test_threads_are_the_layers_and_end_with_it(mojo_max: str) -> None:
    problem = moe.make_problem(moe.PRESETS["smoke"])
    one = moe.create(mojo_max, problem.weights, top_k=2, threads=1)
    one(problem.x)
    before = psutil.Process().num_threads()
    three = moe.create(mojo_max, problem.weights, top_k=2, threads=3)
    assert (one.implementation.threads, three.implementation.threads) == (1, 3)
    assert psutil.Process().num_threads() == before + 2
    del three
    assert psutil.Process().num_threads() == before


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MAX is as it is")
def test_a_process_that_ran_a_graph_is_idle_after(mojo_max: str) -> None:
    result = subprocess.run([sys.executable, "-c", IDLE], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) < 0.02  # MAX left alone takes 0.05


def test_without_max_it_says_so(mojo_max: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moe.implementations.mojo_max_layer.find_spec", lambda name: None)
    available, reason = MojoMaxLayer.available()
    assert not available
    assert "MAX is not installed" in reason
    assert mojo_build.HOW_TO_INSTALL in reason
