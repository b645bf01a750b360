"""Figures as SVG, and tables' cells with their numbers."""

from __future__ import annotations

from math import inf
from xml.etree import ElementTree

import pandas as pd
import pytest
import seaborn as sns
from bs4 import BeautifulSoup, Tag
from matplotlib.figure import Figure

from moe.analysis import Interval
from moe.report.tables import html_table
from moe.report.text import bound_text, percent, power_of_ten, seconds, significant, span, times
from moe.report.vector import SVG, described, svg_of

LINES = {"tokens": [1, 16, 1, 16], "rate": [1.5, 2.5, 3.5, 41234.0], "name": ["numpy", "numpy", "mojo", "mojo"]}


def of_lines() -> Figure:
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    look = {"hue": "name", "style": "name", "markers": True}
    sns.lineplot(pd.DataFrame(LINES), x="tokens", y="rate", ax=axes, **look)
    axes.set(xlabel="tokens (log scale)", ylabel="tokens a second")
    return figure


def titles(svg: str) -> list[str]:
    return [str(title.text) for title in ElementTree.fromstring(svg).iter(f"{{{SVG}}}title")]


def test_two_drawings_are_the_same_text_and_share_no_identifier() -> None:
    first, second = svg_of(of_lines(), "a"), svg_of(of_lines(), "b")
    assert svg_of(of_lines(), "a") == first
    ids = [
        {e.attrib["id"] for e in ElementTree.fromstring(svg).iter() if "id" in e.attrib} for svg in (first, second)
    ]
    assert ids[0]
    assert not ids[0] & ids[1]
    named = {part.split(")")[0] for part in first.split("url(#")[1:]}
    named |= {part.split('"')[0] for part in first.split('href="#')[1:]}
    assert named
    assert named <= ids[0]
    assert "<style" not in first


def test_a_point_says_what_it_is_of() -> None:
    assert set(titles(svg_of(of_lines(), "a"))) == {
        *("numpy, tokens a second 1.50, tokens 1.00", "numpy, tokens a second 2.50, tokens 16.0"),
        *("mojo, tokens a second 3.50, tokens 1.00", "mojo, tokens a second 41,200, tokens 16.0"),
    }


def test_a_bar_says_its_value_and_the_name_beside_it() -> None:
    figure = Figure()
    axes = figure.add_subplot(xlabel="tokens a second")
    axes.barh([0, 1], [5.0, 7.25])
    axes.set_yticks([0, 1], ["NumPy", "Mojo"])
    assert titles(svg_of(figure, "a")) == ["NumPy, tokens a second 5.00", "Mojo, tokens a second 7.25"]


def test_a_figure_says_in_words_what_it_draws() -> None:
    text = described(of_lines())
    assert "tokens a second against tokens (log scale), of numpy, mojo" in text
    root = ElementTree.fromstring(svg_of(of_lines(), "a"))
    assert root.get("role") == "img"
    assert root.get("aria-label") == text


INTERVAL = Interval(1.23456789, 1.1, 1.3)
REMARKS = {"120 [110–130] % of memory (limit not measured well)": "% of memory (limit not measured well)"}


@pytest.mark.parametrize(
    ("cell", "value", "low", "high", "unit"),
    [
        (span(INTERVAL, 1e3), 1234.56789, 1100.0, 1300.0, None),
        (times(INTERVAL) + " (not resolved)", 1.23456789, 1.1, 1.3, None),
        (span(Interval(2.0, 0.0, inf)), 2.0, None, None, None),
        (bound_text(Interval(1.2, 1.1, 1.3), "memory"), 120.0, 110.0, 130.0, None),
        (seconds(0.00123456), 0.00123456, None, None, "s"),
        (percent(0.1234), 12.34, None, None, "%"),
        (significant(52345.678), 52345.678, None, None, None),
        (power_of_ten(1.23e-7), 1.23e-7, None, None, None),
        (2, 2.0, None, None, None),
        ("1,024", 1024.0, None, None, None),
        ("T=4 d=8", None, None, None, None),
        (None, None, None, None, None),
        (True, None, None, None, None),
    ],
)
def test_a_cell_has_the_number_behind_its_text(
    cell: object, value: float | None, low: float | None, high: float | None, unit: str | None
) -> None:
    html = html_table("t", [{"name": "a", "number": cell}], "A table.", ["number"])
    found = BeautifulSoup(html, "html.parser").find(id="T_t_row0_col1")
    assert isinstance(found, Tag)
    for name, expected in (("value", value), ("low", low), ("high", high)):
        shown = found.get(f"data-{name}")
        assert (shown is None) == (expected is None)
        if expected is not None:
            assert float(str(shown)) == pytest.approx(expected, rel=1e-12)
    assert found.get("data-unit") == unit
    assert found.get("data-note") == ("(not resolved)" if "not resolved" in str(cell) else REMARKS.get(str(cell)))
