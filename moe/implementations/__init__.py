"""The registry of implementations and the one way to make a layer from a name."""

from moe.implementations.contract import NotAvailableError
from moe.implementations.registry import (
    REGISTRY,
    Layer,
    Variant,
    availability,
    create,
    names,
    parse_variant,
)

__all__ = [
    "REGISTRY",
    "Layer",
    "NotAvailableError",
    "Variant",
    "availability",
    "create",
    "names",
    "parse_variant",
]
