"""The widgets of `explore.ipynb`: choose sizes and implementations, press, compare with what was measured before."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
from IPython.display import HTML, display

from moe.analysis import summarise
from moe.config import PRESETS, MoEConfig
from moe.implementations import names
from moe.implementations.registry import BASELINE, load_again
from moe.measure.compare import compare
from moe.report import figures, sentences
from moe.report.parameters import thread_counts
from moe.report.show import show_figure, show_sentences, show_table
from moe.report.tables import html_table
from moe.report.text import share_text, significant, span, speedup_text
from moe.run import Run

SIZES = ("tokens", "d_model", "d_ff", "num_experts", "top_k")
CHOSEN = ("numpy", "torch", "mojo")
BUDGET_S = 10.0
PROCESSES = 2


class Explorer:
    """What was measured in a notebook so far, and the widgets that say what to measure next."""

    def __init__(self) -> None:
        start = PRESETS["smoke"]
        self.runs: list[Run] = []
        self._sizes = {
            name: widgets.BoundedIntText(getattr(start, name), min=1, max=2**20, description=name) for name in SIZES
        }
        self._threads = widgets.SelectMultiple(options=thread_counts("auto"), value=(1,), description="threads")
        self._names = widgets.SelectMultiple(options=names(peers=True), value=CHOSEN, description="measure", rows=9)
        self._budget = widgets.BoundedFloatText(BUDGET_S, min=1, max=3600, description="seconds")
        self._button = widgets.Button(description="Measure", button_style="primary")
        self._button.on_click(lambda _: self._press())
        self._progress, self._results = widgets.Output(), widgets.Output()

    def show(self) -> Any:
        """The widgets, with room for progress and results below."""
        left = widgets.VBox([*self._sizes.values(), self._budget])
        right = widgets.VBox([self._names, self._threads])
        choices = widgets.HBox([left, right], layout=widgets.Layout(flex_flow="row wrap"))
        return widgets.VBox([choices, self._button, self._progress, self._results])

    def race(self, *implementations: str) -> HTML:
        """Measure these at the chosen sizes; returns their rows, and adds them to those under the widgets.

        Raises ValueError for a name or for sizes that make no sense.
        """
        load_again()
        config = MoEConfig(**{name: widget.value for name, widget in self._sizes.items()})
        effort = {"budget_s": self._budget.value, "processes": PROCESSES}
        self.runs.append(compare(implementations, config, self._threads.value, **effort))
        self._results.clear_output(wait=True)
        with self._results:
            display(*self._newest(), show_table(history(self.runs)))
        return show_table(history(self.runs[-1:], len(self.runs)))

    def _press(self) -> None:
        self._button.disabled = True
        self._progress.clear_output()
        with self._progress:  # shows what it raises, and goes on
            try:
                self.race(*self._names.value)
            except ValueError as error:
                print(error, file=sys.stderr)
        self._button.disabled = False

    def _newest(self) -> list[HTML]:
        summary = summarise(self.runs[-1])
        figure = figures.throughput(summary)
        return [
            show_sentences(sentences.headline(summary), "headline"),
            show_figure(figure, "throughput", sentences.throughput(summary), None),
        ]


def history(runs: Sequence[Run], first: int = 1) -> str:
    """Every row of several runs, the newest run first; the first has the number `first`."""
    rows: list[dict[str, Any]] = []
    for number, run in reversed(list(enumerate(runs, first))):
        summary = summarise(run)
        for row in summary.rows:
            rows.append(
                {
                    "run": number,
                    "sizes": row.measurement.config.label,
                    "implementation": row.label,
                    "threads": row.threads,
                    "latency, ms": span(row.latency, 1e3) if row.latency else row.measurement.reason,
                    "tokens/s": significant(row.throughput.value) if row.throughput else None,
                    f"× {BASELINE}": speedup_text(row, summary) if row.latency else None,
                    "% of limit": share_text(row),
                }
            )
    numbers = ["run", "threads", "latency, ms", "tokens/s", f"× {BASELINE}", "% of limit"]
    caption = f"Medians with 95 % intervals; × is tokens a second over {BASELINE}'s in the same run."
    return html_table("history", rows or [{"run": "nothing yet"}], caption, numbers)
