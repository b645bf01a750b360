"""What all pages of a report have: links among them that are never dead, numbered figures, folds, data, one script.

A page may be sent alone. So names of other pages are text, of which the script makes links when the reader came from
another page, which is when they are there: links among pages end in REPORT.
"""

import base64
import gzip
import hashlib
import json
import re
from html import escape
from pathlib import Path
from statistics import median
from typing import Any

TEMPLATES = Path(__file__).resolve().parent / "templates"
SCRIPT = (TEMPLATES / "report" / "report.js").read_text(encoding="utf-8")
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
STYLES = (TEMPLATES / "report" / "report.css").read_text(encoding="utf-8")
IN_EVERY_PAGE = {"policy": POLICY, "styles": STYLES, "script": SCRIPT}
INDEX = "index"
REPORT = "#report"
ANSWERS = {  # what stands on which page
    "comparison": " (what is fastest)",
    "breakdown": " (where speed comes from)",
    "scaling": " (other sizes)",
    "claims": " (published speedups)",
}
MOST_BYTES = 1_500_000  # of a page
FOLDED = "folded"  # tags a heading's cell whose section is to be unfolded

# Where a template has room for them.
CONTENTS = "<!-- contents -->"
DATA = "<!-- data -->"


def navigation(here: str, names: list[str]) -> str:
    """The row of pages, each with what it answers; a name is that of a page's file, `here` the one that it is for."""
    shown = [f'<span data-page="{escape(n)}.html">{escape(n)}</span>{ANSWERS.get(n, "")}' for n in names if n != here]
    note = '<span class="unsent"> · all: <code>moe report --share</code></span>'
    return f'<nav class="pages" aria-label="Pages">{escape(here)}: {" · ".join(shown)}{note}</nav>'


def fold(notebook: Any) -> Any:
    """The notebook with each section whose heading has the tag FOLDED marked for the template, which folds it."""
    last = None  # cell of a section that is folded
    for cell in notebook.cells:
        heading = re.match(r"## (.+)\n*", cell.source) if cell.cell_type == "markdown" else None
        if heading and last is not None:
            last.metadata["closes"], last = True, None
        if heading and FOLDED in cell.metadata.get("tags", []):
            cell.source, cell.metadata["opens"] = cell.source[heading.end() :], escape(heading[1], quote=False)
            last = cell
        elif last is not None:
            last = cell
    if last is not None:
        last.metadata["closes"] = True
    return notebook


def finished(html: str) -> str:
    """A page with its contents, its figures numbered, and no link to a file beside it."""
    html = re.sub(r'<a href="([\w.-]+\.html)">(.*?)</a>', r'<span data-page="\1">\2</span>', html)
    return with_contents(numbered(html))


def numbered(html: str) -> str:
    """Figures numbered in their captions, and in the text of links to them."""
    names = list(dict.fromkeys(re.findall(r'<figure id="figure-([\w-]+)">', html)))
    for number, name in enumerate(names, 1):
        begin = html.index(f'<figure id="figure-{name}">')
        caption = html.index("<figcaption>", begin) + len("<figcaption>")
        html = f"{html[:caption]}<b>Figure {number}.</b> {html[caption:]}"
        html = re.sub(rf'(<a href="#figure-{name}">).*?</a>', rf"\1Figure {number}</a>", html)
    return html


def with_contents(html: str) -> str:
    """Anchors at a page's sections; links to them at the side, and in front of the first for narrow windows."""
    titles = re.findall(r"<h2>(.*?)</h2>", html)
    for title in titles:
        html = html.replace(f"<h2>{title}</h2>", f'<h2 id="{_anchor(title)}">{title}</h2>', 1)
    links = "".join(f'<li><a href="#{_anchor(title)}">{title}</a></li>' for title in titles)
    html = html.replace(CONTENTS, f"<ul>{links}</ul>", 1)
    folded = f'<details class="contents"><summary>Contents</summary><ul>{links}</ul></details>'
    return html.replace("<h2 ", f"{folded}<h2 ", 1) if titles else html


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def with_data(html: str, raw: bytes, name: str) -> str:
    """A page with the run's file in it: whole, or as large as there is room for, which it says."""
    values = name.replace(".json", "-values.json")
    for data, kept, said in (
        (raw, name, f"All that was measured, with every sample, is in this page too: it is <code>{name}</code>."),
        (
            _values_alone(raw),
            values,
            f"In this page is one value a turn; every sample is in <code>{name}</code> beside it.",
        ),
        (None, "", f"What was measured is too much for this page: it is in <code>{name}</code> beside it."),
    ):
        block = f'<p id="run-data">{said}</p>'
        if data is not None:
            packed = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
            block += f'<script type="application/gzip" id="run-file" data-name="{kept}">{packed}</script>'
        page = html.replace(DATA, block, 1)
        if len(page.encode(errors="backslashreplace")) < MOST_BYTES:  # as it will be written
            break
    return page


def _values_alone(raw: bytes) -> bytes:
    """A run's file in which each turn has its median in place of its samples."""
    run = json.loads(raw)
    for m in run["measurements"]:
        m["samples_s"] = [[median(turn)] for turn in m["samples_s"]]
    return (json.dumps(run, allow_nan=False) + "\n").encode()
