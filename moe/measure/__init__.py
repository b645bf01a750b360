"""Measuring: worker processes, rounds in shuffled order, every sample kept."""

from moe.measure.engine import compare

__all__ = ["compare"]
