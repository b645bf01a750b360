"""Tests of other layers than the published one in Mojo alone: every kind of word gives the same layer.

Pairs of bfloat16 are multiplied here on machines, too, that have no instruction for them.
"""

from std.memory.alloc import unsafe_alloc
from std.testing import TestSuite, assert_true

from form import Form
from forward import forward, work_on_layer
from knobs import B1, GATE, SHARED_GATE, SHARED_W1, SHARED_W2, SHARED_W3, W1, W2, W3, Description
from knobs import D_FF, D_MODEL, EXPERT, GROUPS, GROUPS_KEPT, NUM_EXPERTS, RELU, RENORMALISE, SCALE, SCORE
from knobs import SHARED_D_FF, SIGMOID, SWIGLU, THREADS, TOP_K
from layer import Layer
from pool import Pool, Words
from vectors import Floats, new_floats
from words import FLOATS, PAIRS, WIDENED, round_to_half

comptime D = 37
"""Width of a token."""
comptime F = 70
"""Hidden width of an expert."""
comptime S = 45
"""Of the shared one."""
comptime E = 5
"""Experts."""
comptime ONE_BITS = 0x3F800000
"""The bits of 1."""


def noise(count: Int, seed: Int) -> Floats:
    """Fills memory with numbers between -0.5 and 0.5 that bfloat16 can hold."""
    var values = new_floats(count)
    var state = UInt32(seed)
    for i in range(count):
        state = state * 1664525 + 1013904223
        values[unsafe_offset=i] = round_to_half[1](Float32(state >> 8) / Float32(1 << 24) - 0.5)
    return values


def described(is_gated: Bool, threads: Int) -> Description:
    """Describes a layer with a shared expert, biases and sigmoids."""
    var words = unsafe_alloc[Int64](SCALE + 1)
    for i in range(SCALE + 1):
        words[unsafe_offset=i] = 0
    words[unsafe_offset=GATE] = Int64(Int(noise(D * E, 1)))
    words[unsafe_offset=W1] = Int64(Int(noise(E * D * F, 2)))
    words[unsafe_offset=W2] = Int64(Int(noise(E * F * D, 3)))
    words[unsafe_offset=B1] = Int64(Int(noise(E * F, 4)))
    words[unsafe_offset=SHARED_W1] = Int64(Int(noise(D * S, 5)))
    words[unsafe_offset=SHARED_W2] = Int64(Int(noise(S * D, 6)))
    words[unsafe_offset=SHARED_GATE] = Int64(Int(noise(D, 7)))
    if is_gated:
        words[unsafe_offset=W3] = Int64(Int(noise(E * D * F, 8)))
        words[unsafe_offset=SHARED_W3] = Int64(Int(noise(D * S, 9)))
    words[unsafe_offset=D_MODEL] = D
    words[unsafe_offset=D_FF] = F
    words[unsafe_offset=NUM_EXPERTS] = E
    words[unsafe_offset=TOP_K] = 2
    words[unsafe_offset=THREADS] = Int64(threads)
    words[unsafe_offset=SHARED_D_FF] = S
    words[unsafe_offset=GROUPS] = 1
    words[unsafe_offset=GROUPS_KEPT] = 1
    words[unsafe_offset=EXPERT] = SWIGLU if is_gated else RELU
    words[unsafe_offset=SCORE] = SIGMOID
    words[unsafe_offset=RENORMALISE] = 1
    words[unsafe_offset=SCALE] = ONE_BITS
    return Description(words)


def computed[form: Form](tokens: Int, threads: Int) raises -> Floats:
    """Computes the layer for some tokens."""
    var x = noise(tokens * D, 10)
    var y = new_floats(tokens * D)
    var model = unsafe_alloc[Layer[form]](1)
    model.unsafe_write(Layer[form](described(form.is_gated, threads)))
    var pool = Pool[work_on_layer[form]](threads, Words(unsafe_from_address=Int(model)))
    forward[form](model, pool, x, y, tokens)
    pool.stop()
    model[].free()
    model.unsafe_free()
    return y


def difference(a: Floats, b: Floats, count: Int) -> Float32:
    """Gives the largest difference as a share of the largest number; NaN where there is one."""
    var apart = Float32(0)
    var most = Float32(0)
    for i in range(count):
        var here = abs(a[unsafe_offset=i] - b[unsafe_offset=i])
        if here != here:
            return here
        apart = max(apart, here)
        most = max(most, abs(a[unsafe_offset=i]))
    return apart / most


def check[is_gated: Bool](tokens: Int, threads: Int) raises:
    """Compares floats, widened pairs and pairs."""
    var exact = computed[Form(is_gated=is_gated, words=FLOATS)](tokens, threads)
    var widened = computed[Form(is_gated=is_gated, words=WIDENED)](tokens, threads)
    var pairs = computed[Form(is_gated=is_gated, words=PAIRS)](tokens, threads)
    # The two differ in the order of sums alone, from floats by a rounding of each hidden activation.
    assert_true(difference(widened, pairs, tokens * D) < 1e-3)
    assert_true(difference(exact, pairs, tokens * D) < 6e-3)


def test_every_kind_of_word() raises:
    """Few tokens and many, on one thread and on several that share a block's columns."""
    for threads in [1, 3]:
        for tokens in [1, 7, 100]:
            check[False](tokens, threads)
            check[True](tokens, threads)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
