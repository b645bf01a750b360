"""The cells of a sweep: every combination of the values of its axes, the whole map coarsely, then finely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from moe import ranges
from moe.config import RANGES, MoEConfig, field_names, named_configs, read_field, unknown_name
from moe.form import CHOICES, check_choice, knob_text

THREADS = "threads"
CONFIG = "config"
Value = str | float | MoEConfig


@dataclass(frozen=True)
class Cell:
    """One problem on one number of threads."""

    config: MoEConfig
    threads: int


def read_axes(texts: Sequence[str]) -> dict[str, list[str]]:
    """`tokens=1,16` and the like as axes; raises ValueError for another form, an unknown axis or one given twice."""
    known = [*field_names(), THREADS, CONFIG]
    axes: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not (equals and values):
            raise ValueError(f"an axis must look like tokens=1,16,256, got {text!r}")
        if key not in known:
            raise ValueError(unknown_name("axis", key, known))
        if key in axes:
            raise ValueError(f"axis {key} is given twice")
        axes[key] = values.split(",")
    return axes


def cells_of(config: MoEConfig, axes: Mapping[str, Sequence[Value]]) -> tuple[list[Cell], list[str]]:
    """The cells, coarsest first, and what combinations no layer can have.

    `config` gives the fields that no axis names. The axis `config` has configs, or names of presets and of models;
    `threads` has numbers, every other one values of its field. Raises ValueError for a value that is none.
    """
    values = {key: [_value(key, value) for value in given] for key, given in axes.items()}
    for key, given in values.items():
        if len(set(given)) < len(given):
            raise ValueError(f"the values of axis {key} must not repeat, got {', '.join(map(str, given))}")
    levels = {key: _levels(len(given)) for key, given in values.items()}
    found: list[tuple[int, Cell]] = []
    left_out = []
    for places in product(*(range(len(given)) for given in values.values())):
        chosen: dict[str, Any] = {key: values[key][place] for key, place in zip(values, places, strict=True)}
        level = max((levels[key][place] for key, place in zip(values, places, strict=True)), default=0)
        base, threads = chosen.pop(CONFIG, config), chosen.pop(THREADS, 1)
        try:
            found.append((level, Cell(replace(base, **chosen), threads)))
        except ValueError as error:
            left_out.append(f"{', '.join(f'{k}={knob_text(v)}' for k, v in chosen.items())}: {error}")
    cells = list(dict.fromkeys(cell for _, cell in sorted(found, key=lambda pair: pair[0])))
    return cells, left_out


def _value(key: str, value: Value) -> Value:
    if key == CONFIG:
        if isinstance(value, MoEConfig):
            return value
        known = named_configs()
        if value not in known:
            raise ValueError(unknown_name("config", str(value), list(known)))
        return known[str(value)]
    whole = RANGES | {THREADS: ranges.THREADS}
    if key not in whole:
        return _knob(key, value)
    try:
        number = int(str(value))
    except ValueError:
        raise ValueError(f"axis {key} must have whole numbers, got {value!r}") from None
    whole[key].check(f"axis {key}", number)
    return number


def _knob(key: str, value: Value) -> Value:
    try:
        found: Value = read_field(key, str(value))
    except ValueError as error:
        raise ValueError(f"axis {error}") from None
    if key in CHOICES:
        check_choice(f"axis {key}", key, found)
    return found


def _levels(count: int) -> list[int]:
    """For each of `count` places in a row, how soon it is reached: the ends, then halves, then quarters."""
    levels = [count] * count
    step, level = max(1, count - 1), 0
    while True:
        for place in range(0, count, step):
            levels[place] = min(levels[place], level)
        levels[-1] = 0
        if step == 1:
            return levels
        step, level = (step + 1) // 2, level + 1
