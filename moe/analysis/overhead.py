"""Time against tokens as overhead + tokens / rate: what a forward costs before its first token.

Hockney's n½ is the number of tokens at which half the time is overhead, r∞ the rate that many tokens approach
(Hockney and Jesshope, Parallel Computers 2, 1988).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moe.analysis.frames import interval_columns
from moe.analysis.pairing import forwards_of, grid, latency_of
from moe.analysis.statistics import Estimate, spread_of
from moe.config import MoEConfig
from moe.run import Measurement, Run

FEWEST_SIZES = 3  # two points lie on a line whatever they are
FITS = 0.15  # farthest that a point of a line that fits lies from it


def fit_lines(run: Run) -> list[dict[str, Any]]:
    """The rows of what was measured with enough numbers of tokens of one layer, on the fewest threads."""
    rows = []
    for label in dict.fromkeys(m.label for m in run.measurements if not m.control):
        by_layer: dict[MoEConfig, list[Measurement]] = {}
        for m in run.measurements:
            if m.label == label and m.threads == min(run.protocol["threads"]) and m.status == "ok":
                by_layer.setdefault(m.config.with_tokens(1), []).append(m)
        for measured in by_layer.values():
            if len({m.config.tokens for m in measured}) >= FEWEST_SIZES:
                rows += fit_line(sorted(measured, key=lambda m: m.config.tokens))
    return rows


def fit_line(measured: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The line of one implementation's latencies by tokens, and how far each is overhead: see `factors.overheads`.

    Weighted least squares, every point's deviation counted as a share of its latency.
    """
    rounds = grid(measured)
    medians = rounds.medians(rounds.seconds)
    tokens = np.array([m.config.tokens for m in measured], dtype=np.float64)
    values = np.array([median.value for median in medians])
    # The solution is linear in the latencies once the weights are fixed, so resamples follow from theirs.
    design = np.column_stack([np.ones_like(tokens), tokens]) / values[:, None]
    solver = np.linalg.pinv(design) / values
    constant, slope = (Estimate.weighted_sum(medians, row) for row in solver)
    one = Estimate(1.0, np.ones_like(slope.resampled), np.ones_like(slope.of_processes))
    overhead, rate, half = constant.interval(), one.over(slope).interval(), constant.over(slope).interval()
    off = float(np.max(np.abs((constant.value + slope.value * tokens) / values - 1)))
    latencies = list(map(latency_of, measured))
    # Not only a bend in the line near its beginning, or noise.
    has_overhead = overhead.bounded and overhead.low > 0 and overhead.value > off * latencies[0].value
    line = {
        "label": measured[0].label,
        "implementation": measured[0].implementation,
        "layer": measured[0].config.label.partition(" ")[2],
        **interval_columns("overhead_s", overhead),
        **interval_columns("rate", rate),
        "half": half.value,
        "off": off,
        "fits": off <= FITS and rate.low > 0 and rate.bounded,
        "has_overhead": has_overhead,
        "variation": spread_of([seconds for _, seconds in forwards_of(measured[0])]).variation,
    }
    return [
        {
            **line,
            "tokens": m.config.tokens,
            **interval_columns("latency_s", latency),
            "overhead_share": min(1.0, max(0.0, overhead.value / latency.value)),
        }
        for m, latency in zip(measured, latencies, strict=True)
    ]
