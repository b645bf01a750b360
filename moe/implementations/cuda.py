"""Whether PyTorch has a CUDA device here, found out without importing PyTorch."""

from __future__ import annotations

import ctypes
import re
import sys
from importlib.util import find_spec
from pathlib import Path

DRIVER = "libcuda.so.1"
# As a build of PyTorch writes them: cuda: Optional[str] = '13.0'
BUILT_FOR = re.compile(r"^(cuda|hip)\b[^=\n]*=\s*(.+?)\s*$", re.MULTILINE)


def cuda_available() -> tuple[bool, str]:
    """Say whether an installed PyTorch can use a CUDA device; if not, why.

    What only PyTorch itself can tell, on ROCm or another system than Linux, counts as available here: the layer's
    constructor asks it.
    """
    versions = _built_for()
    if versions == {"cuda": "None", "hip": "None"}:
        return False, "no CUDA device: this PyTorch is a CPU build"
    if sys.platform != "linux" or versions.get("cuda", "None") == "None":
        return True, ""
    missing = _missing_device()
    return not missing, missing and f"no CUDA device: {missing}"


def _built_for() -> dict[str, str]:
    """The versions that PyTorch was built for, as they are written; empty where they can't be read."""
    spec = find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () if (file := Path(folder) / "version.py").is_file()]
    return dict(BUILT_FOR.findall(files[0].read_text(encoding="utf-8"))) if files else {}


def _missing_device() -> str:
    """Why the driver has no device, or nothing."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return f"no driver ({DRIVER})"
    if code := driver.cuInit(0):
        return f"the driver says error {code}"
    count = ctypes.c_int(0)
    if code := driver.cuDeviceGetCount(ctypes.byref(count)):
        return f"the driver says error {code}"
    return "" if count.value > 0 else "the driver knows none"
