"""The widgets of `explore.ipynb`: choose sizes and implementations, press, compare with what was measured before."""

import ctypes
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import pandas as pd
import seaborn as sns
from IPython.display import HTML

from moe.analysis import frames, summarise
from moe.check import wrong_on_edges
from moe.config import named_configs
from moe.form import CHOICES
from moe.implementations import names
from moe.implementations.registry import BASELINE, load_again
from moe.measure.compare import compare
from moe.measure.saving import RunEndedError, RunInterrupted
from moe.report import figures
from moe.report.findings.comparison import first_caption, headline
from moe.report.parameters import thread_counts
from moe.report.show import show_sentences, show_table
from moe.report.style import heading, own_settings
from moe.report.tables import frame_table, with_texts
from moe.run import Run

SIZES = ("tokens", "d_model", "d_ff", "num_experts", "top_k")
CHOSEN = ("numpy", "torch", "mojo")
PRESET = "smoke"
BUDGET_S = 15.0
PROCESSES = 3
KEPT = Path("my_runs")  # beside the notebook
TICK_S = 0.2
WIDE = {"description_width": "7em"}


class Explorer:
    """What was measured in a notebook so far, and the widgets that say what to measure next.

    Every run is saved in the folder KEPT, and `runs` has them all.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._thread: threading.Thread | None = None
        self._named = named_configs()
        self._preset = widgets.Dropdown(options=list(self._named), value=PRESET, description="layer", style=WIDE)
        self._preset.observe(lambda _: self._set_sizes(), "value")
        # A field for whole numbers shows 1e3 and means 1.
        number = partial(widgets.BoundedFloatText, min=1, max=2**20, style=WIDE)
        self._sizes = {name: number(getattr(self._named[PRESET], name), description=name) for name in SIZES}
        precisions = CHOICES["precision"]
        self._precision = widgets.Dropdown(options=precisions, description="precision", style=WIDE)
        self._threads = widgets.SelectMultiple(options=thread_counts("auto"), value=(1,), description="threads")
        self._names = widgets.SelectMultiple(options=names(peers=True), value=CHOSEN, description="measure", rows=9)
        self._baseline = widgets.Dropdown(options=names(peers=True), value=BASELINE, description="× over")
        self._budget = widgets.BoundedFloatText(BUDGET_S, min=1, max=3600, description="seconds", style=WIDE)
        self._measure = widgets.Button(description="Measure", button_style="primary")
        self._measure.on_click(lambda _: self._start())
        self._stop = widgets.Button(description="Stop", disabled=True, tooltip="keeps what was measured")
        self._stop.on_click(lambda _: self.stop())
        self._bar = widgets.FloatProgress(min=0.0, max=1.0)
        self._said, self._results = widgets.HTML(), widgets.HTML()

    def show(self) -> Any:
        """The widgets, with room for progress and results below."""
        left = widgets.VBox([self._preset, *self._sizes.values(), self._precision, self._budget])
        hint = widgets.HTML("Ctrl or ⌘ and a click choose several.")
        right = widgets.VBox([self._names, hint, self._threads, self._baseline])
        choices = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap"))
        buttons = widgets.HBox([self._measure, self._stop, self._bar])
        return widgets.VBox([choices, buttons, self._said, self._results])

    def race(self, *implementations: str, edges: bool = True) -> HTML:
        """Measure these at the chosen sizes; returns their rows, and adds them to those under the widgets.

        Unless `edges` is False, layers from files are checked on every edge first: what is wrong is said, and nothing
        is measured. Raises ValueError for a name or for sizes that make no sense, and while the widgets measure.
        """
        if self.is_measuring:
            raise ValueError("a measurement is going on: wait for its end, or press Stop")
        load_again()
        if wrong := wrong_on_edges(implementations) if edges else {}:
            said = [f"{name}: {reason}" for name, reason in wrong.items()]
            return show_sentences([*said, "Nothing was measured; race(…, edges=False) does all the same."], "finding")
        self._keep(run := self._measured(implementations))
        return _joined([show_table(history([run], self._baseline.value, len(self.runs))), *_wrong(run)])

    @property
    def is_measuring(self) -> bool:
        """Whether a measurement that was begun with the button goes on."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self) -> None:
        """End the measurement that goes on; what it has measured is kept."""
        if self._thread is not None and self.is_measuring:
            # As Ctrl-C would in a thread of its own, where no signal comes.
            ident = ctypes.c_ulong(self._thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(KeyboardInterrupt))

    def _set_sizes(self) -> None:
        for name, widget in self._sizes.items():
            widget.value = getattr(self._named[self._preset.value], name)

    def _measured(self, implementations: Sequence[str]) -> Run:
        """A run of these at the chosen sizes; a stopped one is what there is of it."""
        sizes: dict[str, Any] = {name: _whole(name, widget.value) for name, widget in self._sizes.items()}
        # A model's layer keeps its form, whatever its sizes.
        config = replace(self._named[self._preset.value], **sizes, precision=self._precision.value)
        KEPT.mkdir(exist_ok=True)
        path = KEPT / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.json"
        effort = {"budget_s": self._budget.value, "processes": PROCESSES}
        try:
            return compare(implementations, config, self._threads.value, path=path, progress=False, **effort)
        except (RunInterrupted, RunEndedError) as ended:
            self._say(str(ended) or f"Stopped: what was measured is below, and in {path}.")
            return ended.run

    def _keep(self, run: Run) -> None:
        self.runs.append(run)
        table = show_table(history(self.runs, self._baseline.value))
        self._results.value = _joined([*_newest(run, self._baseline.value), *_wrong(run), table]).data

    def _start(self) -> None:
        """Measure in a thread, so that the buttons go on working."""
        if self.is_measuring:
            return
        self._measure.disabled, self._stop.disabled = True, False
        self._thread = threading.Thread(target=self._press, args=(self._names.value,), daemon=True)
        self._thread.start()
        threading.Thread(target=self._tick, args=(self._thread,), daemon=True).start()

    def _press(self, implementations: Sequence[str]) -> None:
        self._say("")
        load_again()
        try:
            self._keep(self._measured(implementations))
        except (ValueError, KeyboardInterrupt) as error:
            self._say(str(error) or "Stopped before anything was measured.")
        finally:
            self._measure.disabled, self._stop.disabled = False, True

    def _say(self, text: str) -> None:
        self._said.value = escape(text)

    def _tick(self, thread: threading.Thread) -> None:
        """Let the bar grow with the time until the thread has ended."""
        begun = time.monotonic()
        while thread.is_alive():
            self._bar.value = min(1.0, (time.monotonic() - begun) / self._budget.value)
            time.sleep(TICK_S)
        self._bar.value = 1.0


