"""Routing of any layer: scores of logits, groups of experts, a bias on the choice, and the chosen ones' weights."""

from std.utils.numerics import inf, nan

from activation import exponential, sigmoid
from form import Form
from knobs import Knobs
from layer import Layer
from routing import choose_experts, scratch_ints
from vectors import LANES, Floats, Vector, first_lanes, load_part, store_part
from workspace import ROUTE_TOKENS

comptime LEAST = -inf[DType.float32]()
"""Below every score."""


@fieldwise_init
struct _Softmax(TrivialRegisterPassable):
    """What a token's softmax is made of."""

    var largest: Float32
    var total: Float32


def choose_generally[form: Form](layer: Layer[form], first: Int, end: Int, thread: Int):
    """Chooses the experts of some tokens, whose logits are there, and says how much each weighs.

    Parameters:
        form: What is compiled.

    Args:
        layer: With its chunk.
        first: First of the tokens, at most ROUTE_TOKENS.
        end: The one after the last.
        thread: Number of the calling thread.
    """
    comptime W = form.lanes()
    var knobs = layer.knobs
    var sizes = layer.sizes()
    var stride = sizes.experts_padded
    var k = knobs.k
    var logits = layer.workspace.logits.unsafe_offset(thread * ROUTE_TOKENS * stride)
    var choices = layer.workspace.choices.unsafe_offset(thread * ROUTE_TOKENS * stride)
    var ranks = layer.workspace.ranks.unsafe_offset(thread * stride)
    var picks = layer.workspace.picks.unsafe_offset(thread * ROUTE_TOKENS * k)
    var unused = layer.workspace.pick_weights.unsafe_offset(thread * ROUTE_TOKENS * k)
    var keys = layer.workspace.keys.unsafe_offset(thread * scratch_ints[W](sizes.k))
    var parts = Array[_Softmax, ROUTE_TOKENS](fill=_Softmax(0, 1))
    for token in range(end - first):
        var choice = choices.unsafe_offset(token * stride)
        parts[token] = _score(layer, logits.unsafe_offset(token * stride), choice)
        if knobs.groups > 1:
            _keep_best_groups(knobs, choice, ranks)
    for token in range(0, end - first, W):
        choose_experts[W](
            choices.unsafe_offset(token * stride),
            stride,
            knobs.experts,
            k,
            min(W, end - first - token),
            keys,
            picks.unsafe_offset(token * k),
            unused.unsafe_offset(token * k),
        )
    for token in range(end - first):
        var entry = (first + token) * sizes.k
        var row = logits.unsafe_offset(token * stride)
        for slot in range(k):
            layer.workspace.experts[unsafe_offset=entry + slot] = picks[unsafe_offset=token * k + slot]
        var factors = layer.workspace.factors.unsafe_offset(entry)
        _weigh(layer, row, parts[token], entry)
        if knobs.has_shared:
            layer.workspace.experts[unsafe_offset=entry + k] = Int32(knobs.experts)
            factors[unsafe_offset=k] = sigmoid[1](row[unsafe_offset=knobs.experts]) if knobs.has_shared_gate else 1
        if not _is_sound(layer, row, first + token):
            for slot in range(sizes.k):
                factors[unsafe_offset=slot] = nan[DType.float32]()


def _score[form: Form](layer: Layer[form], logits: Floats, choice: Floats) -> _Softmax:
    """Adds the gate's bias to a token's logits, and writes by what experts are chosen."""
    comptime W = form.lanes()
    var knobs = layer.knobs
    var largest = Vector[W](LEAST)
    for e in range(0, knobs.experts, W):
        var left = knobs.experts - e
        var logit = load_part[W](logits.unsafe_offset(e), left)
        logit += load_part[W](layer.weights.gate_bias.unsafe_offset(e), left)
        store_part[W](logits.unsafe_offset(e), logit, left)
        store_part[W](choice.unsafe_offset(e), logit, left)
        largest = max(largest, first_lanes[W](left).select(logit, Vector[W](LEAST)))
    var softmax = _Softmax(largest.reduce_max(), 1)
    if not knobs.is_sigmoid:
        softmax.total = _total(knobs, logits, softmax.largest)
    if not knobs.is_by_logits:
        for e in range(0, knobs.experts, W):
            var left = knobs.experts - e
            var score = _scores[W](knobs, load_part[W](logits.unsafe_offset(e), left), softmax)
            var bias = load_part[W](layer.weights.select_bias.unsafe_offset(e), left)
            store_part[W](choice.unsafe_offset(e), score + bias, left)
    return softmax


