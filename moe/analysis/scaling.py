"""A sweep's cells: which implementation wins where, by how much, and how its cost grows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from moe.analysis.pairing import grid
from moe.analysis.statistics import Estimate, Interval, Ratio, resolve
from moe.analysis.summary import Row, Summary, summarise, tokens_ratio
from moe.config import MoEConfig
from moe.run import Run

OURS, THEIRS = "mojo", "torch"
OURS_AND_THEIRS = frozenset((OURS, THEIRS))
FEWEST_POINTS = 3  # of a slope: two lie on a line whatever they are


@dataclass(frozen=True)
class CellResult:
    """A cell's measured rows, and how many times as fast OURS is as THEIRS in it.

    Whether that is resolved, and what the fastest leads the next by, Holm's correction over all cells says.
    """

    config: MoEConfig
    threads: int
    rows: tuple[Row, ...]
    ratio: Ratio | None
    resolved: bool
    lead_resolved: bool

    def row(self, label: str) -> Row | None:
        """The row of a variant."""
        return next((row for row in self.rows if row.label == label), None)

    @cached_property
    def ranked(self) -> list[Row]:
        """Its rows with a throughput, the highest first."""
        return sorted((r for r in self.rows if r.throughput), key=lambda r: -r.throughput.value)  # type: ignore[union-attr]

    @property
    def leaders(self) -> frozenset[str]:
        """The names of the fastest and the next."""
        return frozenset(row.label for row in self.ranked[:2])

    @cached_property
    def lead(self) -> Ratio | None:
        """How many times as fast the fastest is as the next."""
        first, second = self.ranked[:2] if len(self.ranked) > 1 else (None, None)
        return tokens_ratio(first.measurement, second.measurement) if first and second else None

    @property
    def fastest(self) -> Row | None:
        """The row with the most tokens a second, if it is alone or resolved from the next."""
        alone = len(self.ranked) == 1
        ahead = self.lead is not None and self.lead.value > 1 and self.lead_resolved
        return self.ranked[0] if alone or ahead else None

    def value(self, axis: str) -> int:
        """Its place on an axis: a field of the config, or `threads`."""
        place: int = self.threads if axis == "threads" else getattr(self.config, axis)
        return place


@dataclass(frozen=True)
class Growth:
    """How an implementation's time grows along an axis: the exponent, and that of the machine's limit there."""

    label: str
    axis: str
    exponent: Interval
    expected: float
    over: tuple[int, ...]


class Scaling:
    """What a sweep says."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.summary: Summary = summarise(run)

    @cached_property
    def cells(self) -> list[CellResult]:
        """The cells that anything was measured in, in the order of the sweep."""
        rows: dict[int, list[Row]] = defaultdict(list)
        for row in self.summary.measured:
            rows[row.measurement.details["cell"]].append(row)
        found = [_cell(own) for own in rows.values()]
        compared = _compared(found)
        resolved = dict(zip(compared, resolve(list(compared.values())), strict=True))
        return [
            replace(
                cell,
                resolved=resolved.get((number, OURS_AND_THEIRS), False),
                lead_resolved=resolved.get((number, cell.leaders), False),
            )
            for number, cell in enumerate(found)
        ]

    @property
    def labels(self) -> list[str]:
        """The variants, in the order in which they were asked for."""
        return list(dict.fromkeys(row.label for row in self.summary.rows))

    @property
    def most_threads(self) -> int:
        """The largest number of threads that anything was measured on."""
        return max((cell.threads for cell in self.cells), default=1)

    def line(self, axis: str, keep: Callable[[CellResult], bool] = lambda _: True) -> list[CellResult]:
        """The most cells that differ along an axis alone, of those to `keep`, in its order; the most work first."""
        groups: dict[Any, list[CellResult]] = defaultdict(list)
        for cell in filter(keep, self.cells):
            groups[_without(cell, axis)].append(cell)
        longest = max(groups.values(), key=lambda g: (len(g), max(c.config.flops for c in g)), default=[])
        return sorted(longest, key=lambda cell: cell.value(axis))

    def plane(self, first: str, second: str) -> dict[tuple[int, int], CellResult]:
        """The largest map of cells on all threads that differ in two fields alone, by their values."""
        groups: dict[Any, list[CellResult]] = defaultdict(list)
        for cell in self.cells:
            if cell.threads == self.most_threads and not cell.config.skew:
                groups[replace(cell.config, **{first: 1, second: cell.config.top_k})].append(cell)
        several = [
            g
            for g in groups.values()
            if len({c.value(first) for c in g}) > 1 and len({c.value(second) for c in g}) > 1
        ]
        largest = max(several, key=len, default=[])
        return {(cell.value(first), cell.value(second)): cell for cell in largest}

    def growth(self, axis: str) -> list[Growth]:
        """How each variant's time grows over the upper half of an axis, where overhead is no large part of it."""
        line = self.line(axis, lambda cell: cell.threads == self.most_threads and not cell.config.skew)
        upper = line[-max(FEWEST_POINTS, (len(line) + 1) // 2) :]
        return [g for label in self.labels if (g := _growth(label, axis, upper))]

    def changes(self) -> list[tuple[CellResult, CellResult]]:
        """Neighbours along tokens between which another implementation becomes the fastest."""
        line = self.line("tokens", lambda cell: cell.threads == self.most_threads and not cell.config.skew)
        return [(a, b) for a, b in pairwise(line) if a.fastest and b.fastest and a.fastest.label != b.fastest.label]


def _cell(rows: Sequence[Row]) -> CellResult:
    """A cell in which nothing is resolved yet."""
    labels = {row.label: row for row in rows}
    whole = max((row.measurement.config for row in rows), key=lambda config: config.tokens)
    ours, theirs = labels.get(OURS), labels.get(THEIRS)
    ratio = tokens_ratio(ours.measurement, theirs.measurement) if ours and theirs else None
    return CellResult(whole, rows[0].threads, tuple(rows), ratio, resolved=False, lead_resolved=False)


def _compared(cells: Sequence[CellResult]) -> dict[tuple[int, frozenset[str]], Ratio]:
    """Every cell's comparisons by its number and the two that are compared: the same two once."""
    found = {}
    for number, cell in enumerate(cells):
        if cell.lead is not None:
            found[number, cell.leaders] = cell.lead
        if cell.ratio is not None:
            found[number, OURS_AND_THEIRS] = cell.ratio
    return found


def _without(cell: CellResult, axis: str) -> Any:
    """All else that a cell is, with the axis itself at a value that any layer can have."""
    if axis == "threads":
        return cell.config
    return replace(cell.config, **{axis: cell.config.top_k if axis == "num_experts" else 1}), cell.threads


def _growth(label: str, axis: str, cells: Sequence[CellResult]) -> Growth | None:
    rows = [(cell, row) for cell in cells if (row := cell.row(label)) and row.bound]
    if len(rows) < FEWEST_POINTS:
        return None
    x = np.log([cell.value(axis) for cell, _ in rows])
    weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
    rounds = grid([row.measurement for _, row in rows], same_rounds=False)
    slope = Estimate.weighted_sum(rounds.medians(np.log(rounds.seconds)), weights).interval()
    bounds = np.log([row.bound.seconds for _, row in rows if row.bound])
    return Growth(label, axis, slope, float(weights @ bounds), tuple(cell.value(axis) for cell, _ in rows))
