"""Whether PyTorch has a CUDA device here, found out without importing PyTorch."""

import ctypes
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DRIVER = "libcuda.so.1"
# As a build of PyTorch writes them: cuda: Optional[str] = '13.0'
BUILT_FOR = re.compile(r"^(__version__|cuda|hip)\b[^=\n]*=\s*(.+?)\s*$", re.MULTILINE)
NAME_BYTES = 256


def cuda_available() -> tuple[bool, str]:
    """Say whether an installed PyTorch can use a CUDA device; if not, why.

    What only PyTorch itself can tell, on ROCm or another system than Linux, counts as available here: the layer's
    constructor asks it.
    """
    versions = _built_for()
    if versions.get("cuda") == versions.get("hip") == "None":
        return False, "no CUDA device: this PyTorch is a CPU build"
    if sys.platform != "linux" or versions.get("cuda", "None") == "None":
        return True, ""
    _, _, missing = _opened()
    return not missing, missing and f"no CUDA device: {missing}"


def torch_version() -> str | None:
    """The installed PyTorch's version with its build, `2.13.0+cu130`, which its package's own may lack."""
    known = _built_for().get("__version__")
    return known.strip("'\"") if known else None


def cuda_devices() -> list[str]:
    """Names of the devices that NVIDIA's driver knows, each with the CUDA version of the driver; none without it."""
    driver, count, _ = _opened()
    if not count:
        return []
    version = ctypes.c_int(0)
    driver.cuDriverGetVersion(ctypes.byref(version))
    said = f"driver for CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    return [f"{_name(driver, number)} ({said})" for number in range(count)]


def _name(driver: ctypes.CDLL, number: int) -> str:
    name = ctypes.create_string_buffer(NAME_BYTES)
    # A device's handle is its number.
    driver.cuDeviceGetName(name, NAME_BYTES, number)
    return name.value.decode(errors="replace")


def _built_for() -> dict[str, str]:
    """PyTorch's version and those that it was built for, as they are written; empty where they can't be read."""
    spec = find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    files = [file for folder in folders or () if (file := Path(folder) / "version.py").is_file()]
    return dict(BUILT_FOR.findall(files[0].read_text(encoding="utf-8"))) if files else {}


def _opened() -> tuple[Any, int, str]:
    """NVIDIA's driver, how many devices it has, and why that is none."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return None, 0, f"no driver ({DRIVER})"
    count = ctypes.c_int(0)
    if code := driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return driver, 0, f"the driver says error {code}"
    return driver, count.value, "" if count.value > 0 else "the driver knows none"
