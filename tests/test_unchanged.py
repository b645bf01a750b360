"""A layer that writes to its input or to its weights is named as that, whatever measures it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import moe
from moe import check
from moe.measure.replay import replay
from moe.parity import INPUT_CHANGED, WEIGHTS_CHANGED, mark_of

from .made_claims import a_protocol

pytestmark = pytest.mark.usefixtures("brief")

TINY = moe.MoEConfig(tokens=6, d_model=8, d_ff=16, num_experts=3, top_k=2)
MISBEHAVING = Path(__file__).with_name("misbehaving.py")
REASONS = {
    f"{MISBEHAVING}:ChangesItsInput": INPUT_CHANGED,
    f"{MISBEHAVING}:ChangesItsInputLater": INPUT_CHANGED,
    f"{MISBEHAVING}:SpoilsItsInput": INPUT_CHANGED,
    f"{MISBEHAVING}:ChangesItsWeights": WEIGHTS_CHANGED,
    f"{MISBEHAVING}:SpoilsItsWeights": WEIGHTS_CHANGED,
}


def reasons_of(run: moe.Run) -> dict[str, str]:
    return {m.label: m.reason for m in run.measurements if m.label in REASONS and m.status == "failed"}


def test_in_a_run() -> None:
    run = moe.compare(
        ["numpy", *REASONS], TINY, budget_s=1.0, processes=1, turn_s=0.002, warm_up_s=0.0, progress=False
    )
    assert reasons_of(run) == REASONS
    assert run.measurements[0].status == "ok"


def test_in_a_sweep() -> None:
    run = moe.sweep(["numpy", *REASONS], {"tokens": [6]}, TINY, budget_s=30.0, processes=1, progress=False)
    assert reasons_of(run) == REASONS


def test_in_a_replay(tmp_path: Path) -> None:
    assert reasons_of(replay(a_protocol(tmp_path, "numpy", *REASONS), 1)) == REASONS


@pytest.mark.parametrize("name", [name for name in REASONS if not name.endswith("Later")])
def test_in_a_check(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PRESETS", {"smoke": moe.PRESETS["smoke"]})
    found = {c.problem: (c.status, c.note) for c in check.check([name], [1])}
    del found["no tokens"]  # which has no input to change
    assert len(found) > 10
    assert set(found.values()) == {("failed", REASONS[name])}


def test_a_check_of_the_last_forward_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "PRESETS", {})
    found = {c.note for c in check.check([f"{MISBEHAVING}:ChangesItsInputLater"], [1]) if c.problem == "odd sizes"}
    assert found == {INPUT_CHANGED}


def test_a_mark_tells_bits() -> None:
    x = np.array([[0.0, np.nan], [1.0, 2.0]], np.float32)
    mark = mark_of(x, x)
    assert mark_of(x.copy(), x.copy()) == mark
    for place, value in (((0, 0), -0.0), ((0, 1), -np.nan), ((1, 1), np.nextafter(np.float32(2), np.float32(3)))):
        changed = x.copy()
        changed[place] = value
        assert mark_of(x, changed) != mark
    assert mark_of(x[:0]) == mark_of(np.empty((0, 5), np.float32))
