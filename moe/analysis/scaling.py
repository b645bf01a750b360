"""A sweep's cells as frames: which implementation wins where, by how much, and how its cost grows."""

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from moe.analysis.frames import interval_columns, interval_of, records, rows, with_numbers
from moe.analysis.limits import bytes_of
from moe.analysis.pairing import grid
from moe.analysis.statistics import Estimate, Ratio, resolve
from moe.analysis.summary import Summary, summarise, tokens_ratio
from moe.config import MoEConfig, field_names
from moe.models import title_of
from moe.run import Measurement, Run

OURS, THEIRS = "mojo", "torch"
OURS_AND_THEIRS = frozenset((OURS, THEIRS))
PLACE = (*field_names(), "threads")  # what tells cells apart
OTHERWISE_EVEN = ("threads", "skew")  # axes of which only one value is compared along the others
FEWEST_POINTS = 3  # of a slope: two lie on a line whatever they are


def cells(run: Run) -> pd.DataFrame:
    """The rows of a sweep, each with what its cell is and says.

    ratio is OURS' tokens a second over THEIRS', and `resolved` is that ratio's; fastest is the label with the most
    tokens a second if it is alone or resolved from all others, or else empty. Both are by Holm's correction over a
    machine's cells. cell_tokens, flops, config and model (its title, or empty) are the cell's whole problem, of which
    an implementation may get fewer tokens; flop_per_byte and lines of code are the row's. Raises ValueError for a run
    that has no cells.
    """
    return pd.concat([_cells(part).assign(machine=key) for key, part in run.by_machine().items()], ignore_index=True)


