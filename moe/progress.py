"""Progress of work whose length in seconds is known: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from tqdm.auto import tqdm

from moe.streams import Lasting

LINE_EVERY_S = 10.0


def _in_jupyter() -> bool:
    """Whether this runs in a notebook's kernel, whose output is shown while it comes."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and "IPKernelApp" in shell.config


class Progress:
    """Time passing towards `total_s`, and what is being done now."""

    def __init__(self, what: str, total_s: float, *, enabled: bool = True) -> None:
        self.what = what
        self.total_s = total_s
        self.started = time.monotonic()
        self.line_at = self.started
        self.bar: Any = None
        self.stream = Lasting(sys.stderr)
        seen = self.stream.isatty() or _in_jupyter()
        self.lines = enabled and not seen
        if enabled and seen:
            layout = "{desc} {percentage:3.0f} % |{bar}| {n:.0f} of {total:.0f} s"
            self.bar = tqdm(total=total_s, bar_format=layout, leave=False)

    def note(self, doing: str) -> None:
        """Say what is being done; cheap enough for every turn."""
        now = time.monotonic()
        elapsed = min(now - self.started, self.total_s)
        if self.bar is not None:
            self.bar.set_description_str(f"{self.what}: {doing}", refresh=False)
            self.bar.n = elapsed
            self.bar.refresh()
        elif self.lines and now - self.line_at >= LINE_EVERY_S:
            self.line_at = now
            print(f"{self.what}: {elapsed:.0f} of {self.total_s:.0f} s, now {doing}", file=self.stream)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
