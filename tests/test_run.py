from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import jsonschema
import pytest

from moe.run import Run, RunFileError, load_run, write_atomically

from .conftest import validate_run
from .synthetic import PARITY, synthetic_run


def example() -> Run:
    run = synthetic_run({"numpy": 1.0, "mojo": 1.0}, rounds=2)
    run.measurements = run.measurements[:2]
    measured, missing = run.measurements
    measured.samples_s, measured.processes = [[3e-3, 1e-3, 2e-3], [4e-3]], [0, 1]
    missing.status, missing.reason, missing.parity = "not_run", "no compiler", None
    missing.samples_s, missing.processes = [], []
    return run


def test_a_run_reads_as_it_was_saved(tmp_path: Path) -> None:
    example().save(tmp_path / "run.json")
    assert load_run(tmp_path / "run.json") == example()


def test_the_file_has_the_fields_that_others_rely_on(tmp_path: Path) -> None:
    example().save(tmp_path / "run.json")
    data = json.loads((tmp_path / "run.json").read_text())
    assert data["schema"] == 1
    assert {"machine", "versions", "protocol", "measurements", "complete"} <= set(data)
    assert {
        *("implementation", "options", "config", "threads", "device", "status", "reason", "parity"),
        *("prepare_s", "samples_s", "cache", "label", "peak_rss_bytes"),
    } <= set(data["measurements"][0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "ok"},
        {"status": "failed", "reason": ""},
        {"status": "ok", "samples_s": [[0.1]], "reason": "", "parity": {**PARITY, "passed": False}},
        {"samples_s": [[]]},
        {"samples_s": [[-1.0]]},
        {"cache": "tepid"},
        {"size": 3},
    ],
)
def test_the_schema_tells_what_no_run_is(wrong: dict[str, object]) -> None:
    data = asdict(example())
    validate_run(data)
    data["measurements"][1] |= wrong
    with pytest.raises(jsonschema.ValidationError):
        validate_run(data)


def test_an_existing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("mine")
    with pytest.raises(RunFileError, match="exists: --resume continues it, --force replaces it"):
        example().save(path)
    assert path.read_text() == "mine"
    example().save(path, force=True)
    assert load_run(path) == example()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "can't be read"),
        ("{", "can't be read"),
        ("[]", "schema None, expected 1"),
        ('{"schema": 2}', "schema 2, expected 1"),
        ('{"schema": 1}', "is not a run's file"),
        ('{"schema": 1, "measurements": [{}]}', "measurement is malformed"),
        ('{"schema": 1, "measurements": [{"size": 3}]}', "unknown fields: size"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFileError, match=message):
        load_run(tmp_path / "run.json")


def test_an_unknown_status_is_refused(tmp_path: Path) -> None:
    example().save(tmp_path / "run.json")
    text = (tmp_path / "run.json").read_text().replace('"not_run"', '"simulated"')
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunFileError, match="status must be one of ok, failed, not_run, got 'simulated'"):
        load_run(tmp_path / "run.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_rounds_value_is_the_median_of_its_samples() -> None:
    assert example().measurements[0].values_s == {(0, 0): 2e-3, (1, 0): 4e-3}


def test_a_disturbed_turn_gives_way_to_its_repeat_or_leaves_a_gap() -> None:
    m = example().measurements[0]
    m.samples_s = [[float(number)] for number in range(1, 7)]
    m.processes, m.rounds = [0, 0, 0, 0, 1, 1], [0, 1, 1, 2, 7, 8]
    m.disturbed = [False, True, False, True, False, False]
    assert m.values_s == {(0, 0): 1.0, (0, 1): 3.0, (1, 7): 5.0, (1, 8): 6.0}
    assert not m.is_disturbed


def test_where_too_few_turns_were_undisturbed_all_of_them_count() -> None:
    m = example().measurements[0]
    m.samples_s, m.processes = [[1.0], [2.0], [3.0], [4.0]], [0, 0, 1, 1]
    m.disturbed = [True, False, False, True]
    assert m.is_disturbed
    assert m.values_s == {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 4.0}


def test_to_frame() -> None:
    frame = example().to_frame()
    assert frame["label"].tolist() == ["numpy", "mojo"]
    assert frame["median_s"].tolist()[0] == pytest.approx(3e-3)
    assert frame["samples"].tolist() == [4, 0]
    assert frame["median_s"].isna().tolist() == [False, True]


def test_a_run_without_numbers_of_rounds_can_go_on() -> None:
    m = example().measurements[0]
    m.samples_s, m.processes, m.waited = [[1.0], [2.0], [3.0]], [0, 0, 1], []
    before = m.values_s
    m.number_turns()
    assert (m.rounds, m.capacities, m.disturbed, m.waited) == ([0, 1, 0], [None] * 3, [False] * 3, [None] * 3)
    assert m.values_s == before
    m.samples_s.append([4.0])
    m.processes.append(1)
    m.rounds.append(10_000)
    m.capacities.append([1.0, 1.0])
    m.disturbed.append(False)
    assert len(m.values_s) == 4


def test_an_interruption_within_a_turn_leaves_whole_ones() -> None:
    whole, begun = synthetic_run({"numpy": 1.0, "mojo": 1.0}, rounds=2).measurements[:2]
    for m in (whole, begun):
        m.rounds, m.capacities, m.disturbed = [0, 1], [None, None], [False, False]
    whole.samples_s.append([9.0])
    whole.processes.append(1)
    whole.keep_whole_turns()
    assert (len(whole.samples_s), whole.processes, len(whole.values_s)) == (2, [0, 1], 2)
    begun.samples_s, begun.processes, begun.rounds, begun.capacities, begun.disturbed = [[9.0]], [], [], [], []
    begun.others_cores, begun.stolen_cores, begun.waited, begun.rounds = [], [], [], []
    begun.rounds.append(0)
    begun.keep_whole_turns()
    assert (begun.status, begun.samples_s, begun.is_open) == ("not_run", [], True)
