"""The page over a report's notebooks: what each found, and what could not be made or measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from moe.report.findings.words import MOST_WORDS, fitting, joined, words_in
from moe.report.origin import Foot
from moe.report.pages import ANSWERS, IN_EVERY_PAGE, REPORT, TEMPLATES, numbered
from moe.report.show import figure_html, table_html, text_html

TITLE = "One Mixture-of-Experts layer: what is fastest here, and why"
# Whose sentences, by their places, are among the first of all: what is fastest and how sure that is, what was
# claimed, what makes it so.
FIRST = (("comparison", (0, 2)), ("claims", (1,)), ("breakdown", (0,)))


@dataclass(frozen=True)
class Findings:
    """What a notebook's run says: its headline, its figure's caption, its table as HTML, and what has no numbers."""

    headline: Sequence[str]
    caption: str
    table: str
    missing: Sequence[str]


@dataclass(frozen=True)
class Page:
    """A notebook's page: its title and findings, the figure that shows them best, and why it is not there, if so."""

    name: str
    title: str
    figure: Path
    findings: Findings | None = None
    failed: str = ""

    @property
    def drawn(self) -> str:
        """The figure with its caption as HTML, or nothing where it was not drawn."""
        if self.findings is None or not self.figure.exists():
            return ""
        return figure_html(self.figure.stem, self.figure.read_text(encoding="utf-8"), self.findings.caption)

    @property
    def table(self) -> str:
        """The table of its findings as HTML, or nothing."""
        return table_html(self.findings.table) if self.findings else ""


def headline(pages: Sequence[Page]) -> list[str]:
    """What a report says first, of its pages' sentences, in no more than MOST_WORDS words."""
    found = {page.name: page.findings.headline for page in pages if page.findings}
    places = [[found[name][place] for place in own if place < len(found.get(name, ()))] for name, own in FIRST]
    said = [own for own in places if own]
    for count in range(len(said), 0, -1):
        lines = fitting(list(map(joined, said[:count])))
        if words_in(lines) <= MOST_WORDS:
            return lines
    return ["Of this report no page could be made that says what was found."]


def render_index(pages: Sequence[Page], foot: Foot) -> str:
    """The page as HTML; names and sentences are text in it, whatever they hold."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    environment.filters["text"] = text_html
    template = environment.get_template("index/page.html.j2")
    own = {
        "title": TITLE,
        "headline": headline(pages),
        "pages": pages,
        "foot": foot,
        "report": REPORT,
        "answers": ANSWERS,
    }
    return numbered(template.render(own, **IN_EVERY_PAGE)) + "\n"
