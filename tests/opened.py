"""Pages opened in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page

from moe.report.pipeline import EXPERIMENTS

PAGES = ("index", *EXPERIMENTS)
WIDTHS = (390, 1280)


class Opened:
    """A page without a network, with what it asked for and complained about."""

    def __init__(self, browser: Browser, path: Path, width: int = 1280, scheme: str = "light") -> None:
        context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
        self.page: Page = context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
