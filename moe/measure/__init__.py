"""Measuring: worker processes, rounds in shuffled order, every sample kept."""

from moe.measure.compare import compare
from moe.measure.sweep import sweep

__all__ = ["compare", "sweep"]
