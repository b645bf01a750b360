"""What every implementation has to do, over every edge and preset that is quick enough."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import moe
from moe.check import check_layer
from moe.edges import FORMS, PLAIN, edge_problems, with_weight
from moe.implementations import availability, entry_of, parse_variant
from moe.implementations.registry import REGISTRY, load

from .agreement import edges_of, layer_for, parity_of, the_edges, the_problem
from .conftest import CHOSEN, require

THREADS = (1, 2)
EVERY_FORM = ("python", "numpy", "torch-naive", "torch", "mojo")
# What libraries do to NaN inside a fused or compiled step is theirs: these take no such weights, and say so.
FINITE_ONLY = ("torch-onednn", "onnxruntime", "onnxruntime[form=graph]", "openvino", "jax[form=ragged]")


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("edge", edge_problems())
def test_edges(name: str, edge: str, threads: int) -> None:
    problem = the_edges()[edge]
    if takes(name, problem):
        parity = parity_of(name, problem, edge, threads)
        assert parity.passed, parity.reason


def takes(name: str, problem: moe.Problem) -> bool:
    """Whether an implementation takes a problem's weights; those that don't have to refuse them."""
    weights = problem.weights
    if name not in FINITE_ONLY or all(np.isfinite(array).all() for array in weights.arrays().values()):
        return True
    with pytest.raises(moe.implementations.NotAvailableError, match="weights must be finite"):
        layer_for(name, problem)
    return False


def threads_for(name: str) -> tuple[int, ...]:
    """One number of threads where it takes one thread, however many it is given."""
    return THREADS[:1] if entry_of(parse_variant(name)).most_threads == 1 else THREADS


@pytest.mark.parametrize("form", FORMS)
def test_forms(name: str, form: str) -> None:
    if computes(name, form):
        for edge, problem in edges_of(form).items():
            for threads in threads_for(name) if takes(name, problem) else ():
                parity = parity_of(name, problem, (form, edge), threads)
                assert parity.passed, (edge, threads, parity.reason)


@cache
def computes(name: str, form: str) -> bool:
    """Whether an implementation computes a form; those that don't have to refuse it in words."""
    try:
        layer_for(name, edges_of(form)[PLAIN])
    except moe.implementations.NotAvailableError as error:
        if name in EVERY_FORM or "does not compute layers with " not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("form", FORMS)
def test_nan_in_any_array_of_a_form_is_never_lost(name: str, form: str) -> None:
    problem = edges_of(form)["every expert"]
    for array, values in problem.weights.arrays().items() if computes(name, form) else ():
        for place in (tuple(0 for _ in values.shape), tuple(n - 1 for n in values.shape)):
            bad = with_weight(problem, array, place, np.nan)
            if takes(name, bad):
                parity = parity_of(name, bad, (form, array, place))
                assert parity.passed, (array, place, parity.reason)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("tensor", ["gate", "w1", "w2"])
def test_nan_and_inf_in_weights_are_never_lost(name: str, tensor: str, value: float) -> None:
    check_weight(name, tensor, value)


def check_weight(name: str, tensor: str, value: float) -> None:
    """One value in the first, an inner and the last place of one of the weights; all tokens are compared."""
    for edge in ("every expert", "odd sizes", "narrow"):
        problem = the_edges()[edge]
        shape = getattr(problem.weights, tensor).shape
        for place in (tuple(0 for _ in shape), tuple(n // 2 for n in shape), tuple(n - 1 for n in shape)):
            bad = with_weight(problem, tensor, place, value)
            for threads in threads_for(name) if takes(name, bad) else ():
                parity = parity_of(name, bad, (edge, tensor, place, np.float32(value).tobytes()), threads)
                assert parity.passed, (edge, place, threads, parity.reason)


@pytest.mark.parametrize("variant", ["numpy[batch=off]", "numpy[dtype=float64]", "torch[dtype=float64]"])
def test_variants_lose_no_nan(variant: str) -> None:
    for tensor in ("gate", "w1", "w2"):
        check_weight(variant, tensor, np.nan)


def test_nan_in_any_place_of_a_token_makes_its_row_nan(name: str) -> None:
    problem = the_edges()["narrow"]
    for place in range(problem.x.size):
        x = problem.x.copy()
        x.flat[place] = -np.nan
        bad = moe.Problem(problem.weights, x, problem.top_k)
        parity = parity_of(name, bad, ("narrow", "x", place))
        assert parity.passed, (place, parity.reason)


@pytest.mark.parametrize("preset", ["smoke", "small", "seed"])
def test_presets(name: str, preset: str) -> None:
    config = entry_of(parse_variant(name)).affordable(moe.PRESETS[preset])
    for threads in threads_for(name):
        parity = parity_of(name, the_problem(config), config, threads)
        assert parity.passed, (threads, parity.reason)


@pytest.mark.parametrize(
    "variant",
    [
        *("numpy[dtype=float64]", "numpy[batch=off]", "numpy[dtype=float64,batch=off]"),
        *("torch[dtype=float64]", "torch-naive[dtype=float64]"),
    ],
)
def test_variants(variant: str) -> None:
    for edge, problem in the_edges().items():
        parity = parity_of(variant, problem, edge)
        assert parity.passed, (edge, parity.reason)


@pytest.mark.long
@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("peer", [name for name, entry in REGISTRY.items() if entry.peer and entry.library])
def test_peers_of_what_is_installed(peer: str, threads: int) -> None:
    require(peer)
    refused = []
    for edge, problem in (the_edges() | {"seed": moe.make_problem(moe.PRESETS["seed"])}).items():
        if not takes(peer, problem):
            continue
        try:
            layer = layer_for(peer, problem, threads)
        except moe.implementations.NotAvailableError:
            refused.append(edge)
            continue
        parity = check_layer(layer, problem)
        assert parity.passed, (edge, parity.reason)
    # One of them takes rows of whole 16 bytes alone; nothing else may be refused.
    assert set(refused) <= ({"all sizes 1", "odd sizes", "narrow"} if peer == "torch-grouped" else set())


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(name, marks=pytest.mark.long if name == "torch-compile" else ())  # some 20 s of compiling
        for name, entry in REGISTRY.items()
        if entry.peer and entry.library == "torch"
    ],
)
def test_forms_in_peers_of_torch(peer: str) -> None:
    require(peer)
    for form in FORMS:
        for edge, problem in edges_of(form).items():
            if edge == "odd sizes" and peer == "torch-grouped":
                continue  # takes rows of whole 16 bytes alone
            if FORMS[form].get("precision") == "bfloat16" and peer == "torch-onednn" and not onednn_has_bfloat16():
                continue
            if takes(peer, problem):
                parity = parity_of(peer, problem, (form, edge))
                assert parity.passed, (form, edge, parity.reason)