def _total(knobs: Knobs, logits: Floats, largest: Float32) -> Float32:
    """Sums the powers of a token's logits."""
    var total = Vector[LANES](0)
    for e in range(0, knobs.experts, LANES):
        var left = knobs.experts - e
        var power = exponential(load_part[LANES](logits.unsafe_offset(e), left) - largest)
        total += first_lanes[LANES](left).select(power, Vector[LANES](0))
    return total.reduce_add()


@always_inline
def _scores[W: Int](knobs: Knobs, logits: Vector[W], softmax: _Softmax) -> Vector[W]:
    if knobs.is_sigmoid:
        return sigmoid(logits)
    return exponential(logits - softmax.largest) / softmax.total


def _keep_best_groups(knobs: Knobs, choice: Floats, ranks: Floats):
    """Makes the experts of all but the best groups ineligible; of equal groups the first one is better."""
    var size = knobs.experts // knobs.groups
    for group in range(knobs.groups):
        var best = LEAST
        var second = LEAST
        for e in range(group * size, (group + 1) * size):
            var value = choice[unsafe_offset=e]
            second = max(second, min(best, value))
            best = max(best, value)
        ranks[unsafe_offset=group] = best + second if knobs.sums_two and size > 1 else best
    for group in range(knobs.groups):
        var rank = ranks[unsafe_offset=group]
        var better = 0
        for other in range(knobs.groups):
            var others = ranks[unsafe_offset=other]
            better += 1 if others > rank or (others == rank and other < group) else 0
        if better >= knobs.groups_kept:
            for e in range(group * size, (group + 1) * size):
                choice[unsafe_offset=e] = LEAST


def _weigh[form: Form](layer: Layer[form], logits: Floats, softmax: _Softmax, entry: Int):
    """Writes the weights of a token's experts, whose first entry is given."""
    var knobs = layer.knobs
    var factors = layer.workspace.factors.unsafe_offset(entry)
    var experts = layer.workspace.experts.unsafe_offset(entry)
    var shares = softmax
    if knobs.is_renormalised:
        # A softmax of the chosen alone: all others cancel out.
        shares = _Softmax(LEAST, 1)
        for slot in range(knobs.k):
            shares.largest = max(shares.largest, logits[unsafe_offset=Int(experts[unsafe_offset=slot])])
    var total = Float32(0)
    for slot in range(knobs.k):
        var weight = _scores[1](knobs, logits[unsafe_offset=Int(experts[unsafe_offset=slot])], shares)
        factors[unsafe_offset=slot] = weight
        total += weight
    for slot in range(knobs.k):
        var weight = factors[unsafe_offset=slot]
        factors[unsafe_offset=slot] = (weight / total if knobs.is_renormalised else weight) * knobs.scale


def _is_sound[form: Form](layer: Layer[form], logits: Floats, token: Int) -> Bool:
    """Says whether nothing that decides is NaN, and the token has neither NaN nor Inf, which all its logits show."""
    var sizes = layer.sizes()
    var is_finite = True
    for e in range(layer.knobs.experts):
        var logit = logits[unsafe_offset=e]
        var decides = logit + layer.weights.select_bias[unsafe_offset=e]
        if decides != decides:
            return False
        is_finite = is_finite and logit - logit == 0
    if not is_finite:
        var x = layer.x.unsafe_offset(token * sizes.d)
        for i in range(sizes.d):
            if x[unsafe_offset=i] - x[unsafe_offset=i] != 0:
                return False
    return True
