"""The compiled kernel as Python calls it: a shared library of plain C functions, through ctypes."""

import ctypes
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moe.form import CHOICES, Form
from moe.implementations.contract import SWITCH, check_option
from moe.weights import DIMENSIONS

# Name, number of arguments, whether it returns a number. Every argument is an address, a handle or a size.
FUNCTIONS = (
    ("moe_vector_width", 0, True),
    ("moe_prepare", 9, True),
    ("moe_prepare_form", 1, True),
    ("moe_forward", 4, False),
    ("moe_threads", 1, True),
    ("moe_release", 1, False),
    ("moe_probe_prepare", 2, True),
    ("moe_probe_run", 3, True),
)

# The switches that a library holds every setting of, in the order of their bits in a setting's number.
SWITCHES = ("simd", "tile", "batch", "pool")
ALL_ON = 2 ** len(SWITCHES) - 1

# What describes a layer of any form, in the order of `mojo_src/knobs.mojo`: addresses, then sizes and kinds.
ARRAYS = tuple(DIMENSIONS)


def is_on(switch: str, value: str) -> bool:
    """A switch's value; raises ValueError for anything but on and off."""
    return check_option(switch, value, SWITCH) == "on"


def setting_number(**switches: str) -> int:
    """The number by which the kernel knows a setting of SWITCHES."""
    return sum(is_on(name, switches[name]) << bit for bit, name in enumerate(SWITCHES))


def describe(arrays: Mapping[str, NDArray[np.float32]], form: Form, *, top_k: int, threads: int) -> NDArray[np.int64]:
    """What `moe_prepare_form` takes the address of; `arrays`, those that are there, must outlive that call."""
    experts, d_model, d_ff = arrays["w1"].shape
    addresses = [arrays[name].ctypes.data if name in arrays else 0 for name in ARRAYS]
    sizes = [d_model, d_ff, experts, top_k, threads, form.shared_d_ff, form.groups, form.groups_kept]
    expert, score, group_score, weight_on, precision = (
        CHOICES[name].index(getattr(form, name))
        for name in ("expert", "score", "group_score", "weight_on", "precision")
    )
    kinds = [expert, score, int(form.renormalise), group_score, weight_on, precision]
    scale = int(np.float32(form.scale).view(np.int32))
    return np.array([*addresses, *sizes, *kinds, scale], np.int64)


@cache
def load_kernel(path: Path) -> ctypes.CDLL:
    """The library at `path` with its functions declared."""
    kernel = ctypes.CDLL(str(path))
    for name, arguments, returns in FUNCTIONS:
        function = getattr(kernel, name)
        function.argtypes = [ctypes.c_ssize_t] * arguments
        function.restype = ctypes.c_ssize_t if returns else None
    return kernel
