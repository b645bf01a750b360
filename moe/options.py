"""Numbers on the command line: each option says which it takes, in a message of argparse's own."""

from __future__ import annotations

from argparse import ArgumentTypeError
from contextlib import suppress

from moe import ranges


def threads(text: str) -> list[int]:
    """`1,2` as numbers."""
    return [int(_number(part, part, ranges.THREADS, "numbers of threads like 1,2")) for part in text.split(",")]


def seconds(text: str) -> float:
    """`60` or `60s` as a number."""
    return _number(text, text.removesuffix("s"), ranges.SECONDS, "seconds like 60 or 60s")


def share(text: str) -> float:
    """`1%` or `0.01` as a number."""
    unit = 0.01 if text.endswith("%") else 1.0
    return _number(text, text.removesuffix("%"), ranges.SHARE, "a share like 1% or 0.01", unit)


def mebibytes(text: str) -> int:
    """Mebibytes as bytes."""
    return int(2**20 * _number(text, text, ranges.Range(1, 2**40), "mebibytes like 512"))


def runs(text: str) -> int:
    """A number of runs."""
    return int(_number(text, text, ranges.RUNS, "a number of runs like 10"))


def _number(text: str, number: str, allowed: ranges.Range, like: str, unit: float = 1) -> float:
    """The number in an option's text; raises argparse's error, which has no message of its own as ValueError has."""
    with suppress(ValueError):
        value = int(number) if allowed.whole else unit * float(number)
        if value in allowed:
            return value
    raise ArgumentTypeError(f"expected {like}, {allowed}, got {text!r}")
