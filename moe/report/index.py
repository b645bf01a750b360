"""The page over a report's notebooks: what each found, and what could not be made or measured."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from moe.report.origin import Foot
from moe.report.render import TEMPLATES
from moe.report.show import FIGURES

TITLE = "Mixture-of-Experts in Python, NumPy, PyTorch and Mojo: the reports of one run"


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
    def image(self) -> str:
        """The figure as base64, or nothing where it was not drawn."""
        return base64.b64encode(self.figure.read_bytes()).decode() if self.figure.exists() else ""


def figure_path(folder: Path, name: str) -> Path:
    """Where a report's notebooks leave a figure."""
    return folder / FIGURES / f"{name}.png"


def render_index(pages: Sequence[Page], foot: Foot) -> str:
    """The page as HTML; names and sentences are text in it, whatever they hold."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    css = (TEMPLATES / "report" / "report.css").read_text(encoding="utf-8")
    page = environment.get_template("index/page.html.j2")
    return page.render(title=TITLE, css=css, pages=pages, foot=foot) + "\n"
