"""Tests of routing: which experts, with what weights, in what order."""

from std.memory import bitcast
from std.testing import TestSuite, assert_almost_equal, assert_equal, assert_true

from routing import choose_experts, scratch_ints, sort_by_expert
from vectors import LANES, Floats, new_floats, new_ints


def floats(values: List[Float32]) -> Floats:
    """Copies a list into plain memory."""
    var copy = new_floats(len(values))
    for i in range(len(values)):
        copy[unsafe_offset=i] = values[i]
    return copy


def chosen(logits: List[Float32], top_k: Int, weights: Floats) -> List[Int]:
    """Routes one token and returns its experts."""
    var experts = new_ints(top_k)
    var scratch = new_ints(scratch_ints[LANES](top_k))
    choose_experts[LANES](floats(logits), len(logits), len(logits), top_k, 1, scratch, experts, weights)
    var found = List[Int]()
    for slot in range(top_k):
        found.append(Int(experts[unsafe_offset=slot]))
    return found^


def test_largest_first() raises:
    """The k largest, in falling order, with weights that are a softmax over them."""
    var weights = new_floats(2)
    assert_equal(chosen([0.5, 2.0, -1.0, 1.0], 2, weights), [1, 3])
    assert_almost_equal(weights[unsafe_offset=0], 0.7310586, atol=1e-6)
    assert_almost_equal(weights[unsafe_offset=1], 0.26894143, atol=1e-6)


def test_a_tie_goes_to_the_lower_number() raises:
    """Equal logits are taken in the order of their numbers."""
    var weights = new_floats(3)
    assert_equal(chosen([1.0, 1.0, 1.0, 1.0], 3, weights), [0, 1, 2])
    assert_equal(chosen([0.0, 5.0, 0.0, 5.0], 3, weights), [1, 3, 0])


def test_every_expert() raises:
    """With k = E all are taken and the weights sum to 1."""
    var weights = new_floats(3)
    assert_equal(chosen([-3.0, 0.0, -1.0], 3, weights), [1, 2, 0])
    var total = weights[unsafe_offset=0] + weights[unsafe_offset=1] + weights[unsafe_offset=2]
    assert_almost_equal(total, 1.0, atol=1e-6)


def test_huge_logits() raises:
    """Logits of 1e4 neither overflow nor give NaN."""
    var weights = new_floats(2)
    assert_equal(chosen([1e4, -1e4, 9.9e3], 2, weights), [0, 2])
    assert_equal(weights[unsafe_offset=0], 1.0)
    assert_almost_equal(weights[unsafe_offset=1], 0.0, atol=1e-30)


def test_signed_zeros_are_equal() raises:
    """-0 and 0 tie, and go to the lower number."""
    var weights = new_floats(2)
    assert_equal(chosen([-0.0, 0.0, -1.0], 2, weights), [0, 1])
    assert_equal(weights[unsafe_offset=0], 0.5)


def check_lanes[W: Int]() raises:
    """Routes every number of tokens, each with other logits, over rows with padding that must not be chosen."""
    comptime EXPERTS = 5
    comptime STRIDE = 7
    for tokens in range(1, W + 1):
        var logits = new_floats(tokens * STRIDE)
        for token in range(tokens):
            for column in range(STRIDE):
                var expert = (column + token) % EXPERTS
                logits[unsafe_offset=token * STRIDE + column] = Float32(expert) if column < EXPERTS else 99
        var experts = new_ints(3 * tokens + 1)
        experts[unsafe_offset=3 * tokens] = -7
        var weights = new_floats(3 * tokens)
        choose_experts[W](logits, STRIDE, EXPERTS, 3, tokens, new_ints(scratch_ints[W](3)), experts, weights)
        for token in range(tokens):
            for slot in range(3):
                var expected = (2 * EXPERTS - 1 - slot - token % EXPERTS) % EXPERTS
                assert_equal(Int(experts[unsafe_offset=3 * token + slot]), expected)
        assert_equal(Int(experts[unsafe_offset=3 * tokens]), -7, "wrote past the last token")


def test_tokens_in_lanes_do_not_mix() raises:
    """Full vectors and a single lane."""
    check_lanes[LANES]()
    check_lanes[1]()


def test_bad_logits_give_nan_and_different_experts() raises:
    """One logit that is NaN, of either sign, or +Inf gives NaN weights, and still k different experts in range."""
    var nan = bitcast[DType.float32](UInt32(0x7FC00000))
    var negative = bitcast[DType.float32](UInt32(0xFFC00000))
    var inf = Float32(1) / Float32(0)
    var bad: List[List[Float32]] = [[nan, nan, nan], [inf, nan, -inf], [-inf, -inf, -inf], [nan, inf, inf]]
    for one in [nan, negative, inf]:
        bad.append([one, 1.0, 2.0])
        bad.append([1.0, 2.0, one])
    for logits in bad:
        var weights = new_floats(2)
        var experts = chosen(logits.copy(), 2, weights)
        assert_true(experts[0] != experts[1])
        for slot in range(2):
            assert_true(0 <= experts[slot] < 3)
            assert_true(weights[unsafe_offset=slot] != weights[unsafe_offset=slot])


def test_sort_keeps_the_order_of_tokens() raises:
    """Each expert's list holds its entries in rising order, and an idle expert's is empty."""
    var experts = new_ints(6)
    var given: List[Int] = [2, 0, 2, 3, 0, 2]
    for i in range(6):
        experts[unsafe_offset=i] = Int32(given[i])
    var starts = new_ints(5)
    var sorted = new_ints(6)
    sort_by_expert(experts, 6, 4, starts, sorted)
    var found_starts = List[Int]()
    for i in range(5):
        found_starts.append(Int(starts[unsafe_offset=i]))
    var found = List[Int]()
    for i in range(6):
        found.append(Int(sorted[unsafe_offset=i]))
    assert_equal(found_starts, [0, 2, 2, 5, 6])
    assert_equal(found, [1, 4, 0, 2, 5, 3])


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
