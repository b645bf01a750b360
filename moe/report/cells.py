"""Numbers in a table's cells, for a program and for sorting: what a cell shows is rounded and has a unit."""

import re
from collections.abc import Sequence
from html import escape
from math import isfinite

import pandas as pd

from moe.report.text import Shown

WHOLE = re.compile(r"\d{1,3}(,\d{3})*")  # as a text: exact, unlike others
CELL = re.compile(r'<td id="\S+_row(\d+)_col(\d+)"')


def carry_numbers(html: str, frame: pd.DataFrame, numbers: Sequence[str]) -> str:
    """A table of pandas' with the numbers of its `frame` in its cells: data-value, and data-low and -high if known.

    A whole number that is a text counts as one in the columns named in `numbers`. Where the unit
    of a number is not that of its text, it is in data-unit; what is remarked of it is in data-note.
    """
    columns = list(frame.columns)

    def carried(found: re.Match[str]) -> str:
        place = int(found[2])
        cell = frame.iat[int(found[1]), place]
        if columns[place] in numbers and type(cell) is str and WHOLE.fullmatch(cell):
            cell = int(cell.replace(",", ""))
        return found[0] + _attributes(cell)

    return CELL.sub(carried, html)


def _attributes(cell: object) -> str:
    if isinstance(cell, bool) or not isinstance(cell, int | float | Shown):
        return ""
    if not isinstance(cell, Shown):
        return f' data-value="{cell!r}"'
    ends = {"value": cell.number.value}
    if cell.number.bounded:
        ends |= {"low": cell.number.low, "high": cell.number.high}
    found = "".join(f' data-{name}="{float(value)!r}"' for name, value in ends.items() if isfinite(value))
    found += f' data-unit="{cell.unit}"' if cell.unit else ""
    return found + (f' data-note="{escape(cell.remark.strip())}"' if cell.remark else "")
