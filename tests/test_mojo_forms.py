"""The kernel at every form of a layer: right, the same bits on any number of threads, no token disturbing another."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import erf

import numpy as np
import pytest
from numpy.typing import NDArray

from moe import mojo_build
from moe.form import CHOICES, GATED, Form
from moe.mojo_kernel import describe, load_kernel

Arrays = Mapping[str, NDArray[np.float32]]
F64 = NDArray[np.float64]

TOLERANCE = 1e-5  # of the largest output, as for every implementation in float32
ROUNDED_ALIKE = 1e-3  # in bfloat16, against a reference that rounds hidden activations where the kernel does
SIZES = ((9, 16, 32, 4, 2), (37, 53, 101, 6, 3), (13, 3, 5, 12, 2), (1, 40, 24, 8, 8), (200, 64, 96, 8, 2))


def rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To the nearest bfloat16, a tie to the even one."""
    bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return np.where(np.isnan(values), values, bits.astype(np.uint32).view(np.float32)).astype(np.float32)


def draw_form(rng: np.random.Generator, experts: int, top_k: int, **given: object) -> Form:
    """A form that fits, with what is given."""
    groups = int(rng.choice([g for g in (1, 2, 4) if experts % g == 0]))
    kept = int(rng.integers(1, groups + 1))
    if experts // groups * kept < top_k:
        groups = kept = 1
    drawn = {name: str(rng.choice(CHOICES[name])) for name in ("expert", "score", "group_score", "weight_on")}
    more = {
        "renormalise": bool(rng.integers(2)),
        "scale": float(rng.choice([1.0, 2.5])),
        "groups": groups,
        "groups_kept": kept,
        "shared_d_ff": int(rng.choice([0, 24, 70])),
    }
    return Form(**{**drawn, **more, **given})  # type: ignore[arg-type]


def draw_arrays(rng: np.random.Generator, form: Form, d: int, f: int, experts: int) -> dict[str, NDArray[np.float32]]:
    """Weights of a form, each of the optional arrays with even chance."""
    gated, s = form.expert in GATED, form.shared_d_ff
    shapes: dict[str, tuple[tuple[int, ...], float]] = {
        "gate": ((d, experts), d**-0.5),
        "w1": ((experts, d, f), d**-0.5),
        "w2": ((experts, f, d), f**-0.5),
    }
    optional = {
        "select_bias": ((experts,), 0.1),
        "gate_bias": ((experts,), 1.0),
        "b1": ((experts, f), 1.0),
        "b2": ((experts, d), 1.0),
    }
    if gated:
        shapes["w3"] = ((experts, d, f), d**-0.5)
        optional["b3"] = ((experts, f), 1.0)
    if s:
        shapes["shared_w1"], shapes["shared_w2"] = ((d, s), d**-0.5), ((s, d), s**-0.5)
        optional["shared_gate"] = ((d, 1), d**-0.5)
        if gated:
            shapes["shared_w3"] = ((d, s), d**-0.5)
    shapes |= {name: value for name, value in optional.items() if rng.integers(2)}
    arrays = {name: (rng.standard_normal(shape) * std).astype(np.float32) for name, (shape, std) in shapes.items()}
    return {name: rounded(a) if form.precision == "bfloat16" else a for name, a in arrays.items()}


def sigmoid(z: F64) -> F64:
    return 1 / (1 + np.exp(-z))


def activated(expert: str, first: F64, second: F64) -> F64:
    if expert in ("relu", "relu2"):
        return np.maximum(first, 0.0) ** (1 if expert == "relu" else 2)
    if expert in ("gelu", "geglu"):
        gelu = 0.5 * first * (1 + np.vectorize(erf, otypes=[float])(first / np.sqrt(2)))
        return gelu * (second if expert == "geglu" else 1)
    if expert == "swiglu":
        return first * sigmoid(first) * second
    gate, up = np.minimum(first, 7), np.clip(second, -7, 7)
    return gate * sigmoid(1.702 * gate) * (up + 1)


