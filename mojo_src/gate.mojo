"""The router's product: logits of a few tokens for a few experts at a time, W steps of the depth in each vector.

Experts are few: a lane for each of them would leave most lanes empty, and the tokens would have to be packed.
"""

from tile import WIDE_REGISTER_FILE, no_sums
from vectors import Floats, Vector, load_part, multiply_add

comptime GATE_TOKENS = 4
"""Tokens whose logits are summed together."""

comptime GATE_EXPERTS = 4 if WIDE_REGISTER_FILE else 2
"""Experts whose logits are summed together: 16 sums where registers are many, 8 where they are few."""

comptime Sums[W: Int] = Array[Vector[W], GATE_TOKENS * GATE_EXPERTS]
"""A sum for each token and expert, still spread over the lanes.

Parameters:
    W: Lanes of a vector.
"""


@always_inline
def _add_step[
    W: Int, whole: Bool
](x: Floats, d: Int, last: Int, gate: Floats, depth: Int, first: Int, mut sums: Sums[W]):
    """Adds the products of W steps of the depth; all of them are there, or the tokens end before."""
    var columns = no_sums[W, GATE_EXPERTS]()
    comptime for e in range(GATE_EXPERTS):
        columns[e] = gate.unsafe_load[width=W](e * depth + first)
    comptime for t in range(GATE_TOKENS):
        var source = x.unsafe_offset(min(t, last) * d + first)
        var value: Vector[W]
        comptime if whole:
            value = source.unsafe_load[width=W]()
        else:
            value = load_part[W](source, d - first)
        comptime for e in range(GATE_EXPERTS):
            comptime i = t * GATE_EXPERTS + e
            sums[i] = multiply_add(value, columns[e], sums[i])


@always_inline
def gate_tile[W: Int](x: Floats, d: Int, last: Int, gate: Floats, depth: Int, logits: Floats, stride: Int):
    """Multiplies GATE_TOKENS tokens with GATE_EXPERTS columns of the gate.

    Parameters:
        W: Lanes of a vector.

    Args:
        x: (last + 1 or more, d), as it came.
        d: Width of a token.
        last: Number of the last token; it stands in for those after it.
        gate: (GATE_EXPERTS, depth), zeros past d.
        depth: Floats of an expert's row: d rounded up to whole vectors.
        logits: (GATE_TOKENS, stride), of which GATE_EXPERTS columns are written.
        stride: Floats from one token's logits to the next one's.
    """
    var sums = no_sums[W, GATE_TOKENS * GATE_EXPERTS]()
    var whole = d // W * W
    for first in range(0, whole, W):
        _add_step[W, True](x, d, last, gate, depth, first, sums)
    if whole < d:
        _add_step[W, False](x, d, last, gate, depth, whole, sums)
    comptime for t in range(GATE_TOKENS):
        comptime for e in range(GATE_EXPERTS):
            logits[unsafe_offset=t * stride + e] = sums[t * GATE_EXPERTS + e].reduce_add()
