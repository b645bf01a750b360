"""Which experts a token takes and with what weights, and the tokens of each expert in a list."""

from std.math import exp
from std.memory import bitcast

from vectors import Floats, Ints, Vector

comptime Keys[W: Int] = SIMD[DType.int32, W]
"""Logits of W tokens as integers in the same order.

Parameters:
    W: Lanes of a vector.
"""

comptime NO_KEY = Int32.MIN
"""Below the key of every logit."""

comptime SIGN_BIT = 31
"""The place of a float32's sign."""


def scratch_ints[W: Int](top_k: Int) -> Int:
    """Says how much room `choose_experts` needs.

    Parameters:
        W: Lanes of a vector.

    Args:
        top_k: Experts of a token k.

    Returns:
        The number of integers.
    """
    return 2 * top_k * W


@always_inline
def _to_keys[W: Int](logits: Vector[W]) -> Keys[W]:
    """Maps floats to integers that compare as they do; NaN, of either sign, comes above all."""
    # Adding 0 makes -0 into 0. A negative float's other bits grow as it falls: they are turned around.
    var value = logits + Vector[W](0)
    var bits = bitcast[DType.int32, W](value)
    bits = value.eq(value).select(bits, bits & Int32.MAX)
    return max(bits ^ ((bits >> SIGN_BIT) & Int32.MAX), Keys[W](NO_KEY + 1))


@always_inline
def _to_logits[W: Int](keys: Keys[W]) -> Vector[W]:
    return bitcast[DType.float32, W](keys ^ ((keys >> SIGN_BIT) & Int32.MAX))


def choose_experts[
    W: Int
](
    logits: Floats,
    stride: Int,
    num_experts: Int,
    top_k: Int,
    tokens: Int,
    scratch: Ints,
    experts: Ints,
    weights: Floats,
):
    """Picks the experts of up to W tokens, a token in each lane: its k largest logits, a tie to the lower number.

    The weights are the softmax over all experts divided by the chosen ones' sum, which is the softmax over the
    chosen alone. A token with a logit that is NaN or whose largest is infinite gets NaN weights, and still k different
    experts. With 64 experts and k = 8 this takes 0.12 µs a token; looking for one token's largest k times took 1.3.

    Parameters:
        W: Lanes of a vector.

    Args:
        logits: (tokens, stride), of which the first num_experts columns count.
        stride: Floats from one token's logits to the next one's.
        num_experts: E.
        top_k: Experts of a token k, at most E.
        tokens: From 1 to W.
        scratch: Room for `scratch_ints[W](top_k)`.
        experts: (tokens, top_k), written in order of falling logits.
        weights: (tokens, top_k), written.
    """
    var best = scratch  # (top_k, W) keys, falling
    var owner = scratch.unsafe_offset(top_k * W)  # (top_k, W) whose they are
    for slot in range(top_k):
        best.unsafe_store(slot * W, Keys[W](NO_KEY))
        owner.unsafe_store(slot * W, Keys[W](0))
    var places = Keys[W]()
    comptime for lane in range(W):
        places[lane] = Int32(min(lane, tokens - 1) * stride)
    for expert in range(num_experts):
        # Insert the expert into the lists of all lanes at once: from its slot on, everything moves one down.
        var key = _to_keys(logits.unsafe_offset(expert).unsafe_gather[width=W](places))
        var whose = Keys[W](Int32(expert))
        var moved = SIMD[DType.bool, W](fill=False)
        for slot in range(top_k):
            var old = best.unsafe_load[width=W](slot * W)
            var old_owner = owner.unsafe_load[width=W](slot * W)
            # Strictly greater: an equal one that came first stays.
            moved = moved | key.gt(old)
            best.unsafe_store(slot * W, max(key, old))
            owner.unsafe_store(slot * W, moved.select(whose, old_owner))
            key = min(key, old)
            whose = moved.select(old_owner, whose)
    var largest = _to_logits(best.unsafe_load[width=W]())
    var total = Vector[W](0)
    for slot in range(top_k):
        var below = _to_logits(best.unsafe_load[width=W](slot * W)) - largest
        # Mojo's exp clamps its argument, and a NaN with it.
        var weight = below.eq(below).select(exp(below), below)
        total += weight
        best.unsafe_store(slot * W, bitcast[DType.int32, W](weight))
    for slot in range(top_k):
        var weight = bitcast[DType.float32, W](best.unsafe_load[width=W](slot * W)) / total
        var chosen = owner.unsafe_load[width=W](slot * W)
        for token in range(tokens):
            experts[unsafe_offset=token * top_k + slot] = chosen[token]
            weights[unsafe_offset=token * top_k + slot] = weight[token]


def sort_by_expert(experts: Ints, entries: Int, num_experts: Int, starts: Ints, sorted: Ints):
    """Lists the entries (token · k + slot) of each expert in order of tokens: a counting sort.

    Args:
        experts: (entries,), the expert of each entry.
        entries: T · k.
        num_experts: E.
        starts: (num_experts + 1,), written: where each expert's list begins, and the end of the last.
        sorted: (entries,), written.
    """
    for expert in range(num_experts + 1):
        starts[unsafe_offset=expert] = 0
    for entry in range(entries):
        starts[unsafe_offset=Int(experts[unsafe_offset=entry]) + 1] += 1
    for expert in range(num_experts):
        starts[unsafe_offset=expert + 1] += starts[unsafe_offset=expert]
    # Each start moves through its list, and so ends up as the next one's.
    for entry in range(entries):
        var expert = Int(experts[unsafe_offset=entry])
        sorted[unsafe_offset=Int(starts[unsafe_offset=expert])] = Int32(entry)
        starts[unsafe_offset=expert] += 1
    for expert in range(num_experts, 0, -1):
        starts[unsafe_offset=expert] = starts[unsafe_offset=expert - 1]
    starts[unsafe_offset=0] = 0
