"""What a run measures: the list of its measurements."""

from collections.abc import Sequence

from moe.config import MoEConfig
from moe.implementations import entry_of
from moe.implementations.registry import BASELINE
from moe.measure.grid import Cell
from moe.ranges import THREADS
from moe.run import OTHER, Measurement
from moe.variant import Variant


def plan(
    variants: Sequence[Variant],
    config: MoEConfig,
    threads: Sequence[int],
    further: Sequence[tuple[Variant, MoEConfig]] = (),
) -> list[Measurement]:
    """The measurements to make, the controls after those of `config`, then `further` ones on the fewest threads.

    A variant that can use none of `threads` is planned as not run, with the reason. Raises ValueError for a bad list.
    """
    if not variants:
        raise ValueError("implementations must name at least one implementation")
    for count in threads:
        THREADS.check("threads", count)
    if not threads:
        raise ValueError("threads must name at least one number of threads")
    if len(set(map(str, variants))) < len(variants) or len(set(threads)) < len(threads):
        raise ValueError("implementations and threads must not repeat: a control is measured anyway")
    planned = [m for count in threads for v in variants if (m := _planned(v, config, count, threads))]
    names = [str(variant) for variant in variants]
    twice = variants[names.index(BASELINE) if BASELINE in names else 0]
    for first in [m for m in planned if m.label == str(twice) and not m.reason]:
        control = _measurement(twice, config, first.threads)
        control.label, control.control = f"{twice} (control)", True
        planned.append(control)
    more = (_planned(variant, size, min(threads), threads) for variant, size in further)
    return planned + [m for m in more if m is not None]


def plan_cells(variants: Sequence[Variant], cells: Sequence[Cell], *, apart: bool = False) -> list[Measurement]:
    """The measurements of each cell in its turn, and a control in the first on each number of threads.

    There is one in each cell if they are measured `apart`. Raises ValueError for a bad list.
    """
    if not cells:
        raise ValueError("a sweep must have at least one cell")
    planned: list[Measurement] = []
    controlled: set[int] = set()
    for number, cell in enumerate(cells):
        counts = sorted({other.threads for other in cells if other.config == cell.config})
        # The whole plan of the cell's problem, of which this cell is one number of threads.
        for m in plan(variants, cell.config, counts):
            if m.threads == cell.threads and (apart or not m.control or m.threads not in controlled):
                m.details["cell"] = number
                planned.append(m)
        controlled.add(cell.threads)
    return planned


def _planned(variant: Variant, config: MoEConfig, count: int, threads: Sequence[int]) -> Measurement | None:
    """A variant on `count` threads, or None if it is measured on another of the `threads` instead."""
    most = entry_of(variant).most_threads
    if variant.device != "cpu" and count < max(threads):
        return None  # another device does not care how many threads the CPU has
    if most is None or count <= most:
        return _measurement(variant, config, count)
    if min(threads) <= most or count > min(threads):
        return None
    measurement = _measurement(variant, config, count)
    measurement.code, measurement.reason = OTHER, f"it runs on {most} {'thread' if most == 1 else 'threads'} only"
    return measurement


def _measurement(variant: Variant, config: MoEConfig, threads: int) -> Measurement:
    config = entry_of(variant).affordable(config)
    return Measurement(str(variant), variant.name, variant.options, config, threads, variant.device)
