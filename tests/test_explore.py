"""The widgets of explore.ipynb: a measurement goes on beside them, can be stopped, and is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from moe.config import PRESETS, parse_config
from moe.measure.saving import RunInterrupted
from moe.report import explore
from moe.report.explore import Explorer, history
from moe.run import Run, load_run

from .synthetic import synthetic_run

SOON_S = 20.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def saved(run: Run, path: Path) -> Run:
    run.save(path)
    return run


def measuring(monkeypatch: pytest.MonkeyPatch, measure: Callable[..., Run]) -> Explorer:
    """An explorer that measures in this way."""
    monkeypatch.setattr(explore, "compare", measure)
    return Explorer()


def at_once(*_: Any, path: Path, **__: Any) -> Run:
    return saved(synthetic_run({"numpy": 1.0, "mojo": 0.5}), path)


def until_stopped(*_: Any, path: Path, **__: Any) -> Run:
    run = saved(synthetic_run({"numpy": 1.0}), path)
    try:
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        raise RunInterrupted(run, path) from None


def test_the_button_measures_beside_the_widgets_and_the_run_is_kept(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    own = measuring(monkeypatch, at_once)
    own._measure.click()
    wait_for(lambda: not own.is_measuring)
    assert len(own.runs) == 1
    assert "<table" in own._results.value
    assert not own._measure.disabled
    assert own._stop.disabled
    assert [load_run(path) for path in (folder / "my_runs").iterdir()] == own.runs


def test_stop_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    own = measuring(monkeypatch, until_stopped)
    own._measure.click()
    wait_for(lambda: any(folder.glob("my_runs/*.json")))
    assert own.is_measuring
    assert own._measure.disabled
    own._stop.click()
    wait_for(lambda: not own.is_measuring)
    assert own._said.value.startswith("Stopped")
    assert "numpy" in own._results.value
    assert len(own.runs) == 1
    assert not own._measure.disabled


def test_what_is_measured_once_is_not_begun_twice(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    own = measuring(monkeypatch, until_stopped)
    own._measure.click()
    own._start()
    wait_for(lambda: any(folder.glob("my_runs/*.json")))
    with pytest.raises(ValueError, match="a measurement is going on"):
        own.race("numpy")
    own.stop()
    wait_for(lambda: not own.is_measuring)
    assert len(list(folder.glob("my_runs/*.json"))) == 1


def test_what_makes_no_sense_is_said_and_the_buttons_work_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Run:
        raise ValueError("no such <name>")

    own = measuring(monkeypatch, refuse)
    own._measure.click()
    wait_for(lambda: not own.is_measuring)
    assert own._said.value == "no such &lt;name&gt;"
    assert not own._measure.disabled


def test_a_preset_sets_the_sizes_and_they_are_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def note(_: Any, config: Any, threads: Any, *, path: Path, **__: Any) -> Run:
        seen.append((config, threads, threading.current_thread() is threading.main_thread()))
        return at_once(path=path)

    own = measuring(monkeypatch, note)
    own._preset.value = "medium"
    own._sizes["tokens"].value = 7
    own.race("numpy", "mojo")
    assert seen == [(PRESETS["medium"].with_tokens(7), (1,), True)]


def test_a_models_layer_keeps_its_form_in_the_precision_that_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def note(_: Any, config: Any, threads: Any, *, path: Path, **__: Any) -> Run:
        seen.append(config)
        return at_once(path=path)

    own = measuring(monkeypatch, note)
    own._preset.value = "qwen3-30b-a3b"
    own._sizes["num_experts"].value = 16
    own._precision.value = "bfloat16"
    own.race("numpy", "mojo")
    assert seen == [parse_config("qwen3-30b-a3b,num_experts=16,precision=bfloat16")]


def test_ratios_are_over_the_chosen_baseline_or_the_first_where_that_was_not_measured() -> None:
    run = synthetic_run({"numpy": 1.0, "mojo": 0.5})
    assert "2.00 ×" in history([run])
    assert "0.500 ×" in history([run], "mojo")
    assert "2.00 ×" in history([run], "torch")
    assert "2.00 ×" in history([synthetic_run({"torch": 1.0, "mojo": 0.5})])


def test_why_a_row_has_no_times_stands_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "AttributeError: no zero_like (my_layer.py, line 7: y = np.zero_like(x))"

    def fail(*_: Any, path: Path, **__: Any) -> Run:
        run = synthetic_run({"numpy": 1.0, "mojo": 0.5})
        run.measurements[1].status, run.measurements[1].reason = "failed", reason
        return saved(run, path)

    own = measuring(monkeypatch, fail)
    shown = own.race("numpy", "mojo").data
    table, _, below = shown.partition("</table>")
    assert "zero_like" not in table
    assert "<td" in table
    assert f"mojo: {reason}" in below
    assert "zero_like" in own._results.value


def test_sizes_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    own = measuring(monkeypatch, at_once)
    own._sizes["tokens"].value = 1.5
    with pytest.raises(ValueError, match=r"tokens must be a whole number, got 1\.5"):
        own.race("numpy")
    own._measure.click()
    wait_for(lambda: not own.is_measuring)
    assert own._said.value.startswith("tokens must be a whole number")
    assert not own.runs


WRONG = """
import os

from moe.implementations.numpy_layer import NumpyLayer


class Forgets(NumpyLayer):
    def forward(self, x):
        y = super().forward(x)
        y[y != y] = 0
        return y


class Breaks(NumpyLayer):
    def forward(self, x):
        return super().forward(x) / (len(x) > 1 or None)


class Ends(NumpyLayer):
    def forward(self, x):
        os._exit(3)
"""


def test_a_layer_that_is_wrong_on_an_edge_is_not_raced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "wrong.py").write_text(WRONG)
    own = measuring(monkeypatch, at_once)
    shown = own.race("numpy", "wrong.py:Forgets", "wrong.py:Breaks", "wrong.py:Ends").data
    assert "wrong.py:Forgets: wrong on 6 of 19 edges, first &#x27;NaN in a token&#x27;: " in shown
    assert "wrong.py:Breaks: wrong on 2 of 19 edges, first &#x27;one token&#x27;: TypeError: " in shown
    assert "(wrong.py, line 16: return super().forward(x) / (len(x) &gt; 1 or None))" in shown
    assert "wrong.py:Ends: wrong on an edge: exited with code 3" in shown
    assert "Nothing was measured" in shown
    assert not own.runs
    assert "<table" in own.race("numpy", "wrong.py:Forgets", edges=False).data
    assert len(own.runs) == 1
