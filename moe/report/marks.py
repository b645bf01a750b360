"""Tables that a command writes into a page of prose, between two marks."""

from __future__ import annotations

from pathlib import Path

from moe.run import write_atomically


def write_between(page: Path, mark: str, text: str) -> None:
    """Put `text` between a page's two marks; raises ValueError for a page without them."""
    content = page.read_text(encoding="utf-8")
    if content.count(mark) != 2:
        raise ValueError(f"{page} must hold {mark} twice, where the table begins and ends")
    begin, _, end = content.split(mark)
    write_atomically(page, f"{begin}{mark}\n{text}\n{mark}{end}")
