from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import moe
from moe.implementations import NotAvailableError, availability, cuda, names, parse_variant
from moe.problem import make_problem

THIRD_PARTY = '''
import numpy as np

class Doubled:
    """A layer that only doubles its input."""

    name = "doubled"
    description = "twice the input"

    @staticmethod
    def available():
        return True, ""

    def __init__(self, weights, *, top_k, threads, factor="2"):
        self.factor = np.float32(factor)

    def forward(self, x):
        return x * self.factor
'''


@pytest.fixture
def third_party(tmp_path: Path) -> str:
    (tmp_path / "doubled.py").write_text(THIRD_PARTY)
    return f"{tmp_path / 'doubled.py'}:Doubled"


def test_names_are_in_the_order_of_the_table() -> None:
    assert names()[:5] == ["python", "numpy", "torch-naive", "torch", "mojo"]


def test_a_variant_reads_as_it_is_written() -> None:
    variant = parse_variant(" torch[device=cuda, transfer=on] ")
    assert (variant.name, variant.options) == ("torch", {"device": "cuda", "transfer": "on"})
    assert str(variant) == "torch[device=cuda,transfer=on]"
    assert variant.device == "cuda"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nunpy", "unknown implementation 'nunpy'; did you mean numpy"),
        ("numpy[dtipe=float64]", "unknown option of numpy 'dtipe'; did you mean dtype"),
        ("numpy[dtype]", "option must look like key=value"),
        ("numpy[dtype=float64", "must look like name"),
        ("", "must look like name"),
        ("nowhere/at_all.py:Layer", "no such file"),
        ("torch.py", "unknown implementation"),
    ],
)
def test_what_is_wrong_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_variant(text)


def test_a_class_from_a_file(third_party: str) -> None:
    problem = make_problem(moe.MoEConfig(3, 4, 4, 2, 1))
    layer = moe.create(f"{third_party}[factor=3]", problem.weights, top_k=1)
    np.testing.assert_array_equal(layer(problem.x), problem.x * np.float32(3))
    assert availability(third_party) == (True, "")


def test_a_file_without_the_class(third_party: str) -> None:
    with pytest.raises(ValueError, match="has no class 'Tripled'"):
        parse_variant(third_party.replace(":Doubled", ":Tripled"))


def test_options_as_keywords() -> None:
    problem = make_problem(moe.MoEConfig(3, 4, 4, 2, 1))
    layer = moe.create("numpy", problem.weights, top_k=1, dtype="float64")
    assert str(layer.variant) == "numpy[dtype=float64]"
    assert layer.to_native(problem.x).dtype == np.float64


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("numpy", {"top_k": 3}, "top_k must be between 1 and num_experts"),
        ("numpy", {"top_k": 0}, "top_k must be between 1 and num_experts"),
        ("numpy", {"top_k": 1, "threads": 0}, "threads must be a whole number of at least 1"),
        ("numpy[dtype=int8]", {"top_k": 1}, "dtype must be one of float32, float64, got 'int8'"),
        ("numpy[batch=maybe]", {"top_k": 1}, "batch must be one of on, off, got 'maybe'"),
        ("torch-naive[dtype=half]", {"top_k": 1}, "dtype must be one of float32, float64"),
        ("torch[device=tpu]", {"top_k": 1}, "device must be one of cpu, cuda"),
        ("torch[transfer=yes]", {"top_k": 1}, "transfer must be one of on, off"),
    ],
)
def test_create_says_what_is_wrong(name: str, arguments: dict[str, int], message: str) -> None:
    problem = make_problem(moe.MoEConfig(3, 4, 4, 2, 1))
    with pytest.raises(ValueError, match=message):
        moe.create(name, problem.weights, **arguments)


