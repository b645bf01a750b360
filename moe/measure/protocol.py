"""How a run measures: the settings that are part of its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from moe.ranges import COUNT, PAUSE, SECONDS, SEED, SHARE, Range

FEWEST_INPUTS = 2  # an output for one could be right by accident, or be yesterday's

CACHES = ("warm", "cold")
MEMORY = Range(1, 2**60, whole=True)  # bytes
RANGES = {
    **dict.fromkeys(("budget_s", "timeout_s"), SECONDS),
    **dict.fromkeys(("turn_s", "warm_up_s", "warm_up_most_s", "save_every_s"), PAUSE),
    **dict.fromkeys(("processes", "rounds", "turn_forwards"), COUNT),
    "repeats": Range(0, COUNT.most, whole=True),
    "inputs": Range(FEWEST_INPUTS, COUNT.most, whole=True),
    "turn_most_s": SECONDS,
    "target": SHARE,
    "memory_bytes": MEMORY,
    "seed": SEED,
}
MAY_BE_NONE = ("turn_most_s", "target", "memory_bytes")


@dataclass(frozen=True)
class Protocol:
    """How a run measures; it is part of the run's file.

    A turn times single forwards for about turn_s, at least turn_forwards of them or as many as fit in turn_most_s
    (None: however long they take), after untimed ones for at least warm_up_s and until they get no faster, at most
    warm_up_most_s, and again, three times at most, while its threads share a core that they need not share. Every
    forward gets an input of its own. A round gives every variant one turn, in an order shuffled by `seed`; a turn
    that the machine disturbed is repeated later in the round, up to `repeats` times. Each of `processes` generations
    of workers makes as many rounds as any other, at least `rounds` of them and as many as budget_s has room for; more
    generations follow while they fit, or for as long again while a row has no interval; and, of the kernel and what
    may be the fastest other, while few turns are disturbed and its lead is known to no better than a tenth. What
    disturbances take may exceed it by two fifths, in a sweep by 35 %. With a `target`, generations are short and
    go on until no interval reaches farther than this share of its value, or the budget is spent.

    Before anything is timed the outputs for `inputs` inputs are compared with the reference, and later one of every
    turn's timed forwards is. With `cache` "cold", more memory than the last cache holds is written before every
    forward. A step that takes longer than timeout_s, or a worker that holds more than memory_bytes (None: four fifths
    of what is free at the start), fails.
    """

    budget_s: float = 60.0
    target: float | None = None
    timeout_s: float = 120.0
    memory_bytes: int | None = None
    processes: int = 5
    rounds: int = 2
    repeats: int = 3
    turn_s: float = 0.02
    # Turns were seen to differ by 10 % and forwards within one by 5 %: more turns tell more than longer ones, but
    # the processes that they are in take seconds to start.
    turn_forwards: int = 5
    turn_most_s: float | None = 0.3
    # Forwards right after another process's turn were seen to be slower for some 60 ms (NumPy's by 15 %).
    warm_up_s: float = 0.1
    warm_up_most_s: float = 1.0
    inputs: int = FEWEST_INPUTS
    seed: int = 0
    save_every_s: float = 5.0
    cache: str = "warm"

    # What a continued run may have otherwise without its samples meaning anything else.
    # Older runs have `rest_most_s`, for which they waited after each turn.
    MAY_CHANGE: ClassVar = (
        "budget_s", "target", "timeout_s", "memory_bytes", "processes", "rounds", "repeats", "turn_forwards",
        "turn_most_s", "save_every_s", "rest_most_s",
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise ValueError(f"cache must be {' or '.join(CACHES)}, got {self.cache!r}")
        for name, allowed in RANGES.items():
            if getattr(self, name) is not None or name not in MAY_BE_NONE:
                allowed.check(name, getattr(self, name))
