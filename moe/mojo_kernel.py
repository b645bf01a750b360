"""The compiled kernel as Python calls it: a shared library of plain C functions, through ctypes."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

from moe.implementations.contract import SWITCH, check_option

# Name, number of arguments, whether it returns a number. Every argument is an address, a handle or a size.
FUNCTIONS = (
    ("moe_vector_width", 0, True),
    ("moe_prepare", 9, True),
    ("moe_forward", 4, False),
    ("moe_threads", 1, True),
    ("moe_release", 1, False),
    ("moe_probe_prepare", 2, True),
    ("moe_probe_run", 3, True),
)

# The switches that a library holds every setting of, in the order of their bits in a form's number.
FORM_SWITCHES = ("simd", "tile", "batch", "pool")


def is_on(switch: str, value: str) -> bool:
    """A switch's value; raises ValueError for anything but on and off."""
    return check_option(switch, value, SWITCH) == "on"


def form_number(**switches: str) -> int:
    """The number by which the kernel knows a setting of FORM_SWITCHES."""
    return sum(is_on(name, switches[name]) << bit for bit, name in enumerate(FORM_SWITCHES))


@cache
def load_kernel(path: Path) -> ctypes.CDLL:
    """The library at `path` with its functions declared."""
    kernel = ctypes.CDLL(str(path))
    for name, arguments, returns in FUNCTIONS:
        function = getattr(kernel, name)
        function.argtypes = [ctypes.c_ssize_t] * arguments
        function.restype = ctypes.c_ssize_t if returns else None
    return kernel
