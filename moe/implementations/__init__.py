"""The registry of implementations and the one way to make a layer from a name."""

from moe.implementations.contract import NotAvailableError
from moe.implementations.registry import (
    Layer,
    availability,
    create,
    entry_of,
    installed_names,
    names,
    parse_variant,
)

__all__ = [
    "Layer",
    "NotAvailableError",
    "availability",
    "create",
    "entry_of",
    "installed_names",
    "names",
    "parse_variant",
]
