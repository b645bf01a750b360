"""The page over a report's notebooks: what each found, and what could not be made."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from moe.report.render import TEMPLATES
from moe.report.show import FIGURES
from moe.run import Run

TITLE = "Mixture-of-Experts in Python, NumPy, PyTorch and Mojo: the reports of one run"


@dataclass(frozen=True)
class Page:
    """A notebook's page: its title, findings, the figure that shows them best, and why it is not there, if so."""

    name: str
    title: str
    findings: Sequence[str]
    caption: str
    figure: Path
    failed: str = ""

    @property
    def image(self) -> str:
        """The figure as base64, or nothing where it was not drawn."""
        return base64.b64encode(self.figure.read_bytes()).decode() if self.figure.exists() else ""


def figure_path(folder: Path, name: str) -> Path:
    """Where a report's notebooks leave a figure."""
    return folder / FIGURES / f"{name}.png"


def render_index(pages: Sequence[Page], run: Run) -> str:
    """The page as HTML; names and sentences are text in it, whatever they hold."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items() if version)
    machine = f"{run.machine['processor']}, {run.machine['usable_cores']} usable cores"
    css = (TEMPLATES / "report" / "report.css").read_text(encoding="utf-8")
    page = environment.get_template("index/page.html.j2")
    return page.render(title=TITLE, css=css, machine=machine, versions=versions, pages=pages) + "\n"
