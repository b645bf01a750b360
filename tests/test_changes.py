from __future__ import annotations

import pytest

import moe

from .synthetic import synthetic_run

TIMES = {"numpy": 0.02, "mojo": 0.01}


def test_what_changed_between_two_runs() -> None:
    changes = moe.compare_runs(synthetic_run(TIMES), synthetic_run({"mojo": 0.005, "numpy": 0.02, "torch": 1.0}))
    assert [(c.label, c.threads, c.speedup.value) for c in changes] == [
        ("numpy", 1, pytest.approx(1)),
        ("mojo", 1, pytest.approx(2)),
    ]
    assert changes[1].speedup.excludes(1.0)


def test_a_disturbed_row_has_no_interval_of_its_change() -> None:
    before, after = synthetic_run(TIMES), synthetic_run(TIMES)
    after.measurements[1].disturbed = [True] * len(after.measurements[1].samples_s)
    numpy, mojo = moe.compare_runs(before, after)
    assert (mojo.before.bounded, mojo.after.bounded, mojo.speedup.bounded) == (True, False, False)
    assert numpy.speedup.bounded


def test_noise_is_no_change() -> None:
    before, after = (synthetic_run(TIMES, noise=0.1, seed=seed) for seed in (1, 2))
    assert not any(change.speedup.excludes(1.0) for change in moe.compare_runs(before, after))


def test_runs_that_have_nothing_to_do_with_each_other_are_refused() -> None:
    run = synthetic_run(TIMES)
    with pytest.raises(ValueError, match=r"one measured numpy .* the other torch"):
        moe.compare_runs(run, synthetic_run({"torch": 1.0}))
    other = synthetic_run(TIMES)
    other.machine["usable_cores"] = 64
    with pytest.raises(ValueError, match="machines' usable_cores are 2 and 64"):
        moe.compare_runs(run, other)
    other = synthetic_run(TIMES)
    other.measurements[0].config = moe.PRESETS["small"]
    with pytest.raises(ValueError, match=r"numpy's config are .*num_experts=4.* and .*num_experts=64"):
        moe.compare_runs(run, other)
    other = synthetic_run(TIMES)
    other.measurements[0].cache = "cold"
    with pytest.raises(ValueError, match="numpy's cache are warm and cold"):
        moe.compare_runs(run, other)
    nothing = synthetic_run(TIMES)
    nothing.measurements = []
    with pytest.raises(ValueError, match="the other nothing"):
        moe.compare_runs(run, nothing)