class Scaling:
    """What a sweep on one machine says.

    cells are the rows with numbers, in the order of the sweep, whose tokens are their cell's.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        frame = with_numbers(cells(run))
        self.cells = frame.assign(tokens=frame.cell_tokens)

    @cached_property
    def summary(self) -> Summary:
        """The run's rows one by one, with its controls."""
        return summarise(self.run)

    @property
    def problems(self) -> pd.DataFrame:
        """One row a cell, for what is alike in all of them."""
        return self.cells.drop_duplicates("cell")

    @property
    def labels(self) -> list[str]:
        """The variants, in the order in which they were asked for."""
        return list(dict.fromkeys(m.label for m in self.run.measurements if not m.control))

    @property
    def most_threads(self) -> int:
        """The largest number of threads that anything was measured on."""
        return int(self.cells.threads.max()) if len(self.cells) else 1

    @property
    def on_most_threads(self) -> pd.DataFrame:
        """The rows on the most threads whose routing is left to the gate."""
        return self.cells[(self.cells.threads == self.most_threads) & (self.cells["skew"] == 0)]

    def line(self, axis: str) -> pd.DataFrame:
        """The rows of the most cells that differ along an axis alone, in its order; of several, of the most work.

        Models' layers stand apart, unless there is nothing else. Threads and skew vary along their own axes only.
        """
        frame = self.cells if axis in OTHERWISE_EVEN else self.on_most_threads
        groups = [own for _, own in frame.groupby([name for name in PLACE if name != axis], sort=False)]

        def worth(own: pd.DataFrame) -> tuple[bool, int, int]:
            several = own.cell.nunique()
            return several > 1 and not own.model.any(), several, own.flops.max()

        return max(groups, key=worth, default=frame).sort_values(axis, kind="stable")

    def over_first(self, axis: str) -> pd.DataFrame:
        """The line along an axis with `times`: a row's time over its variant's at the first cell.

        Along threads it is the other way round, how many times as fast. A variant without a first or a second cell is
        left out; the first one's times are 1, without an interval.
        """
        line = self.line(axis)
        first = {row["label"]: row for row in records(line[line[axis] == line[axis].min()])}
        line = line[line.label.isin(first) & line.duplicated("label", keep=False)]
        found = [_times(first[row["label"]], row, axis) for row in records(line)]
        return line.assign(**{name: [times[name] for times in found] for name in interval_columns("times", None)})

    def plane(self, other: str) -> pd.DataFrame:
        """One row a cell of the largest map of cells that differ in tokens and another field alone."""
        frame = self.on_most_threads.drop_duplicates("cell")
        groups = frame.groupby([name for name in PLACE if name not in ("tokens", other)], sort=False)
        several = [own for _, own in groups if own.tokens.nunique() > 1 and own[other].nunique() > 1]
        return max(several, key=len, default=frame[:0])

    def growth(self, axis: str) -> list[dict[str, Any]]:
        """How each variant's time grows over the upper half of an axis, where overhead is no large part of it.

        label, exponent (_low, _high), and expected: that of the machine's limit over the same values.
        """
        line = self.line(axis)
        values = line[axis].unique()
        upper = line[line[axis].isin(values[-max(FEWEST_POINTS, (len(values) + 1) // 2) :])]
        upper = upper[upper.share_of_limit.notna()]
        chosen = [(label, upper[upper.label == label]) for label in self.labels]
        return [
            {"label": label, "over": list(own[axis])} | self._growth(axis, own)
            for label, own in chosen
            if len(own) >= FEWEST_POINTS
        ]

    def _growth(self, axis: str, own: pd.DataFrame) -> dict[str, float]:
        x = np.log(own[axis].to_numpy(dtype=float))
        weights = (x - x.mean()) / np.sum((x - x.mean()) ** 2)
        rounds = grid([self.run.measurements[place] for place in own.index], same_rounds=False)
        slope = Estimate.weighted_sum(rounds.medians(np.log(rounds.seconds)), weights).interval()
        bounds = np.log((own.latency_s * own.share_of_limit).to_numpy(dtype=float))
        return {**interval_columns("exponent", slope), "expected": float(weights @ bounds)}

    def changes(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Neighbours along tokens between which another implementation becomes the fastest."""
        line = records(self.line("tokens").drop_duplicates("cell"))
        return [(a, b) for a, b in pairwise(line) if a["fastest"] and b["fastest"] and a["fastest"] != b["fastest"]]


def _times(first: dict[str, Any], row: dict[str, Any], axis: str) -> dict[str, float]:
    if row["cell"] == first["cell"]:
        return interval_columns("times", None) | {"times": 1.0}
    before, here = interval_of(first, "latency_s"), interval_of(row, "latency_s")
    return interval_columns("times", before.over(here) if axis == "threads" else here.over(before))


def _cells(run: Run) -> pd.DataFrame:
    frame = rows(run)
    if (frame.cell < 0).any():
        raise ValueError("the run is no sweep: its measurements have no cells")
    whole: dict[int, MoEConfig] = {}
    for m in sorted(run.measurements, key=lambda m: m.config.tokens):
        whole[m.details["cell"]] = m.config
    configs = [whole[cell] for cell in frame.cell]
    said = _said(run, with_numbers(frame))
    nothing = {**interval_columns("ratio", None), "resolved": False, "fastest": ""}
    own = [said.get(cell, nothing) for cell in frame.cell]
    return frame.assign(
        cell_tokens=[c.tokens for c in configs],
        flops=[c.flops for c in configs],
        config=[c.label for c in configs],
        model=[title_of(c) or "" for c in configs],
        flop_per_byte=[m.config.flops / bytes_of(m) for m in run.measurements],
        lines=[sum(m.details.get("lines", {}).values()) for m in run.measurements],
        **{name: [found[name] for found in own] for name in nothing},
    )


def _said(run: Run, measured: pd.DataFrame) -> dict[int, dict[str, Any]]:
    """By cell, the ratio of OURS over THEIRS, whether it is resolved, and which variant is the fastest."""
    ratios: dict[tuple[int, frozenset[str]], Ratio] = {}
    leads: dict[int, tuple[str, ...]] = {}
    for _, own in measured.sort_values("tokens_per_s", ascending=False, kind="stable").groupby("cell"):
        cell = int(own.cell.iloc[0])
        made = {label: run.measurements[place] for place, label in zip(own.index, own.label, strict=True)}
        leads[cell] = _lead(made, list(own.label[own.tokens_per_s.notna()]))
        for pair in (leads[cell], (OURS, THEIRS)):  # where these two are the first, they are compared once
            if len(pair) == 2 and made.keys() >= set(pair) and (ratio := tokens_ratio(made[pair[0]], made[pair[1]])):
                ratios[cell, frozenset(pair)] = ratio
    resolved = dict(zip(ratios, resolve(list(ratios.values())), strict=True))
    found = {}
    for cell, lead in leads.items():
        is_told = len(lead) == 1 or resolved.get((cell, frozenset(lead)), False)
        found[cell] = {
            **interval_columns("ratio", ratios.get((cell, OURS_AND_THEIRS))),
            "resolved": resolved.get((cell, OURS_AND_THEIRS), False),
            "fastest": lead[0] if is_told else "",
        }
    return found


def _lead(made: dict[str, Measurement], ranked: list[str]) -> tuple[str, ...]:
    """The first of a cell's variants, and the other from which it is told the least surely, wherever that is ranked.

    It is the fastest if it is resolved from that one, and so from all: no correction is made among them. A variant
    alone has no other; there is none at all where the first is behind another in the rounds that both have.
    """
    leads = {other: tokens_ratio(made[ranked[0]], made[other]) for other in ranked[1:]}
    ratios = [(lead.p_value, other) for other, lead in leads.items() if lead and lead.value > 1]
    if len(ratios) < len(leads):
        return ()
    return (ranked[0], max(ratios)[1]) if ratios else tuple(ranked)
