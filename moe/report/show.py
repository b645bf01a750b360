"""Putting sentences, tables and figures into a notebook, as HTML that needs nothing outside itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import HTML

from moe.report.style import own_settings
from moe.report.vector import svg_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 144
FIGURES = "figures"
ADDRESS = re.compile(r"https://[^\s<>\"&]*[\w/]")


def show_sentences(lines: str | Sequence[str], kind: str = "findings") -> HTML:
    """One sentence as a paragraph, several as a list; `kind` is the class that styles them."""
    if isinstance(lines, str):
        return HTML(f'<p class="{kind}">{linked(escape(lines))}</p>')
    return HTML(f'<ul class="{kind}">' + "".join(f"<li>{linked(escape(line))}</li>" for line in lines) + "</ul>")


def linked(html: str) -> str:
    """Escaped text in which addresses are links."""
    return ADDRESS.sub(r'<a href="\g<0>">\g<0></a>', html)


def show_table(html: str) -> HTML:
    """A table that scrolls by itself where the page is narrow, called by the first sentence of its caption."""
    caption = re.search(r"<caption>(.*?)</caption>", html, re.DOTALL)
    name = re.split(r"(?<=[a-z])[.:] ", caption[1], maxsplit=1)[0] if caption else ""
    html = re.sub(r"(?<=<caption>).*?(?=</caption>)", lambda found: linked(found[0]), html, flags=re.DOTALL)
    return HTML(f'<div class="table" tabindex="0" role="group" aria-label="Table: {name}">{html}</div>')


def show_figure(figure: Figure, name: str, finding: str, run: str | None) -> HTML:
    """A figure with its finding as caption, saved as PNG and SVG beside the run's file."""
    with own_settings():
        drawn = svg_of(figure, name)
        if run is not None:
            folder = Path(run).parent / FIGURES
            folder.mkdir(exist_ok=True)
            # No software version, no date, no random names: two renders of one run are the same bytes.
            figure.savefig(folder / f"{name}.png", dpi=DOTS_PER_INCH, metadata={"Software": None})
            (folder / f"{name}.svg").write_text(drawn, encoding="utf-8")
    return HTML(figure_html(name, drawn, finding))


def figure_html(name: str, drawn: str, finding: str) -> str:
    """A figure that was drawn as SVG, with its caption; its anchor is its name."""
    return (
        f'<figure id="figure-{name}"><div class="picture" tabindex="0" role="group" aria-label="Figure: {name}">'
        f"{drawn}</div><figcaption>{escape(finding)}</figcaption></figure>"
    )
