"""The compiled kernel as Python calls it: a shared library of plain C functions, through ctypes."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

# Name, number of arguments, whether it returns a number. Every argument is an address, a handle or a size.
FUNCTIONS = (
    ("moe_vector_width", 0, True),
    ("moe_prepare", 8, True),
    ("moe_forward", 4, False),
    ("moe_threads", 1, True),
    ("moe_release", 1, False),
    ("moe_probe_prepare", 2, True),
    ("moe_probe_run", 3, True),
    ("moe_probe_release", 1, False),
)


@cache
def load_kernel(path: Path) -> ctypes.CDLL:
    """The library at `path` with its functions declared."""
    kernel = ctypes.CDLL(str(path))
    for name, arguments, returns in FUNCTIONS:
        function = getattr(kernel, name)
        function.argtypes = [ctypes.c_ssize_t] * arguments
        function.restype = ctypes.c_ssize_t if returns else None
    return kernel