def _whole(name: str, value: float) -> int:
    if not value.is_integer():
        raise ValueError(f"{name} must be a whole number, got {value:g}")
    return int(value)


def _newest(run: Run, baseline: str) -> list[HTML]:
    """What the newest run says, with a figure where there is anything to draw."""
    chosen = _among(run, baseline)
    parts = [show_sentences(headline(summarise(run, chosen)), "headline")]
    drawn = figures.drawn(frames.rows(run, chosen))
    if drawn.empty:
        return parts
    near = figures.near(drawn)
    with own_settings(), sns.axes_style("whitegrid"):
        grid = sns.FacetGrid(figures.ends(near, "tokens_per_s"), **figures.panels(near))
        grid.map_dataframe(sns.barplot, x="tokens_per_s", y="name", **figures.bars(near))
    return [*parts, figures.show(grid, "tokens_per_s", "throughput", first_caption(drawn), None)]


def _wrong(run: Run) -> list[HTML]:
    """What has no times, and why: below the table, which a long reason would make too wide."""
    reasons = [f"{m.label}: {m.reason}" for m in run.measurements if m.status != "ok"]
    return [show_sentences(reasons, "finding")] if reasons else []


def _joined(parts: Sequence[HTML]) -> HTML:
    return HTML("".join(part.data for part in parts))


def _among(run: Run, baseline: str) -> str:
    """The baseline, or the first that was measured where that was not."""
    labels = [m.label for m in run.measurements if m.status == "ok"]
    return baseline if baseline in labels or not labels else labels[0]


def history(runs: Sequence[Run], baseline: str = BASELINE, first: int = 1) -> str:
    """Every row of several runs, the newest run first; the first has the number `first`."""
    parts = []
    for number, run in reversed(list(enumerate(runs, first))):
        over = _among(run, baseline)
        rows = with_texts(frames.rows(run, over).query("not control"), over)
        sizes = [m.config.label for m in run.measurements if not m.control]
        parts.append(rows.assign(run=number, sizes=sizes))
    caption = (
        "Medians with 95 % intervals; × is tokens a second over the row's that says baseline, in the same run on as "
        f"many threads: {baseline}'s, or the first's where that was not measured."
    )
    columns = ["run", "sizes", "label", "threads", "latency_text", "tokens_per_s", "speedup_text", "share_of_limit"]
    headings = {"label": "implementation", "speedup_text": heading("speedup"), "latency_text": heading("latency_s")}
    return frame_table("history", pd.concat(parts), columns, caption, headings)
