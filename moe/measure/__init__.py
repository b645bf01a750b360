"""Measuring: worker processes, rounds in shuffled order, every sample kept.

Nothing is imported here: a worker, which is one of this package's modules, is to load what it runs and no more.
"""
