"""Tests of the whole layer in Mojo alone, against a scalar computation."""

from std.testing import TestSuite, assert_almost_equal, assert_equal, assert_true

from form import FORMS, Form, Sizes, form_of
from forward import forward, work_on_layer
from layer import Layer
from pool import Pool, Words
from routing import choose_experts, scratch_ints
from vectors import Floats, new_floats, new_ints
from std.memory.alloc import unsafe_alloc


def noise(count: Int, seed: Int) -> Floats:
    """Fills memory with numbers between -0.5 and 0.5 from a linear congruential generator."""
    var values = new_floats(count)
    var state = UInt32(seed)
    for i in range(count):
        state = state * 1664525 + 1013904223
        values[unsafe_offset=i] = Float32(state >> 8) / Float32(1 << 24) - 0.5
    return values


def check_layer[form: Form](tokens: Int, d: Int, f: Int, experts: Int, k: Int, threads: Int) raises -> Int:
    """Compares `forward` with one token at a time in float64; returns into how many parts it cut a block's columns."""
    var x = noise(tokens * d, 1)
    var gate = noise(d * experts, 2)
    var w1 = noise(experts * d * f, 3)
    var w2 = noise(experts * f * d, 4)
    var model = unsafe_alloc[Layer[form]](1)
    model.unsafe_write(Layer[form](Sizes[form](d, f, experts, k), gate, w1, w2, threads))
    var pool = Pool[work_on_layer[form]](threads, Words(unsafe_from_address=Int(model)))
    var y = new_floats(tokens * d + 1)
    y[unsafe_offset=tokens * d] = 1234.5
    forward[form](model, pool, x, y, tokens)
    pool.stop()
    assert_equal(y[unsafe_offset=tokens * d], 1234.5, "wrote past the output")

    var logits = new_floats(experts)
    var chosen = new_ints(k)
    var weights = new_floats(k)
    var scratch = new_ints(scratch_ints[1](k))
    for t in range(tokens):
        for e in range(experts):
            var logit = Float64(0)
            for i in range(d):
                logit += Float64(x[unsafe_offset=t * d + i]) * Float64(gate[unsafe_offset=i * experts + e])
            logits[unsafe_offset=e] = Float32(logit)
        choose_experts[1](logits, experts, experts, k, 1, scratch, chosen, weights)
        for i in range(d):
            var expected = Float64(0)
            for slot in range(k):
                var e = Int(chosen[unsafe_offset=slot])
                var out = Float64(0)
                for j in range(f):
                    var hidden = Float64(0)
                    for m in range(d):
                        hidden += Float64(x[unsafe_offset=t * d + m]) * Float64(w1[unsafe_offset=(e * d + m) * f + j])
                    out += max(hidden, 0.0) * Float64(w2[unsafe_offset=(e * f + j) * d + i])
                expected += Float64(weights[unsafe_offset=slot]) * out
            assert_almost_equal(Float64(y[unsafe_offset=t * d + i]), expected, atol=1e-4)
    var column_parts = model[].blocks.column_parts
    model[].free()
    model.unsafe_free()
    return column_parts


def check_form[form: Form]() raises:
    """Checks sizes that fill vectors and sizes that do not, on one thread and several."""
    for threads in range(1, 4):
        _ = check_layer[form](0, 8, 8, 2, 1, threads)
        _ = check_layer[form](1, 1, 1, 1, 1, threads)
        _ = check_layer[form](7, 16, 32, 4, 2, threads)
        _ = check_layer[form](30, 19, 37, 5, 3, threads)
        _ = check_layer[form](3, 8, 8, 20, 20, threads)


def test_every_form() raises:
    """Every setting of the switches computes the same layer."""
    comptime for number in range(FORMS):
        check_form[form_of(number)]()


def test_few_uneven_blocks_share_columns() raises:
    """Threads share the columns of a block where whole blocks would leave one of them waiting, and not elsewhere."""
    comptime FORM = form_of(FORMS - 1)
    assert_true(check_layer[FORM](13, 70, 150, 1, 1, 2) > 1)
    assert_true(check_layer[FORM](13, 70, 150, 3, 1, 3) > 1)
    assert_equal(check_layer[FORM](13, 70, 150, 1, 1, 1), 1)
    assert_equal(check_layer[FORM](60, 19, 37, 40, 3, 2), 1)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
