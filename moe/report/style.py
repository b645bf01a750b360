"""How numbers and implementations look wherever they are shown: units, headings and axes, colours and markers."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isnan
from typing import Any

from moe.analysis import Interval
from moe.analysis.frames import interval_of
from moe.report.text import (
    Shown,
    percent,
    power_of_ten,
    seconds,
    share_text,
    signed_percent,
    signed_span,
    significant,
    span,
)

# One colour an implementation in every figure: at least 3.4 : 1 on white, told apart under the common forms of
# colour blindness, and never alone: each row is labelled, and each implementation has a marker too.
COLOURS = {"python": "#767676", "numpy": "#000000", "torch-naive": "#009E73", "torch": "#0072B2", "mojo": "#D55E00"}
OTHERS = ("#8C564B", "#B5127B", "#4D7C0F", "#0E7C86", "#5B4B9A")  # of what has no colour of its own, in one figure
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
MARKER_OF = {"numpy": "o", "torch": "s", "mojo": "D", "torch-naive": "^", "python": "v"}
GREY = "#767676"
STYLE = "whitegrid"
WIDTH = 4.3  # inches of a figure: on a phone of 390 pixels its type is still read


@dataclass(frozen=True)
class Quantity:
    """A column of a frame as it is read: a table's heading, an axis' label, and its numbers as text.

    `factor` turns the frame's unit into `unit`, in which `write` is given an interval.
    """

    heading: str
    axis: str = ""
    factor: float = 1.0
    unit: str = ""
    write: Callable[[Interval], str] = span

    def text(self, value: Interval) -> str:
        """A number in the frame's unit, as tables have it."""
        return self.write(value.scaled(self.factor))


def _alone(write: Callable[[float], str]) -> Callable[[Interval], str]:
    """Of numbers that are given without their interval."""
    return lambda interval: write(interval.value)


QUANTITIES = {
    "latency_s": Quantity("latency, ms", "ms for one forward (less is better)", 1e3, "ms"),
    "tokens_per_s": Quantity("tokens/s", "tokens a second (more is better)", 1.0, "tokens/s", _alone(significant)),
    "flops_per_s": Quantity("GFLOP/s", "GFLOP/s (more is better)", 1e-9, "GFLOP/s", _alone(significant)),
    "speedup": Quantity("× baseline", "times as fast as {baseline} (more is better)", 1.0, "×"),
    "share_of_limit": Quantity("% of limit", "% of the machine's limit", write=share_text),
    "share_of_peak": Quantity("% of peak", write=share_text),
    "share_of_bandwidth": Quantity("% of read bandwidth", write=share_text),
    "bound": Quantity("limited by"),
    "max_rel_error": Quantity("error", write=_alone(power_of_ten)),
    "median_s": Quantity("median", write=_alone(seconds)),
    "p95_s": Quantity("95th percentile", write=_alone(seconds)),
    "p99_s": Quantity("99th percentile", write=_alone(seconds)),
    "variation": Quantity("variation", write=_alone(percent)),
    "samples": Quantity("forwards", write=_alone(lambda count: f"{count:,.0f}")),
    "load_s": Quantity("import or compile", write=_alone(seconds)),
    "prepare_s": Quantity("prepare", write=_alone(seconds)),
    "first_call_s": Quantity("first call", write=_alone(seconds)),
    "times": Quantity("times as fast", "times as fast"),
    "share": Quantity("share, %", write=signed_percent),
    "least": Quantity("least with any others on", write=_alone(significant)),
    "most": Quantity("most with any others on", write=_alone(significant)),
    "step_times": Quantity("× the step before"),
    "so_far": Quantity("× the first"),
    "lines": Quantity("lines of Mojo", write=_alone(lambda count: f"{count:,.0f}")),
    "overhead_s": Quantity("overhead, µs", "overhead, µs", 1e6, "µs", signed_span),
    "rate": Quantity("tokens/s", "tokens/s"),
    "half": Quantity("n½, tokens", write=_alone(lambda tokens: Shown(significant(tokens).replace("-", "−"), tokens))),
    "off": Quantity("off the line by", write=_alone(lambda share: Shown(f"≤ {percent(share)}", 100 * share, "%"))),
    "fastest_s": Quantity("fastest round", write=_alone(seconds)),
    "slowest_s": Quantity("slowest round", write=_alone(seconds)),
}


def cell(row: Mapping[str, Any], column: str) -> Any:
    """What a table shows of a frame's row: the text of a quantity, None where there is no number, or what it is."""
    value = row[column]
    if value is None or value == "" or (isinstance(value, float) and isnan(value)):
        return None
    if column not in QUANTITIES or isinstance(value, str):
        return value
    bounded = f"{column}_low" in row
    return QUANTITIES[column].text(interval_of(row, column) if bounded else Interval(value, value, value))


def heading(column: str) -> str:
    """What stands over a frame's column in a table."""
    return QUANTITIES[column].heading if column in QUANTITIES else column


@contextmanager
def own_settings() -> Iterator[None]:
    """matplotlib's defaults instead of what a user, a theme or a notebook has set, for as long as this lasts.

    A figure takes some of them when it is made, some when its parts are and some when it is saved.
    """
    from matplotlib import rc_context, rcdefaults  # which a terminal's tables need not wait for

    with rc_context():
        rcdefaults()
        yield