def onednn_has_bfloat16() -> bool:
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@given(
    name=st.sampled_from([n for n in CHOSEN if availability(n)[0]]),
    tokens=st.integers(0, 40),
    d_model=st.integers(1, 80),
    d_ff=st.integers(1, 140),
    form=st.sampled_from(["published", *FORMS]),
    num_experts=st.integers(1, 12),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
    threads=st.sampled_from(THREADS),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
def test_random_shapes(
    name: str,
    tokens: int,
    d_model: int,
    d_ff: int,
    form: str,
    num_experts: int,
    share: float,
    seed: int,
    threads: int,
) -> None:
    # A handful of outputs can all be sums that cancel, and float32 then has few digits of the largest left.
    assume(tokens == 0 or tokens * d_model >= 32)
    knobs = FORMS.get(form, {})
    groups, kept = knobs.get("groups", 1), knobs.get("groups_kept", 1)
    num_experts = groups * math.ceil(num_experts / groups)
    top_k = max(1, math.ceil(share * num_experts * kept / groups))
    problem = moe.make_problem(moe.MoEConfig(tokens, d_model, d_ff, num_experts, top_k, seed, **knobs))
    if form == "published" or computes(name, form):
        parity = check_layer(layer_for(name, problem, threads), problem)
        assert parity.passed, parity.reason


def test_steps_give_what_the_call_gives(name: str) -> None:
    problem = moe.make_problem(moe.MoEConfig(8, 16, 32, 4, 2))
    layer = layer_for(name, problem)
    by_steps = layer.to_numpy(layer.forward(layer.to_native(problem.x)))
    assert by_steps.dtype == np.float32
    np.testing.assert_array_equal(by_steps, layer(problem.x))


def test_input_and_weights_are_left_alone(name: str) -> None:
    problems = [moe.make_problem(moe.MoEConfig(8, 16, 32, 4, 2))]
    problems += [edges_of(form)[PLAIN] for form in FORMS if computes(name, form)]
    for problem in problems:
        arrays = (problem.x, *problem.weights.arrays().values())
        before = [a.copy() for a in arrays]
        layer_for(name, problem)(problem.x)
        for array, copy in zip(arrays, before, strict=True):
            np.testing.assert_array_equal(array, copy)


def test_an_output_is_not_overwritten_by_the_next(name: str) -> None:
    problem = moe.make_problem(moe.MoEConfig(8, 16, 32, 4, 2))
    layer = layer_for(name, problem)
    first = layer(problem.x)
    kept = first.copy()
    layer(-problem.x)
    np.testing.assert_array_equal(first, kept)


def test_a_layer_is_not_taken_for_one_that_was_before_it(name: str) -> None:
    """Its weights may lie where the other's were; one that is still there is itself too."""
    kept: list[tuple[moe.implementations.Layer, moe.Problem]] = []
    for seed in range(4):
        problem = moe.make_problem(moe.MoEConfig(6, 32, 64, 4, 2, seed=seed))
        layer = layer_for(name, problem)
        for each, own in ((layer, problem), *kept):
            parity = check_layer(each, own)
            assert parity.passed, (seed, parity.reason)
        kept = kept or [(layer, problem)]
        del layer, each


def test_any_number_of_tokens_on_one_layer(name: str) -> None:
    problem = moe.make_problem(moe.MoEConfig(20, 16, 32, 4, 2))
    layer = layer_for(name, problem)
    whole = layer(problem.x)
    for tokens in (1, 7, 20, 0, 13):
        part = layer(problem.x[:tokens])
        assert part.shape == (tokens, 16)
        np.testing.assert_allclose(part, whole[:tokens], rtol=1e-4, atol=1e-5)


def test_one_expert_is_a_dense_network(name: str) -> None:
    problem = moe.make_problem(moe.MoEConfig(8, 16, 32, 1, 1))
    dense = np.maximum(problem.x @ problem.weights.w1[0], 0) @ problem.weights.w2[0]
    np.testing.assert_allclose(layer_for(name, problem)(problem.x), dense, rtol=1e-4, atol=1e-5)


def test_wrong_input_is_refused(name: str) -> None:
    problem = moe.make_problem(moe.MoEConfig(8, 16, 32, 4, 2))
    layer = layer_for(name, problem)
    with pytest.raises(TypeError, match="float32"):
        layer(problem.x.astype(np.float64))
    with pytest.raises(ValueError, match=r"\(tokens, 16\)"):
        layer(problem.x[:, :-1])


def test_class_is_documented(name: str) -> None:
    own_name = parse_variant(name).name
    implementation = load(own_name)
    assert implementation.name == own_name
    assert implementation.description
    assert implementation.__doc__
