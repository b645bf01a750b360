from __future__ import annotations

import pytest

from moe.analysis import summarise
from moe.analysis.limits import shared_cores
from moe.measure import machine
from moe.report import sentences, tables

from .synthetic import synthetic_run

TIMES = {"numpy": 0.02, "mojo": 0.01}


def test_a_quiet_run_has_no_warnings() -> None:
    run = synthetic_run(TIMES, rounds=20)
    assert sentences.warnings(summarise(run)) == []


def test_turns_that_the_probes_found_disturbed_are_counted() -> None:
    run = synthetic_run(TIMES, (1, 2), rounds=10)
    assert sentences.disturbances(run) == []
    numpy, mojo = ([m for m in run.measurements if m.label == name] for name in TIMES)
    numpy[0].disturbed = [False] * 10
    mojo[0].disturbed = [True] * 3 + [False] * 7
    mojo[1].disturbed = [True] * 8 + [False] * 2
    disturbed, too_few = sentences.disturbances(run)
    assert disturbed.startswith("Disturbed turns: 3 of 30 on 1 thread, 8 of 30 on 2 threads, the machine ")
    assert "too few undisturbed turns on 2 threads: the medians of mojo are of all turns" in too_few


def test_hardware_threads_sold_as_cores_are_found() -> None:
    run = synthetic_run(TIMES, (1, 2, 4))
    assert shared_cores(run) == []
    for m in run.measurements:
        m.capacities = [[1e11 * min(m.threads, 2)] * 2, None]
    assert shared_cores(run) == [4]
    run.limits = [{"threads": 4, "flops_per_s": 2.9e11}, {"threads": 2, "reason": "died"}]
    assert shared_cores(run) == []
    run.limits = [{"threads": 1, "flops_per_s": 1.5e11}]
    assert shared_cores(run) == [2, 4]


def test_a_containers_quota_is_named_where_it_holds_threads_back() -> None:
    run = synthetic_run(TIMES, (1, 2))
    run.machine["core_quota"] = 1.5
    assert "the time of 1.5 cores" in sentences.warnings(summarise(run))[0]
    assert "at most 1.5 cores" in tables.machine(summarise(run))
    run.machine["core_quota"] = 2.0
    assert sentences.warnings(summarise(run)) == []


def test_numpys_own_account_of_its_blas_agrees_with_what_is_loaded() -> None:
    """Not what NumPy usually comes with: what is installed here."""
    import numpy as np  # loads it
    from threadpoolctl import threadpool_info

    assert np.ones(2) @ np.ones(2) == 2
    loaded = {pool["internal_api"] for pool in threadpool_info() if pool["user_api"] == "blas"}
    built_with = machine.numpy_blas()
    assert loaded
    assert any(name in built_with for name in loaded), (loaded, built_with)


def test_a_chosen_setting_and_siblings_are_read(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "enabled").write_text("always [madvise] never\n")
    assert machine._chosen(tmp_path / "enabled") == "madvise"
    assert machine._chosen(tmp_path / "nowhere") == "unknown"
    for text, expected in (("0", 1), ("0,64", 2), ("0-1", 2)):
        (tmp_path / "siblings").write_text(text + "\n")
        monkeypatch.setattr(machine, "SIBLINGS", tmp_path / "siblings")
        assert machine._threads_per_core() == expected
