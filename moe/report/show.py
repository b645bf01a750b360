"""Putting sentences, tables and figures into a notebook, as HTML that needs nothing outside itself."""

import re
from collections.abc import Sequence
from html import escape, unescape
from pathlib import Path

from IPython.display import HTML
from matplotlib.figure import Figure

from moe.report.sentences import TOO_NOISY
from moe.report.style import own_settings
from moe.report.vector import svg_of

DOTS_PER_INCH = 144
FIGURES = "figures"
ADDRESS = re.compile(r"https://[^\s<>\"&]*[\w/]")
# A blank between a number and its unit, at which no line ends.
BEFORE_UNIT = re.compile(
    r"(?<=[\d\]]) (?=(?:[×%]|[mµn]?s|[KMG]iB|[MG]Hz|[MGT]?(?:B|FLOP)/s|tokens?(?:/s)?|threads?)(?![\w/]))"
)
# What is not to be believed, and where: in a colour of its own too.
WARNING = re.compile(rf"(?i:{TOO_NOISY})(?: to cite| to compare)?(?: on \d+(?: threads?)?)?")
INTERVAL = re.compile(r"\[[\d.,e−-]+(?:–| to )[\d.,e−-]+\]")


def show_sentences(lines: str | Sequence[str], kind: str = "findings") -> HTML:
    """One sentence as a paragraph, several as a list; `kind` is the class that styles them."""
    if isinstance(lines, str):
        return HTML(f'<p class="{kind}">{text_html(lines)}</p>')
    return HTML(f'<ul class="{kind}">' + "".join(f"<li>{text_html(line)}</li>" for line in lines) + "</ul>")


def text_html(text: str) -> str:
    """A text as HTML, in which addresses are links, and no line ends inside a number with its unit or an interval.

    What is too noisy is marked.
    """
    linked = ADDRESS.sub(r'<a href="\g<0>">\g<0></a>', escape(text))
    html = WARNING.sub(r'<strong class="warning">\g<0></strong>', linked)
    return INTERVAL.sub(r'<span class="number">\g<0></span>', BEFORE_UNIT.sub("\N{NO-BREAK SPACE}", html))


def show_table(html: str) -> HTML:
    """A table of `tables.html_table`, as `table_html` has it."""
    return HTML(table_html(html))


def table_html(html: str) -> str:
    """A table that scrolls by itself where the page is narrow, called by the first sentence of its caption."""
    caption = re.search(r"<caption>(.*?)</caption>", html, re.DOTALL)
    name = re.split(r"(?<=[a-z])[.:] ", caption[1], maxsplit=1)[0] if caption else ""
    html = re.sub(r"(?<=<caption>).*?(?=</caption>)", lambda found: text_html(unescape(found[0])), html, flags=re.S)
    html = re.sub(r"(<td[^>]*>)(.*?)(?=</td>)", lambda found: found[1] + _cell_html(found[2]), html, flags=re.S)
    return f'<div class="table" tabindex="0" role="group" aria-label="Table: {name}">{html}</div>'


def _cell_html(html: str) -> str:
    """A cell in which a line may end before a variant's options and between them, and in no interval."""
    html = re.sub(r"(?<=\w)(?=\[[a-z])|(?<=,)(?=[a-z])", "<wbr>", html)
    return INTERVAL.sub(r'<span class="number">\g<0></span>', html)


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
        f"{drawn}</div><figcaption>{text_html(finding)}</figcaption></figure>"
    )
