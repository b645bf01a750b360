"""Layers that cheat, each with one trick, for the measurement to be tried on.

Each is a right layer that does one thing more to look faster, or to make others look slow. A run has to end with it
`failed`, or right and no faster than the layer that it is made from. In a run they are named as any other layer in a
file is: `cheats/clocks.py:SlowClock`.
"""

import inspect
from types import ModuleType

from cheats import answers, clocks, helpers, moments
from cheats.honest import Honest

__all__ = ["CHEATS", "Honest", "label_of"]


def label_of(layer: type[Honest]) -> str:
    """How a layer of this package is named in a run."""
    return f"{inspect.getfile(layer)}:{layer.__name__}"


def _layers_of(module: ModuleType) -> list[type[Honest]]:
    own = [value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__]
    return [value for value in own if inspect.isclass(value) and issubclass(value, Honest)]


CHEATS = [layer for module in (answers, moments, clocks, helpers) for layer in _layers_of(module)]
