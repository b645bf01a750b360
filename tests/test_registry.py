from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import moe
from moe.implementations import NotAvailableError, availability, names, parse_variant
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
