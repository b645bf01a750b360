"""Routers that compute in bfloat16: which choices of theirs are right, and what a row says of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import moe
from moe.check import OneCheck, References
from moe.parity import UNJUDGED, compare_output, worst
from moe.reference import Reference, reference
from moe.run import load_run

pytestmark = pytest.mark.usefixtures("brief")

MISBEHAVING = Path(__file__).with_name("misbehaving.py")
QUICK = {"budget_s": 0.5, "processes": 1, "turn_s": 0.002, "warm_up_s": 0.0, "progress": False}


def with_gaps(logits: list[float], top_k: int = 2) -> Reference:
    """Every token has the same logits."""
    config = moe.MoEConfig(tokens=12, d_model=16, d_ff=32, num_experts=len(logits), top_k=top_k)
    problem = moe.make_problem(config)
    x, gate = problem.x.copy(), np.zeros_like(problem.weights.gate)
    x[:, 0], gate[0] = 1.0, logits
    return reference(moe.Problem(moe.Weights(gate, problem.weights.w1, problem.weights.w2), x, top_k))


def test_a_router_in_bfloat16_may_take_what_it_can_not_tell_apart() -> None:
    ref = with_gaps([4.0, 1.0, 1.02, -4.0])  # 1 and 2 are nearer than 2⁻⁷ of 4
    other = ref.y.astype(np.float32)
    other[0] = ref.output_for(0, (0, 1))
    assert not compare_output(other, ref).passed
    rough = ref.for_router("bfloat16")
    assert rough.for_router("float32").contested == ref.contested == {}
    parity = compare_output(other, rough)
    assert (parity.passed, parity.rerouted_tokens, parity.tied_tokens, parity.tokens) == (True, 1, 12, 12)
    assert worst([parity, compare_output(ref.y.astype(np.float32), rough)]).tokens == 24
    assert compare_output(other[:3], rough.part(0, 3)).passed
    other[0] = ref.output_for(0, (0, 3))  # beyond the gap
    assert not compare_output(other, rough).passed
    other[0] = 1.01 * ref.output_for(0, (0, 1))
    assert not compare_output(other, rough).passed


def test_what_is_farther_apart_than_its_roundings_is_not_open_in_bfloat16() -> None:
    ref = with_gaps([4.0, 1.0, 1.04, -4.0])
    other = ref.y.astype(np.float32)
    other[0] = ref.output_for(0, (0, 1))
    assert ref.for_router("bfloat16").contested == {}
    assert not compare_output(other, ref.for_router("bfloat16")).passed


def test_a_token_with_too_many_choices_is_left_out_in_bfloat16_alone() -> None:
    ref = with_gaps([1 + i * 1e-4 for i in range(16)], top_k=8)
    odd = ref.y.astype(np.float32)
    odd[0] *= 2
    assert not compare_output(odd, ref).passed
    parity = compare_output(odd, ref.for_router("bfloat16"))
    assert (parity.passed, parity.rerouted_tokens, parity.left_out_tokens) == (True, 0, 1)
    odd[0, 0] = np.nan
    assert not compare_output(odd, ref.for_router("bfloat16")).passed


def test_where_hardly_a_token_can_be_judged_nothing_passes() -> None:
    ref = with_gaps([1 + i * 1e-4 for i in range(16)], top_k=8).for_router("bfloat16")
    parity = compare_output((2 * ref.y).astype(np.float32), ref)
    assert (parity.passed, parity.reason, parity.left_out_tokens) == (False, UNJUDGED, 12)


def test_one_token_alone_is_judged_with_those_of_other_outputs() -> None:
    ref = with_gaps([1 + i * 1e-4 for i in range(16)], top_k=8).for_router("bfloat16").part(0, 1)
    right, odd = ref.y.astype(np.float32), (2 * ref.y).astype(np.float32)
    unknown, known = compare_output(odd, ref), compare_output(right, ref)
    assert (unknown.passed, unknown.reason) == (False, UNJUDGED)
    assert worst([unknown, unknown]).reason == UNJUDGED
    assert worst([unknown, known]).passed
    assert not worst([unknown, known, unknown]).passed
    assert worst([worst([unknown, known, unknown]), known]).passed  # judged again with what comes later
    wrong = compare_output(right[:, :3], ref)
    assert worst([unknown, wrong, unknown]).reason == wrong.reason


def test_what_can_not_be_judged_is_not_run(tmp_path: Path) -> None:
    """Of so many experts some dozen are level in bfloat16 for every token."""
    config = moe.MoEConfig(tokens=1, d_model=8, d_ff=8, num_experts=2048, top_k=128)
    name = f"{MISBEHAVING}:DoublesToo"
    run = moe.compare([name], config, path=tmp_path / "run.json", **QUICK)  # type: ignore[arg-type]
    row = run.measurements[0]
    assert (row.status, row.reason) == ("not_run", UNJUDGED)
    assert not run.went_wrong
    load_run(tmp_path / "run.json")
    check = OneCheck(name, 1, References()).checked("one token", moe.make_problem(config), "one token")[0]
    assert (check.status, check.note) == ("not_run", UNJUDGED)


def test_a_router_in_bfloat16_is_judged_by_what_that_can_tell_and_its_row_says_so(tmp_path: Path) -> None:
    config = moe.MoEConfig(tokens=256, d_model=16, d_ff=16, num_experts=64, top_k=8)
    names = [f"{MISBEHAVING}:{name}" for name in ("RoutesRoughly", "SaysSo")]
    run = moe.compare(names, config, path=tmp_path / "run.json", **QUICK)  # type: ignore[arg-type]
    silent, honest = (next(m for m in run.measurements if m.label == name and not m.control) for name in names)
    assert silent.status == "failed"
    assert "disagrees with the reference" in silent.reason
    assert (honest.status, honest.router_precision) == ("ok", "bfloat16")
    assert honest.parity is not None
    assert 0 < honest.parity["rerouted_tokens"] < honest.parity["tied_tokens"] < honest.parity["tokens"]
    assert re.fullmatch(r"in bfloat16, [0-9.]+ % of tokens with other experts", honest.note)
    assert set(load_run(tmp_path / "run.json").to_frame().note) == {"", honest.note}
    honest.parity |= {"left_out_tokens": honest.parity["tokens"] // 4}
    assert re.fullmatch(r"in bfloat16, [0-9.]+ % of tokens with other experts, 25 % not judged", honest.note)
