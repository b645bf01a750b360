"""The first step: x (T, d) · gate (d, E) → experts and weights of each entry."""

from form import Form
from gate import GATE_EXPERTS, GATE_TOKENS, gate_tile
from layer import Layer
from plain import multiply_row
from routing import choose_experts, scratch_ints
from scores import choose_generally
from vectors import Floats
from workspace import ROUTE_TOKENS


def route[form: Form](layer: Layer[form], first: Int, end: Int, thread: Int):
    """Routes some tokens.

    Parameters:
        form: The switches.

    Args:
        layer: With its chunk.
        first: First of the tokens, at most ROUTE_TOKENS.
        end: The one after the last.
        thread: Number of the calling thread.
    """
    comptime W = form.lanes()
    var sizes = layer.sizes()
    var d = sizes.d
    var stride = sizes.experts_padded
    var logits = layer.workspace.logits.unsafe_offset(thread * ROUTE_TOKENS * stride)
    var x = layer.x.unsafe_offset(first * d)
    var gate = layer.weights.gate
    comptime if form.tile:
        var depth = sizes.gate_depth
        for token in range(0, end - first, GATE_TOKENS):
            for expert in range(0, stride, GATE_EXPERTS):
                gate_tile[W](
                    x.unsafe_offset(token * d),
                    d,
                    end - first - token - 1,
                    gate.unsafe_offset(expert * depth),
                    depth,
                    logits.unsafe_offset(token * stride + expert),
                    stride,
                )
    else:
        for token in range(end - first):
            multiply_row[W](x.unsafe_offset(token * d), gate, d, stride, logits.unsafe_offset(token * stride))
    comptime if form.is_general:
        choose_generally(layer, first, end, thread)
    else:
        _choose(layer, logits, first, end, thread)


@always_inline
def _choose[form: Form](layer: Layer[form], logits: Floats, first: Int, end: Int, thread: Int):
    """Chooses by the published layer's rule: the largest logits, weighed by their softmax."""
    comptime W = form.lanes()
    var sizes = layer.sizes()
    var k = sizes.k
    var stride = sizes.experts_padded
    var keys = layer.workspace.keys.unsafe_offset(thread * scratch_ints[W](k))
    for token in range(first, end, W):
        choose_experts[W](
            logits.unsafe_offset((token - first) * stride),
            stride,
            sizes.experts,
            k,
            min(W, end - token),
            keys,
            layer.workspace.experts.unsafe_offset(token * k),
            layer.workspace.factors.unsafe_offset(token * k),
        )