def test_availability_gets_the_options_that_it_names(tmp_path: Path) -> None:
    says = THIRD_PARTY.replace("def available():", 'def available(factor="2"):').replace('True, ""', "False, factor")
    (tmp_path / "picky.py").write_text(says.replace("self, weights, *", 'self, weights, *, other="1"'))
    picky = f"{tmp_path / 'picky.py'}:Doubled"
    assert availability(picky) == (False, "2")
    assert availability(f"{picky}[factor=3,other=4]") == (False, "3")


class Driver:
    """A library like NVIDIA's."""

    def __init__(self, devices: int, error: int = 0) -> None:
        self.devices, self.error = devices, error

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self.error

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.devices
        return 0

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13_020
        return 0

    def cuDeviceGetName(self, name: Any, size: int, number: int) -> int:  # noqa: N802
        name.value = f"Device {number}".encode()[:size]
        return 0


CPU_BUILD = "cuda: Optional[str] = None\nhip: Optional[str] = None\n"
CUDA_BUILD = "cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n"
ROCM_BUILD = "cuda: Optional[str] = None\nhip: Optional[str] = '7.0'\n"


@pytest.mark.parametrize(
    ("version", "driver", "reason"),
    [
        (CPU_BUILD, Driver(1), "no CUDA device: this PyTorch is a CPU build"),
        ("cuda = None\ngit_version = ''\nhip = None\n", Driver(1), "no CUDA device: this PyTorch is a CPU build"),
        (CUDA_BUILD, Driver(1), ""),
        (CUDA_BUILD, Driver(0), "no CUDA device: the driver knows none"),
        (CUDA_BUILD, Driver(0, error=100), "no CUDA device: the driver says error 100"),
        (CUDA_BUILD, None, "no CUDA device: no driver (libcuda.so.1)"),
        (ROCM_BUILD, None, ""),  # for PyTorch to say
        ("", None, ""),
    ],
)
def test_a_missing_cuda_device_is_known_without_pytorch(
    version: str, driver: Driver | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Driver:
        if driver is None:
            raise OSError(f"{name}: cannot open shared object file")
        return driver

    (tmp_path / "version.py").write_text(version)
    spec = ModuleSpec("torch", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(cuda, "find_spec", lambda _: spec)
    monkeypatch.setattr(cuda.ctypes, "CDLL", load)
    monkeypatch.setattr(cuda.sys, "platform", "linux")
    assert availability("torch[device=cuda,transfer=on]") == (not reason, reason)
    assert availability("torch") == (True, "")
    assert availability("torch[device=tpu]") == (True, "")  # `create` says that there is no such device
    monkeypatch.setattr(cuda.sys, "platform", "win32")
    assert availability("torch[device=cuda]")[0] == ("CPU build" not in reason)  # without a look at a driver


@pytest.mark.parametrize(
    ("driver", "names"),
    [
        (Driver(2), ["Device 0 (driver for CUDA 13.2)", "Device 1 (driver for CUDA 13.2)"]),
        (Driver(0), []),
        (Driver(1, error=100), []),
    ],
)
def test_devices_are_named_by_the_driver(driver: Driver, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda.ctypes, "CDLL", lambda name: driver)
    assert cuda.cuda_devices() == names


def test_the_version_of_pytorch_names_its_build() -> None:
    import torch

    assert cuda.torch_version() == torch.__version__


def test_whether_there_is_a_cuda_device_is_found_without_importing_pytorch() -> None:
    code = "import moe, sys; print(moe.implementations.availability('torch[device=cuda]'), 'torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("False\n")


def test_cuda_runs_or_says_why_not() -> None:
    import torch

    problem = make_problem(moe.MoEConfig(6, 16, 32, 4, 2))
    if torch.cuda.is_available():
        from moe.check import check_layer

        for variant in ("torch[device=cuda]", "torch[device=cuda,transfer=on]"):
            assert check_layer(moe.create(variant, problem.weights, top_k=2), problem).passed
    else:
        with pytest.raises(NotAvailableError, match="no CUDA device"):
            moe.create("torch[device=cuda]", problem.weights, top_k=2)
