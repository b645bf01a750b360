"""Settings under which figures are drawn, whoever draws them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from matplotlib import rc_context, rcdefaults


@contextmanager
def own_settings() -> Iterator[None]:
    """matplotlib's defaults instead of what a user, a theme or a notebook has set, for as long as this lasts.

    A figure takes some of them when it is made, some when its parts are and some when it is saved.
    """
    with rc_context():
        rcdefaults()
        yield
