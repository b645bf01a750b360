"""A forward: route, sort, two products an expert and a weighted sum, on any number of threads."""

from blocks import Block, Blocks
from form import Form
from layer import EXPERTS, HIDDEN, OUTPUT, PACK, ROUTE, SUM, SUM_TOKENS, Layer, Model
from plain import multiply_block
from pool import Pool, Words
from products import multiply_tiles
from route import route
from routing import sort_by_expert
from vectors import Floats, store_part
from workspace import ROUTE_TOKENS, most_chunk_tokens

comptime COST_STEPS = 64
"""How finely the shared expert's width is weighed against the others'."""


def _work[form: Form](layer: Layer[form], thread: Int, piece: Int):
    """Does one piece of the current step."""
    if layer.step == ROUTE:
        route(layer, piece * ROUTE_TOKENS, min(layer.tokens, (piece + 1) * ROUTE_TOKENS), thread)
    elif layer.step == SUM:
        _sum(layer, piece * SUM_TOKENS, min(layer.tokens, (piece + 1) * SUM_TOKENS))
    else:
        comptime if form.tile:
            multiply_tiles(layer, thread, piece)
        else:
            multiply_block(layer, layer.blocks.block(piece), thread)


def _sort[form: Form](mut layer: Layer[form]):
    """Sorts the entries by expert and cuts each expert's list into blocks; token by token, each entry is one."""
    var sizes = layer.sizes()
    var threads = layer.workspace.threads
    var loads = layer.workspace.loads
    var entries = layer.tokens * sizes.k
    layer.blocks = Blocks(layer.workspace.blocks)
    comptime if form.is_general:
        var unit = max(1, max(layer.given.f, layer.shared.f) // COST_STEPS)
        var shared = max(1, layer.shared.f // unit)
        layer.blocks.weigh(layer.knobs.experts, max(1, layer.given.f // unit), shared)
    comptime if form.batch:
        var starts = layer.workspace.starts
        sort_by_expert(layer.workspace.experts, entries, sizes.experts, starts, layer.workspace.sorted)
        layer.blocks.cut(starts, sizes.experts, threads, loads)
    else:
        for entry in range(entries):
            layer.workspace.sorted[unsafe_offset=entry] = Int32(entry)
            layer.blocks.append(Block(Int(layer.workspace.experts[unsafe_offset=entry]), entry, 1))
    comptime if form.tile:
        layer.blocks.share_columns(entries, threads, loads)


def _sum[form: Form](layer: Layer[form], first: Int, end: Int):
    """Adds up each token's k outputs, in the order of its slots on any number of threads."""
    comptime W = form.lanes()
    var sizes = layer.sizes()
    var d = sizes.d
    var d_padded = sizes.d_padded
    var k = sizes.k
    for token in range(first, end):
        var outputs = layer.workspace.outputs.unsafe_offset(token * k * d_padded)
        var target = layer.y.unsafe_offset(token * d)
        for column in range(0, d, W):
            var total = outputs.unsafe_load[width=W](column)
            for slot in range(1, k):
                total += outputs.unsafe_load[width=W](slot * d_padded + column)
            store_part[W](target.unsafe_offset(column), total, d - column)


def work_on_layer[form: Form](state: Words, thread: Int, piece: Int):
    """What the pool's threads do with a piece.

    Parameters:
        form: The switches.

    Args:
        state: Address of a Layer.
        thread: Number of the calling thread.
        piece: Number of the piece.
    """
    _work(Model[form](unsafe_from_address=Int(state))[], thread, piece)


def forward[form: Form](model: Model[form], pool: Pool[work_on_layer[form]], x: Floats, y: Floats, tokens: Int):
    """Computes the layer.

    Parameters:
        form: The switches.

    Args:
        model: Prepared for as many threads as the pool has.
        pool: Its threads.
        x: Input (T, d).
        y: Output (T, d), written.
        tokens: T, which may be 0.
    """
    var most = most_chunk_tokens(model[].given)
    pool.hold()
    for first in range(0, tokens, most):
        model[].take(x, y, first, min(most, tokens - first))
        var small = model[].is_small()
        pool.run(model[].start(ROUTE), small)
        _sort(model[])
        if model[].blocks.column_parts == 1:
            pool.run(model[].start(EXPERTS), small)
        else:
            pool.run(model[].start(PACK), small)
            pool.run(model[].start(HIDDEN), small)
            pool.run(model[].start(OUTPUT), small)
        pool.run(model[].start(SUM), small)
    comptime if not form.pool:
        model[].workspace.free()
    pool.release()
