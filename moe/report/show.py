"""Putting sentences, tables and figures into a notebook, as HTML that needs nothing outside itself."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.display import HTML
from matplotlib import rc_context

from moe.report.style import own_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 144
FIGURES = "figures"


def show_sentences(lines: str | Sequence[str], kind: str = "findings") -> HTML:
    """One sentence as a paragraph, several as a list; `kind` is the class that styles them."""
    if isinstance(lines, str):
        return HTML(f'<p class="{kind}">{escape(lines)}</p>')
    return HTML(f'<ul class="{kind}">' + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>")


def show_table(html: str) -> HTML:
    """A table that scrolls by itself where the page is narrow."""
    return HTML(f'<div class="table" tabindex="0" role="group" aria-label="table">{html}</div>')


def show_figure(figure: Figure, name: str, finding: str, run: str | None) -> HTML:
    """A figure with its finding as caption and text alternative, saved as PNG and SVG beside the run's file."""
    image = BytesIO()
    # No software version, no date, no random names: two renders of one run are the same bytes.
    with own_settings():
        figure.savefig(image, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    if run is not None:
        folder = Path(run).parent / FIGURES
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.png").write_bytes(image.getvalue())
        with own_settings(), rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    data = base64.b64encode(image.getvalue()).decode()
    width = round(figure.get_figwidth() * 96)
    return HTML(
        '<figure><div class="picture" tabindex="0" role="group" aria-label="figure">'
        f'<img src="data:image/png;base64,{data}" width="{width}" alt="{escape(finding)}"></div>'
        f"<figcaption>{escape(finding)}</figcaption></figure>"
    )
