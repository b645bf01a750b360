"""Time against tokens as overhead + tokens / rate: what a forward costs before its first token.

Hockney's n½ is the number of tokens at which half the time is overhead, r∞ the rate that many tokens approach
(Hockney and Jesshope, Parallel Computers 2, 1988).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moe.analysis.pairing import forwards_of, grid, latency_of
from moe.analysis.statistics import Estimate, Interval, Spread, spread_of
from moe.config import MoEConfig
from moe.run import Measurement, Run

FEWEST_SIZES = 3  # two points lie on a line whatever they are
FITS = 0.15  # farthest that a point of a line that fits lies from it


@dataclass(frozen=True)
class Line:
    """An implementation's latencies by tokens, and the line through them.

    overhead in seconds a forward, rate in tokens a second, half in tokens. off is how far the farthest point lies
    from the line, as a share of its latency; where that is more than FITS, the line says nothing. spread is that of
    single forwards of the fewest tokens.
    """

    label: str
    implementation: str
    layer: str
    tokens: tuple[int, ...]
    latencies: tuple[Interval, ...]
    overhead: Interval
    rate: Interval
    half: Interval
    off: float
    spread: Spread

    @property
    def fits(self) -> bool:
        """Whether the points lie near enough to the line for it to mean something, and it rises."""
        return self.off <= FITS and self.rate.low > 0 and self.rate.bounded

    @property
    def has_overhead(self) -> bool:
        """Whether there is an overhead, and not only a bend in the line near its beginning or noise."""
        bend = self.off * self.latencies[0].value
        return self.overhead.bounded and self.overhead.low > 0 and self.overhead.value > bend

    def share_of_overhead(self, latency: Interval) -> float:
        """How much of a measured latency is overhead by this line; never less than none."""
        return min(1.0, max(0.0, self.overhead.value / latency.value))


def fit_lines(run: Run, labels: Sequence[str], threads: int) -> list[Line]:
    """The line of each of `labels` that was measured with enough numbers of tokens of one layer."""
    found = []
    for label in labels:
        by_layer: dict[MoEConfig, list[Measurement]] = {}
        for m in run.measurements:
            if m.label == label and m.threads == threads and m.status == "ok":
                by_layer.setdefault(m.config.with_tokens(1), []).append(m)
        for measured in by_layer.values():
            if len({m.config.tokens for m in measured}) >= FEWEST_SIZES:
                found.append(fit_line(sorted(measured, key=lambda m: m.config.tokens)))
    return found


def fit_line(measured: Sequence[Measurement]) -> Line:
    """Weighted least squares, every point's deviation counted as a share of its latency."""
    rounds = grid(measured)
    medians = rounds.medians(rounds.seconds)
    tokens = np.array([m.config.tokens for m in measured], dtype=np.float64)
    values = np.array([median.value for median in medians])
    # The solution is linear in the latencies once the weights are fixed, so resamples follow from theirs.
    design = np.column_stack([np.ones_like(tokens), tokens]) / values[:, None]
    solver = np.linalg.pinv(design) / values
    overhead, slope = (Estimate.weighted_sum(medians, row) for row in solver)
    one = Estimate(1.0, np.ones_like(slope.resampled), np.ones_like(slope.of_processes))
    line = overhead.value + slope.value * tokens
    return Line(
        measured[0].label,
        measured[0].implementation,
        measured[0].config.label.partition(" ")[2],
        tuple(m.config.tokens for m in measured),
        tuple(map(latency_of, measured)),
        overhead.interval(),
        one.over(slope).interval(),
        overhead.over(slope).interval(),
        float(np.max(np.abs(line / values - 1))),
        spread_of([seconds for _, seconds in forwards_of(measured[0])]),
    )