def expert_output(a: Arrays, form: Form, x: F64, names: tuple[str, str, str], e: int | None) -> F64:
    """What one expert makes of one token."""

    def one(name: str) -> F64:
        array = np.asarray(a.get(name, np.zeros(())), np.float64)
        return array if e is None or array.ndim == 0 else np.asarray(array[e])

    biases = ("b1", "b2", "b3") if e is not None else ("", "", "")
    w1, w2, w3 = names
    first = x @ one(w1) + one(biases[0])
    second = x @ one(w3) + one(biases[2]) if form.expert in GATED else first
    hidden = activated(form.expert, first, second)
    if form.precision == "bfloat16":
        hidden = rounded(hidden.astype(np.float32)).astype(np.float64)
    return np.asarray(hidden @ one(w2) + one(biases[1]))


def chosen(a: Arrays, form: Form, x: F64, k: int) -> tuple[NDArray[np.intp], F64]:
    """A token's experts and their weights."""
    logits = x @ a["gate"].astype(np.float64) + a.get("gate_bias", 0.0)
    exps = np.exp(logits - logits.max())
    scores = sigmoid(logits) if form.score == "sigmoid" else exps / exps.sum()
    choice = (scores + a.get("select_bias", 0.0)).reshape(form.groups, -1)
    best = -np.sort(-choice, axis=1)
    ranks = best[:, 0] if form.group_score == "max" else best[:, :2].sum(axis=1)
    dropped = np.argsort(-ranks, kind="stable")[form.groups_kept :]
    choice[dropped] = -np.inf
    experts = np.argsort(-choice.ravel(), kind="stable")[:k]
    weights = scores[experts] / (scores[experts].sum() if form.renormalise else 1.0)
    return experts, np.asarray(weights * form.scale)


def expected(a: Arrays, form: Form, x: NDArray[np.float32], k: int) -> F64:
    """The layer token by token in float64; bfloat16 rounds the hidden activations."""
    y = np.full(x.shape, np.nan)
    for t in np.flatnonzero(np.isfinite(x).all(axis=1)):
        row = x[t].astype(np.float64)
        y[t] = 0
        for e, weight in zip(*chosen(a, form, row, k), strict=True):
            before, after = (weight, 1.0) if form.weight_on == "input" else (1.0, weight)
            y[t] += after * expert_output(a, form, before * row, ("w1", "w2", "w3"), int(e))
        if form.shared_d_ff:
            share = sigmoid(row @ a["shared_gate"].astype(np.float64)) if "shared_gate" in a else 1.0
            y[t] += share * expert_output(a, form, row, ("shared_w1", "shared_w2", "shared_w3"), None)
    return y


@contextmanager
def prepared(a: Arrays, form: Form, k: int, threads: int) -> Iterator[tuple[ctypes.CDLL, int]]:
    kernel = load_kernel(mojo_build.build().path)
    description = describe(a, form, top_k=k, threads=threads)
    handle = kernel.moe_prepare_form(description.ctypes.data)
    assert handle
    try:
        assert kernel.moe_threads(handle) == threads
        yield kernel, handle
    finally:
        kernel.moe_release(handle)


def forward(a: Arrays, form: Form, x: NDArray[np.float32], k: int, threads: int = 1) -> NDArray[np.float32]:
    y = np.full((len(x) + 1, x.shape[1]), 1234.5, np.float32)
    with prepared(a, form, k, threads) as (kernel, handle):
        kernel.moe_forward(handle, x.ctypes.data, y.ctypes.data, len(x))
    assert (y[-1] == 1234.5).all()
    return y[:-1]


def error(y: NDArray[np.float32], reference: F64) -> float:
    """The largest difference as a share of the largest output; rows that are NaN must be."""
    sound = np.isfinite(reference).all(axis=1)
    assert np.isnan(y[~sound]).all()
    assert np.isfinite(y[sound]).all()
    return float(np.abs(y[sound] - reference[sound]).max(initial=0) / np.abs(reference[sound]).max(initial=1e-30))


