"""Options of the command line: groups that commands share, and which numbers each takes, in argparse's own words."""

import shlex
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from moe import ranges


def measuring(parser: ArgumentParser, budget_s: float | None = None, of: str = "") -> None:
    """Whether to measure at once; with `budget_s`, the default, also how many seconds (`of` what, if anything)."""
    if budget_s is not None:
        text = f"seconds of measuring{of} (%(default)g)"
        parser.add_argument("--budget", type=seconds, default=budget_s, help=text)
    parser.add_argument("--anyway", action="store_true", help="measure at once, however busy the machine is")


def saving(parser: ArgumentParser, what: str, resume: str = "") -> None:
    """Where to save what and whether to replace it; with `resume`, which is that option's help, also going on."""
    parser.add_argument("--json", type=Path, metavar="FILE", help=f"where to save {what}")
    again = parser.add_mutually_exclusive_group()
    if resume:
        again.add_argument("--resume", action="store_true", help=resume)
    again.add_argument("--force", action="store_true", help="replace FILE")


def run(parser: ArgumentParser, resume: str) -> None:
    """How a run is measured and saved; `resume` says how one goes on."""
    measuring(parser, 60.0)
    parser.add_argument("--timeout", type=seconds, default=120.0, help="seconds for one step (%(default)g)")
    memory = "what a worker may hold (4/5 of what is free)"
    parser.add_argument("--memory", type=mebibytes, metavar="MIB", help=memory)
    saving(parser, "the run", resume)
    parser.set_defaults(go_on="give the same command --resume", else_saved=": --json FILE saves it")


def checkpoint(parser: ArgumentParser) -> None:
    """The layer of a model on this disk, in place of one that a seed makes."""
    folder = "weights of a model's own: a Hugging Face folder with config.json and safetensors"
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER", help=folder)
    parser.add_argument("--layer", type=layer, metavar="N", help="the checkpoint's layer")


def shapes(parser: ArgumentParser, named: str, folder: str, what: str, budget_s: float) -> None:
    """Which shapes, of those `named` so, are measured how, and which folder or page `what` is found goes to."""
    parser.add_argument("names", nargs="*", metavar="SHAPE", help=named)
    parser.add_argument("--threads", type=threads, default=[1, 2], help="numbers of threads, 1,2 (1,2)")
    measuring(parser, budget_s, " a shape")
    parser.add_argument("--folder", type=Path, default=Path(folder), help=f"where {what} go (%(default)s)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="measure nothing: put results into this page")
    parser.set_defaults(go_on="give the same command, naming the shapes that are left")


def again(parser: ArgumentParser, parsed: Namespace, names: Iterable[str]) -> str:
    """The command that was parsed, with other `names` and every option that was given, each with its one value."""
    words = [*parser.prog.split(), *names]
    for name, value in vars(parsed).items():
        if name != "names" and value != parser.get_default(name):
            words += [f"--{name}", ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    return shlex.join(words)


def _number(allowed: ranges.Range, like: str, text: str, suffix: str = "", unit: float = 1.0) -> Any:
    """The number in an option's text, in a `unit` where it has its suffix; raises argparse's own error."""
    number = text.removesuffix(suffix)
    with suppress(ValueError):
        value = int(number) if allowed.whole else float(number) * (1.0 if number == text else unit)
        if value in allowed:
            return value
    raise ArgumentTypeError(f"expected {like}, {allowed}, got {text!r}")


seconds = partial(_number, ranges.SECONDS, "seconds like 60 or 60s", suffix="s")
share = partial(_number, ranges.SHARE, "a share like 1% or 0.01", suffix="%", unit=0.01)
layer = partial(_number, ranges.SIZE_OR_NONE, "the number of a layer like 3")
runs = partial(_number, ranges.RUNS, "a number of runs like 10")


def threads(text: str) -> list[int]:
    """`1,2` as numbers."""
    return [_number(ranges.THREADS, "numbers of threads like 1,2", part) for part in text.split(",")]


def mebibytes(text: str) -> int:
    """Mebibytes as bytes."""
    return int(2**20 * _number(ranges.Range(1, 2**40), "mebibytes like 512", text))
