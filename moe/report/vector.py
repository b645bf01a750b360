"""A figure as inline SVG: a text of its own for who can't see it, and the values of its marks for who points at them.

Identifiers begin with the figure's name, so that several figures can stand in one page.
"""

import re
from collections.abc import Iterator
from io import BytesIO
from itertools import chain, cycle
from typing import Any
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.category import StrCategoryLocator
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from moe.report.text import significant

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
PIXELS_PER_INCH = 120  # a little more than CSS has: type of 8 points is read easily
NUMBER = re.compile(r"[\d.,\s−-]*")
NO_POINTS = (None, "None", "", " ", "|", "_")  # of lines without markers, and of the ends of error bars
MOST_MARKS = 400  # of one figure whose values are told

Values = dict[str, list[str]]  # what each mark of an artist says, by the artist's identifier

ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


def svg_of(figure: Figure, name: str) -> str:
    """The figure as an SVG element; the same figure and name give the same text."""
    values = _values(figure)
    image = BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(image, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(image.getvalue())
    _leave_out(root, "metadata", "style")
    for group in root.iter(f"{{{SVG}}}g"):
        _tell(group, values.get(group.get("id", ""), []))
    for element in root.iter():
        element.attrib.update({key: _own(key, value, name) for key, value in element.attrib.items()})
    for size in ("width", "height"):
        del root.attrib[size]
    width = round(figure.get_figwidth() * PIXELS_PER_INCH)
    # What matplotlib sets for all elements of a document, for this one alone.
    style = f"max-width: {width}px; stroke-linejoin: round; stroke-linecap: butt"
    root.attrib |= {"role": "img", "aria-label": described(figure), "style": style}
    return ElementTree.tostring(root, encoding="unicode")


def described(figure: Figure) -> str:
    """What is drawn against what, and of what: the caption says what that shows."""
    parts = []
    for axes in figure.axes:
        labels = list(dict.fromkeys(_legend(axes).values()))
        if axes.get_xlabel() or axes.get_ylabel():
            drawn = " against ".join(filter(None, (axes.get_ylabel() or _names(axes), axes.get_xlabel())))
            title = f"{axes.get_title()}: " if axes.get_title() else ""
            parts.append(f"{title}{drawn}{', of ' if labels else ''}{', '.join(labels)}")
    return f"Figure, described in the text below it, that draws {'; '.join(parts) or 'what stands in it'}"


def _names(axes: Axes) -> str:
    """The names along an axis that has no label."""
    return ", ".join(" ".join(label.get_text().split()) for label in axes.get_yticklabels() if label.get_text())


def _leave_out(root: ElementTree.Element, *tags: str) -> None:
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in {f"{{{SVG}}}{tag}" for tag in tags}]:
            parent.remove(child)


def _own(key: str, value: str, name: str) -> str:
    """An attribute in which identifiers begin with the figure's name."""
    if key == "id":
        return f"{name}-{value}"
    if key == f"{{{XLINK}}}href" and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return value.replace("url(#", f"url(#{name}-")


def _tell(group: ElementTree.Element, values: list[str]) -> None:
    """Add to each mark of a group what it says, where there are as many."""
    inside = {id(e) for d in group.iter(f"{{{SVG}}}defs") for e in d.iter()}
    marks = [e for e in group.iter(f"{{{SVG}}}use") if id(e) not in inside]
    marks = marks or [e for e in group.iter(f"{{{SVG}}}path") if id(e) not in inside]
    if values and len(marks) == len(values):
        for mark, value in zip(marks, values, strict=True):
            ElementTree.SubElement(mark, f"{{{SVG}}}title").text = value


def _values(figure: Figure) -> Values:
    """Name the artists that are points or bars, and say what each of these is."""
    found: Values = {}
    for number, axes in enumerate(figure.axes):
        said = chain(_lines(axes), _points(axes), _bars(axes))
        for place, (artist, values) in enumerate(said):
            artist.set_gid(f"values-{number}-{place}")
            found[str(artist.get_gid())] = values
    return found if sum(map(len, found.values())) <= MOST_MARKS else {}


def _lines(axes: Axes) -> Iterator[tuple[Any, list[str]]]:
    """Lines with markers, one value a marker."""
    legend = _legend(axes)
    for line in axes.lines:
        points = np.asarray(line.get_xydata(), dtype=float)
        points = points[np.isfinite(points).all(axis=1)]
        if len(points) and line.get_marker() not in NO_POINTS:
            label = legend.get(_look(line.get_color(), line.get_marker()), "")
            yield line, [_said(axes, label, x, y) for x, y in points]


def _points(axes: Axes) -> Iterator[tuple[Any, list[str]]]:
    """Scattered points."""
    legend = _legend(axes)
    for points in axes.collections:
        if isinstance(points, PathCollection):
            places = np.asarray(points.get_offsets(), dtype=float)
            colours = cycle([to_hex(colour) for colour in np.atleast_2d(points.get_facecolor())] or [""])
            by_colour = {colour: text for (colour, _), text in legend.items()}
            labels = (by_colour.get(colour, "") for colour in colours)
            yield points, [_said(axes, label, x, y) for label, (x, y) in zip(labels, places, strict=False)]


def _bars(axes: Axes) -> Iterator[tuple[Any, list[str]]]:
    """Bars, which end at their value."""
    legend = _legend(axes)
    for container in axes.containers:
        if not isinstance(container, BarContainer):
            continue
        for bar in container:
            label = legend.get(_look(bar.get_facecolor(), None), "")
            middle = bar.get_x() + bar.get_width() / 2, bar.get_y() + bar.get_height() / 2
            end = bar.get_x() + bar.get_width(), bar.get_y() + bar.get_height()
            flat = container.orientation == "horizontal"
            yield bar, [_said(axes, label, end[0] if flat else middle[0], middle[1] if flat else end[1])]


def _look(colour: Any, marker: Any) -> tuple[str, str]:
    return to_hex(colour), str(marker)


def _legend(axes: Axes) -> dict[tuple[str, str], str]:
    """The labels of legends, by what they stand beside."""
    own = axes.get_legend()
    found = {}
    for legend in [*([own] if own else []), *axes.figure.legends]:
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=False):
            colour = getattr(handle, "get_color", getattr(handle, "get_facecolor", None))
            if handle is not None and colour is not None:
                marker = handle.get_marker() if hasattr(handle, "get_marker") else None
                found[_look(colour(), marker)] = text.get_text()
    return found


def _said(axes: Axes, label: str, x: float, y: float) -> str:
    return ", ".join(filter(None, (label, _at(axes.yaxis, y), _at(axes.xaxis, x))))


def _at(axis: Axis, value: float) -> str:
    """A value with what its axis is of, or the name that stands there."""
    if isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        places = [float(place) for place in axis.get_ticklocs()]
        names = axis.get_major_formatter().format_ticks(places)
        nearest = min(zip(places, names, strict=True), key=lambda tick: abs(tick[0] - value), default=(0.0, ""))[1]
        if not NUMBER.fullmatch(nearest):
            return " ".join(nearest.split())
    what, _, _ = axis.get_label_text().partition(" (")
    return f"{what} {significant(value)}".strip()
