"""The kernel at every form of a layer: right, the same bits on any number of threads, no token disturbing another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import moe
from moe import reference
from moe.check import check_layer
from moe.form import CHOICES
from moe.implementations import NotAvailableError
from moe.implementations.mojo_kernel import SWITCHES
from moe.parity import compare_output

from .assembly import assembly
from .drawn_forms import ROUNDED_ALIKE, drawn, rounded_alike

# What a driver of a few lines stands in for, on processors that are emulated.
RUNTIME = {f"KGEN_CompilerRT_{name}" for name in ("AlignedAlloc", "AlignedFree", "GetStackTrace", "fprintf")}
# A tile's six rows, four vectors and sixteen steps.
WHOLE_TILE = 6 * 4 * 16


def layer(problem: moe.Problem, threads: int = 1) -> Any:
    return moe.create("mojo", problem.weights, top_k=problem.top_k, threads=threads)


@pytest.mark.parametrize("precision", CHOICES["precision"])
@pytest.mark.parametrize("expert", CHOICES["expert"])
def test_drawn_forms(mojo: str, expert: str, precision: str) -> None:
    for seed in range(25):
        problem = drawn(seed, expert=expert, precision=precision)
        parity = check_layer(layer(problem), problem)
        assert parity.passed, (seed, problem.weights.form, parity.reason)


@pytest.mark.parametrize("expert", CHOICES["expert"])
def test_bfloat16_rounds_hidden_activations_and_nothing_else(mojo: str, expert: str) -> None:
    for seed in range(25):
        problem = drawn(seed, expert=expert, precision="bfloat16")
        with rounded_alike():
            parity = compare_output(layer(problem)(problem.x), reference.reference(problem))
        assert parity.max_rel_error < ROUNDED_ALIKE, (seed, problem.weights.form)


@pytest.mark.parametrize("precision", CHOICES["precision"])
def test_same_bits_on_any_number_of_threads(mojo: str, precision: str) -> None:
    for seed in range(20):
        problem = drawn(seed, precision=precision)
        one = layer(problem)(problem.x)
        for threads in (2, 3):
            again = layer(problem, threads)(problem.x)
            np.testing.assert_array_equal(one, again, err_msg=f"{seed} {problem.weights.form}")


@pytest.mark.parametrize("precision", CHOICES["precision"])
def test_a_token_with_nan_or_inf_changes_no_other(mojo: str, precision: str) -> None:
    for seed in range(20):
        problem = drawn(seed, precision=precision)
        computed = layer(problem, 2)
        clean = computed(problem.x)
        for value, token in ((np.nan, 0), (np.inf, len(clean) // 2), (-np.inf, len(clean) - 1)):
            spoiled = problem.x.copy()
            spoiled[token, -1] = value
            y = computed(spoiled)
            assert np.isnan(y[token]).all(), (seed, problem.weights.form)
            np.testing.assert_array_equal(np.delete(y, token, 0), np.delete(clean, token, 0))


def test_more_tokens_than_a_chunk_holds(mojo: str) -> None:
    # 40 MiB of outputs wait at most, a row for each expert of a token and one more for the shared expert.
    config = moe.MoEConfig(340_000, 3, 4, 3, 2, expert="swiglu", shared_d_ff=2, shared_gate=True)
    problem = moe.make_problem(config)
    parity = check_layer(layer(problem, 2), problem)
    assert parity.passed, parity.reason


@pytest.mark.parametrize("off", [*SWITCHES, "specialize"])
def test_switches_are_of_the_default_form(mojo: str, off: str) -> None:
    problem = drawn(0, expert="swiglu")
    value = "on" if off == "specialize" else "off"
    with pytest.raises(NotAvailableError, match="switches are of the default form"):
        moe.create(f"mojo[{off}={value}]", problem.weights, top_k=problem.top_k)


def inner_loops(assembly: str) -> Iterator[list[str]]:
    """The instructions of loops that jump back to their beginning and hold no other such loop."""
    begin: dict[str, int] = {}
    lines = assembly.splitlines()
    last = -1
    for number, line in enumerate(lines):
        if label := re.match(r"(\.L\w+):", line):
            begin[label[1]] = number
        elif (jump := re.match(r"\s+j\w+\s+(\.L\w+)", line)) and begin.get(jump[1], -1) > last:
            last = begin[jump[1]]
            yield [text.strip() for text in lines[last:number]]


@pytest.mark.long  # as what else is read from the assembly: some 10 s of compiling for each
@pytest.mark.parametrize("gated", [False, True])
def test_pairs_of_bfloat16_are_multiplied_without_spilling(mojo: str, gated: bool) -> None:
    """Compiled for a processor that has the instruction, whatever this one has."""
    target = ("--target-triple", "x86_64-unknown-linux-gnu", "--target-cpu", "znver4")
    text = assembly(f"Form(is_gated={gated}, words=PAIRS)", options=target)
    assert set(re.findall(r"KGEN_\w+", text)) <= RUNTIME
    loops = [loop for loop in inner_loops(text) if sum("vdpbf16ps" in i for i in loop) == WHOLE_TILE]
    assert len(loops) == 2  # one for each product
    for loop in loops:
        assert not [i for i in loop if "%rsp" in i and "mm" in i]
