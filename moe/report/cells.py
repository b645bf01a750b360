"""Numbers in a table's cells, for a program and for sorting: what a cell shows is rounded and has a unit."""

from __future__ import annotations

import re
from html import escape
from math import isfinite
from typing import TYPE_CHECKING

from moe.report.text import Shown

if TYPE_CHECKING:
    import pandas as pd

WHOLE = re.compile(r"\d{1,3}(,\d{3})*")  # as a text: exact, unlike others
CELL = re.compile(r'<td id="\S+_row(\d+)_col(\d+)"')


def carry_numbers(html: str, frame: pd.DataFrame) -> str:
    """A table of pandas' with the numbers of its `frame` in its cells: data-value, and data-low and -high if known.

    Where the unit of a number is not that of its text, it is in data-unit; what is remarked of it is in data-note.
    """
    return CELL.sub(lambda found: found[0] + _attributes(frame.iat[int(found[1]), int(found[2])]), html)


def _attributes(cell: object) -> str:
    if isinstance(cell, str) and not isinstance(cell, Shown) and WHOLE.fullmatch(cell):
        cell = int(cell.replace(",", ""))
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
