"""Runs of several machines as one: every cell keeps the machine that it was measured on."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from moe.measure.protocol import Protocol
from moe.run import CHECKPOINT, Measurement, Run, measured

Place = tuple[Any, ...]  # a machine, the layer with all its tokens, a number of threads, and what was measured of it


def merge_runs(runs: Sequence[Run]) -> Run:
    """All cells of any number of runs from any number of machines.

    Of a cell that a machine measured twice the run that comes later in `runs` counts, unless it lacks more rows.
    Raises ValueError for no runs, and for runs that were measured in different ways.
    """
    if not runs:
        raise ValueError("merge needs at least one run")
    _require_one_protocol(runs)
    threads = sorted({count for run in runs for count in run.protocol["threads"]})
    whole = Run(runs[0].machine, runs[0].versions, {**runs[0].protocol, "threads": threads})
    whole.elapsed_s = sum(run.elapsed_s for run in runs)
    cells: dict[Place, list[Measurement]] = {}
    for part in (part for run in runs for part in run.by_machine().values()):
        key = enter_machine(whole, part)
        for cell in _cells(part):
            largest = max((m.config for m in cell), key=lambda config: config.tokens)
            place = key, largest, cell[0].threads, frozenset(m.label for m in cell if not m.control)
            if place not in cells or measured(cell) >= measured(cells[place]):
                cells[place] = cell
    for number, ((key, *_), cell) in enumerate(cells.items()):
        named = {"cell": number, "machine": key}
        whole.measurements += [replace(m, details=m.details | named) for m in cell]
    whole.complete = not any(m.is_open for m in whole.measurements)
    return whole


def enter_machine(whole: Run, part: Run) -> str:
    """Enter the machine, versions and limits of a run of one machine, and return the machine's key in the whole."""
    described = {"machine": part.machine, "versions": part.versions}
    own = part.machine.get("key", "unnamed")
    numbered = (own if number == 1 else f"{own}-{number}" for number in count(1))
    # One machine with other versions is shown as another.
    known = {k: replace(whole, **facts) for k, facts in whole.machines.items()}
    key = next(k for k in numbered if k not in known or not part.differences(known[k]))
    whole.machines.setdefault(key, described)
    whole.limits += [{**entry, "machine": key} for entry in part.limits]
    return key


def _require_one_protocol(runs: Sequence[Run]) -> None:
    for run in runs[1:]:
        for name in {**runs[0].protocol, CHECKPOINT: None}:
            first, other = runs[0].protocol.get(name), run.protocol.get(name)
            if name not in (*Protocol.MAY_CHANGE, "threads", "seed") and other != first:
                raise ValueError(f"runs can't be merged: their {name} are {first!r} and {other!r}")


def _cells(part: Run) -> list[list[Measurement]]:
    """The measurements of each cell; of a run that is no sweep, those of each size and number of threads."""
    cells: dict[Any, list[Measurement]] = {}
    for m in part.measurements:
        cells.setdefault(m.details.get("cell", (m.config, m.threads)), []).append(m)
    return list(cells.values())
