from __future__ import annotations

import numpy as np
import pytest

from moe import bfloat16
from tests.conftest import require


def test_rounding_is_to_the_nearest_and_a_tie_to_the_even_one() -> None:
    one = np.float32(1)
    last = np.float32(2**-7)  # of 1 with 8 bits
    given = np.array([1, 1 + last / 2, 1 + last * 3 / 2, 1 + last * 0.51, 1 + last * 0.49, -1 - last / 2], "f4")
    expected = np.array([1, 1, 1 + 2 * last, 1 + last, 1, -one], "f4")
    np.testing.assert_array_equal(bfloat16.rounded(given), expected)


def test_what_is_too_large_is_infinite_and_nan_stays_nan_with_its_sign() -> None:
    largest = np.array([0x7F7FFFFF, 0x7F800001, 0xFFFFFFFF, 0xFF800001], "<u4").view("f4")
    found = bfloat16.rounded(largest)
    assert found[0] == np.inf
    assert np.isnan(found[1:]).all()
    assert np.signbit(found[1:]).tolist() == [False, True, True]
    assert bfloat16.is_held(found)


def test_rounding_agrees_with_torch_on_any_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    require("torch")
    import torch

    monkeypatch.setattr(bfloat16, "AT_ONCE", 1000)
    bits = np.random.default_rng(0).integers(0, 2**32, 50_001, dtype=np.uint32)
    given = bits.view(np.float32)
    found = bfloat16.rounded(given)
    theirs = torch.from_numpy(given).bfloat16()
    np.testing.assert_array_equal(found, theirs.float().numpy())
    numbers = ~np.isnan(given)
    np.testing.assert_array_equal(bfloat16.words(found)[numbers], theirs.view(torch.uint16).numpy()[numbers])
    np.testing.assert_array_equal(given.view(np.uint32), bits)  # what was given is left alone


def test_what_is_held_is_told_from_what_is_not() -> None:
    array = bfloat16.rounded(np.random.default_rng(0).standard_normal((30, 70)).astype("f4"))
    assert bfloat16.is_held(array)
    np.testing.assert_array_equal(bfloat16.rounded(array), array)
    array[17, 3] += np.float32(2**-20) * abs(array[17, 3])
    assert not bfloat16.is_held(array)


def test_words_are_the_upper_halves_in_shape() -> None:
    words = bfloat16.words(np.array([[1.0, -2.0]], "f4"))
    assert (words.dtype, words.shape) == (np.uint16, (1, 2))
    assert words.tolist() == [[0x3F80, 0xC000]]