def drawn(seed: int, **given: object) -> tuple[dict[str, NDArray[np.float32]], Form, NDArray[np.float32], int]:
    rng = np.random.default_rng(seed)
    tokens, d, f, experts, k = SIZES[seed % len(SIZES)]
    form = draw_form(rng, experts, k, **given)
    arrays = draw_arrays(rng, form, d, f, experts)
    x = rng.standard_normal((tokens, d)).astype(np.float32)
    return arrays, form, rounded(x) if form.precision == "bfloat16" else x, k


@pytest.mark.parametrize("expert", CHOICES["expert"])
def test_drawn_forms(mojo: str, expert: str) -> None:
    for seed in range(25):
        arrays, form, x, k = drawn(seed, expert=expert)
        assert error(forward(arrays, form, x, k), expected(arrays, form, x, k)) < TOLERANCE, (seed, form)


@pytest.mark.parametrize("precision", CHOICES["precision"])
def test_same_bits_on_any_number_of_threads(mojo: str, precision: str) -> None:
    for seed in range(10):
        arrays, form, x, k = drawn(seed, precision=precision)
        one = forward(arrays, form, x, k)
        for threads in (2, 3):
            np.testing.assert_array_equal(one, forward(arrays, form, x, k, threads), err_msg=f"{seed} {form}")


@pytest.mark.parametrize("precision", CHOICES["precision"])
def test_a_token_with_nan_or_inf_changes_no_other(mojo: str, precision: str) -> None:
    for seed in range(20):
        arrays, form, x, k = drawn(seed, precision=precision)
        clean = forward(arrays, form, x, k, 2)
        for value, token in ((np.nan, 0), (np.inf, len(x) // 2), (-np.inf, len(x) - 1)):
            spoiled = x.copy()
            spoiled[token, -1] = value
            y = forward(arrays, form, spoiled, k, 2)
            assert np.isnan(y[token]).all(), (seed, form)
            np.testing.assert_array_equal(np.delete(y, token, 0), np.delete(clean, token, 0))


@pytest.mark.parametrize("expert", CHOICES["expert"])
def test_bfloat16_rounds_hidden_activations_once(mojo: str, expert: str) -> None:
    for seed in range(25):
        arrays, form, x, k = drawn(seed, expert=expert, precision="bfloat16")
        assert error(forward(arrays, form, x, k), expected(arrays, form, x, k)) < ROUNDED_ALIKE, (seed, form)


def test_a_nan_weight_reaches_the_tokens_of_its_expert(mojo: str) -> None:
    for expert in CHOICES["expert"]:
        arrays, form, x, k = drawn(0, expert=expert, weight_on="output", shared_d_ff=0)
        arrays["w1"][1, 3, 5] = np.nan
        takes = np.array([1 in chosen(arrays, form, row.astype(np.float64), k)[0] for row in x])
        assert 0 < takes.sum() < len(x)
        np.testing.assert_array_equal(np.isnan(forward(arrays, form, x, k)).all(axis=1), takes)


def test_ties_go_to_the_lower_number_in_groups_too(mojo: str) -> None:
    form = Form(score="sigmoid", groups=3, groups_kept=2, renormalise=False)
    rng = np.random.default_rng(0)
    arrays = draw_arrays(rng, form, 8, 16, 6)
    arrays = {name: arrays[name] for name in ("gate", "w1", "w2")}
    arrays["gate"] = np.zeros_like(arrays["gate"])
    x = rng.standard_normal((5, 8)).astype(np.float32)
    assert chosen(arrays, form, x[0].astype(np.float64), 3)[0].tolist() == [0, 1, 2]
    assert error(forward(arrays, form, x, 3), expected(arrays, form, x, 3)) < TOLERANCE


def test_both_ends_of_the_clamp(mojo: str) -> None:
    arrays, form, x, k = drawn(1, expert="swiglu-oai")
    x *= 30
    first = x.astype(np.float64) @ arrays["w1"][0]
    second = x.astype(np.float64) @ arrays["w3"][0]
    assert min(first.max(), second.max(), -second.min()) > 7
    assert error(forward(arrays, form, x, k), expected(arrays, form, x, k)) < TOLERANCE
