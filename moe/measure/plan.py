"""What a run measures and how: its protocol, and the list of its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from moe.config import MoEConfig
from moe.implementations import entry_of
from moe.implementations.registry import BASELINE
from moe.measure.grid import Cell
from moe.run import Measurement
from moe.variant import Variant

FEWEST_INPUTS = 2  # an output for one could be right by accident, or be yesterday's

CACHES = ("warm", "cold")


@dataclass(frozen=True)
class Protocol:
    """How a run measures; it is part of the run's file.

    A turn times single forwards for turn_s, at least turn_forwards of them, after untimed ones for at least
    warm_up_s and until they get no faster, at most warm_up_most_s. A round gives every variant one turn, in an order
    shuffled by `seed`; after one on several threads its worker gets up to rest_most_s to come to rest. Rounds go on
    in each of `processes` generations of workers until its share of budget_s is spent. With a `target`, generations
    are short and go on until no interval reaches farther than this share of its value, or the budget is spent. With
    `cache` "cold", more memory than the last cache holds is written before every forward. A step that takes longer
    than timeout_s, or a worker that holds more than memory_bytes (None: four fifths of what is free at the start),
    fails.
    """

    budget_s: float = 60.0
    target: float | None = None
    timeout_s: float = 120.0
    memory_bytes: int | None = None
    processes: int = 3
    turn_s: float = 0.02
    turn_forwards: int = 3
    # Forwards right after another process's turn were seen to be slower for some 60 ms (NumPy's by 15 %).
    warm_up_s: float = 0.1
    warm_up_most_s: float = 1.0
    inputs: int = 4
    # OpenBLAS's threads were seen to spin for 100 ms after a product, PyTorch's for less than 10.
    rest_most_s: float = 1.0
    seed: int = 0
    save_every_s: float = 5.0
    cache: str = "warm"

    # What a continued run may have otherwise without its samples meaning anything else.
    MAY_CHANGE: ClassVar = ("budget_s", "target", "timeout_s", "memory_bytes", "processes", "save_every_s")

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise ValueError(f"cache must be {' or '.join(CACHES)}, got {self.cache!r}")
        if self.inputs < FEWEST_INPUTS:
            raise ValueError(f"inputs must be at least {FEWEST_INPUTS}, got {self.inputs!r}")
        for name in ("budget_s", "target", "timeout_s", "memory_bytes", "processes", "turn_forwards"):
            value = getattr(self, name)
            if value is None and name in ("target", "memory_bytes"):
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value!r}")


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
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"threads must be whole numbers of at least 1, got {count!r}")
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
    """The measurements of each cell in its turn, and a control in the first, or in each if they are measured `apart`.

    Raises ValueError for a bad list.
    """
    if not cells:
        raise ValueError("a sweep must have at least one cell")
    planned: list[Measurement] = []
    for number, cell in enumerate(cells):
        counts = sorted({other.threads for other in cells if other.config == cell.config})
        # The whole plan of the cell's problem, of which this cell is one number of threads.
        for m in plan(variants, cell.config, counts):
            if m.threads == cell.threads and (apart or not (m.control and number)):
                m.details["cell"] = number
                planned.append(m)
    return planned


def _planned(variant: Variant, config: MoEConfig, count: int, threads: Sequence[int]) -> Measurement | None:
    """A variant on one of the numbers of threads, or None if another of them is the one to measure it on."""
    most = entry_of(variant).most_threads
    if variant.device != "cpu" and count < max(threads):
        return None  # another device does not care how many threads the CPU has
    if most is None or count <= most:
        return _measurement(variant, config, count)
    if min(threads) <= most or count > min(threads):
        return None
    measurement = _measurement(variant, config, count)
    measurement.reason = f"it runs on {most} {'thread' if most == 1 else 'threads'} only"
    return measurement


def _measurement(variant: Variant, config: MoEConfig, threads: int) -> Measurement:
    config = entry_of(variant).affordable(config)
    return Measurement(str(variant), variant.name, variant.options, config, threads, variant.device)
