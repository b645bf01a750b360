"""The expert products in tiles: for each block, relu(tokens · w1[e]) · w2[e], times the entry's weight."""

from blocks import BLOCK_ROWS, Block, Tiles
from form import Form
from hidden import store_activated
from layer import EXPERTS, HIDDEN, OUTPUT, PACK, Layer
from packing import pack_tokens
from sums import load_sums, store_hidden, store_sums
from tile import LINE_FLOATS, STEPS, TILE_ROWS, TILE_VECTORS, TOKEN_WORDS, no_sums, tile
from vectors import Floats, Vector, alone, share

comptime DEPTH_BLOCKS = 512 // STEPS
"""Depth, in blocks of STEPS, that a panel is taken through at a time. 512 steps of a panel and of a block's tokens are
a third of a megabyte: they stay in a second-level cache, with the next panel on its way, while every tile uses them.
"""

comptime FAR_BYTES = 4 * 1024 * 1024
"""Bytes of all experts' weights from which on they come from farther away than a second-level cache."""

comptime FEW_TILES = 8
"""Most tiles of a block whose panels, coming from far away, are taken through in shorter parts: they arrive no faster
than they are used. With 1 or 2 MiB of weights, in a second-level cache of 2 MiB, shorter parts cost 11 and 6 %."""

comptime FEW_DEPTH_BLOCKS = 64 // STEPS
"""Depth, in blocks of STEPS, that few tiles take a panel through at a time. It stays in a first-level cache, 16 KiB with
AVX-512, so that the next part, on its way from memory, has the core's line buffers to itself. On an Intel machine: 8 %
at 32 rows an expert, 11 % at 8, nothing with many tiles."""

comptime FEW_SUMS = 8
"""Sums, each a vector, that do not wait for each other: two additions a cycle, each four cycles long."""

comptime FEW_ROWS = FEW_SUMS // (2 * TILE_VECTORS)
"""Most rows of a block whose panels are taken side by side, because one alone has too few sums."""

comptime SIDE_BY_SIDE[rows: Int] = FEW_SUMS // (rows * TILE_VECTORS)
"""Panels that a tile of few rows takes in one pass. More than needed cost 5 to 15 % on an AVX-512 machine.

Parameters:
    rows: Of the tile, 1 to FEW_ROWS.
"""


def multiply_tiles[form: Form](layer: Layer[form], thread: Int, piece: Int):
    """Does one piece of the current step, of EXPERTS or the three in its place.

    Parameters:
        form: The switches.

    Args:
        layer: With its chunk.
        thread: Number of the calling thread.
        piece: Number of the piece.
    """
    var part = piece % layer.blocks.column_parts if layer.step != PACK else 0
    var block = layer.blocks.block(piece // layer.blocks.column_parts if layer.step != PACK else piece)
    # A thread's own place for the whole block, or one that the threads share.
    var place = thread * BLOCK_ROWS if layer.step == EXPERTS else block.first
    var tokens = layer.workspace.tokens.unsafe_offset(place * layer.given.token_words())
    var hidden = layer.workspace.hidden.unsafe_offset(place * layer.hidden_words())
    var tiles = Tiles(block.rows)
    if layer.step == EXPERTS or layer.step == PACK:
        _pack(layer, block, tiles, tokens)
    if layer.step == EXPERTS or layer.step == HIDDEN:
        _product[HIDDEN](layer, block, tiles, tokens, hidden, thread, part)
    if layer.step == EXPERTS or layer.step == OUTPUT:
        _product[OUTPUT](layer, block, tiles, hidden, hidden, thread, part)


def _pack[form: Form](layer: Layer[form], block: Block, tiles: Tiles, target: Floats):
    """Gathers the block's tokens into tiles."""
    var sizes = layer.sizes()
    for t in range(tiles.count):
        var begin = tiles.begin(t)
        var height = tiles.begin(t + 1) - begin
        var sources = Array[Floats, TILE_ROWS](fill=layer.x)
        for row in range(height):
            var token = Int(layer.workspace.sorted[unsafe_offset=block.first + begin + row]) // sizes.k
            sources[row] = layer.x.unsafe_offset(token * sizes.d)
        comptime for rows in range(1, TILE_ROWS + 1):
            if height == rows:
                pack_tokens[form.lanes(), rows, form.words](
                    sources, sizes.d, target.unsafe_offset(begin * sizes.token_words())
                )


@always_inline
def _product[
    product: Int, form: Form
](layer: Layer[form], block: Block, tiles: Tiles, rows: Floats, hidden: Floats, thread: Int, part: Int):
    """Multiplies a block's packed rows with one part of the columns of its expert's w1 or w2."""
    comptime COLUMNS = form.panel()
    var sizes = layer.sizes_of(block)
    # The shared expert, which may have another width, comes after all others.
    var others = layer.sizes()
    var depth = sizes.depth if product == HIDDEN else sizes.hidden_depth
    var width = sizes.columns() if product == HIDDEN else sizes.d_padded
    var first = block.expert * others.columns() * others.depth
    var second = block.expert * others.d_padded * others.hidden_depth
    var weights = layer.weights.w1 if product == HIDDEN else layer.weights.w2
    var panels = width // COLUMNS
    var expert = weights.unsafe_offset(first if product == HIDDEN else second)
    var end = share(panels, part + 1, layer.blocks.column_parts)
    var begin = share(panels, part, layer.blocks.column_parts)
    # Not of single lanes: places in two panels would be added as a pair, and `simd` off means no pairs of anything.
    comptime if form.lanes() > 1:
        comptime for few in range(1, FEW_ROWS + 1):
            if block.rows == few:
                while begin + SIDE_BY_SIDE[few] <= end:
                    var source = expert.unsafe_offset(begin * COLUMNS * depth)
                    _side_by_side[product, few](layer, block, tiles, rows, depth, source, hidden, thread, begin)
                    begin += SIDE_BY_SIDE[few]
    for panel in range(begin, end):
        var source = expert.unsafe_offset(panel * COLUMNS * depth)
        var next = source.unsafe_offset(COLUMNS * depth)
        var follows = panel + 1 < end
        # After the last panel of w1 comes the first of w2; after that, another thread's work as likely as not.
        comptime if product == HIDDEN:
            if panel + 1 == panels and layer.step == EXPERTS:
                next = layer.weights.w2.unsafe_offset(second)
                follows = True
        _panel[product](layer, block, tiles, rows, depth, source, next, follows, hidden, thread, panel)


@always_inline
def _panel[
    product: Int, form: Form
](
    layer: Layer[form],
    block: Block,
    tiles: Tiles,
    rows: Floats,
    depth: Int,
    panel: Floats,
    next: Floats,
    follows: Bool,
    hidden: Floats,
    thread: Int,
    number: Int,
):
    """Takes every tile of a block through one panel, a part of the depth at a time; the next one may follow."""
    comptime W = form.lanes()
    comptime VECTORS = form.vectors()
    comptime COLUMNS = form.panel()
    comptime BLOCK_LINES = STEPS * COLUMNS // LINE_FLOATS
    comptime IS_KEPT = product == HIDDEN and form.is_general
    comptime ROW_WORDS = STEPS * TOKEN_WORDS[form.words]
    var blocks = depth // STEPS
    var partial = layer.workspace.partial.unsafe_offset(thread * BLOCK_ROWS * COLUMNS)
    var is_far = layer.weights.bytes >= FAR_BYTES
    var most = FEW_DEPTH_BLOCKS if is_far and 1 < tiles.count <= FEW_TILES else DEPTH_BLOCKS
    for first in range(0, blocks, most):
        var part = min(most, blocks - first)
        var is_last = first + part == blocks
        var weights = panel.unsafe_offset(first * STEPS * COLUMNS)
        # Each tile brings its share of what follows the part that all of them are using.
        # One alone has little arithmetic to hide it behind and streams faster without, two do from nearby.
        var ahead = next if is_last else weights.unsafe_offset(part * STEPS * COLUMNS)
        var following = min(most, blocks if is_last else blocks - first - part)
        if tiles.count < (2 if is_far else 3) or (is_last and not follows):
            following = 0
        var lines = (following * BLOCK_LINES + part * tiles.count - 1) // (part * tiles.count)
        for t in range(tiles.count):
            var begin = tiles.begin(t)
            var height = tiles.begin(t + 1) - begin
            var source = rows.unsafe_offset((begin * blocks + first * height) * ROW_WORDS)
            var kept = partial.unsafe_offset(begin * COLUMNS)
            comptime for r in range(1, TILE_ROWS + 1):
                if height == r:
                    var sums = no_sums[W, r * VECTORS]()
                    if first > 0:
                        sums = load_sums[W, r, VECTORS](kept)
                    sums = tile[W, r, VECTORS, form.words](source, weights, part, sums^, ahead, lines)
                    if is_last:
                        _store[product, r](layer, sums, block, begin, number, kept, hidden)
                    else:
                        store_sums[W, r, VECTORS](sums, kept)
            ahead = ahead.unsafe_offset(part * lines * LINE_FLOATS)
    comptime if IS_KEPT:
        store_activated(layer, block, tiles, partial, number, hidden)


@always_inline
def _side_by_side[
    product: Int, rows: Int, form: Form
](
    layer: Layer[form],
    block: Block,
    tiles: Tiles,
    tokens: Floats,
    depth: Int,
    panel: Floats,
    hidden: Floats,
    thread: Int,
    number: Int,
):
    """Takes the only tile of a block, of few rows, through some panels in one pass."""
    comptime W = form.lanes()
    comptime VECTORS = form.vectors()
    comptime ALL = SIDE_BY_SIDE[rows] * VECTORS
    var kept = layer.workspace.partial.unsafe_offset(thread * BLOCK_ROWS * form.panel())
    var none = no_sums[W, rows * ALL]()
    var sums = tile[W, rows, ALL, form.words, VECTORS](
        tokens, panel, depth // STEPS, none^, panel, 0, form.panel() * depth
    )
    comptime for p in range(SIDE_BY_SIDE[rows]):
        var own = no_sums[W, rows * VECTORS]()
        comptime for row in range(rows):
            comptime for v in range(VECTORS):
                own[row * VECTORS + v] = sums[row * ALL + p * VECTORS + v]
        _store[product, rows](layer, own, block, 0, number + p, kept, hidden)
        comptime if product == HIDDEN and form.is_general:
            store_activated(layer, block, tiles, kept, number + p, hidden)


@always_inline
def _store[
    product: Int, rows: Int, form: Form
](
    layer: Layer[form],
    sums: Array[Vector[form.lanes()], rows * form.vectors()],
    block: Block,
    begin: Int,
    number: Int,
    kept: Floats,
    hidden: Floats,
):
    """Stores a tile's sums over the whole depth where they belong, or in `kept` until they are activated."""
    comptime W = form.lanes()
    comptime VECTORS = form.vectors()
    comptime if product == HIDDEN and form.is_general:
        store_sums[W, rows, VECTORS](sums, kept)
    elif product == HIDDEN:
        var target = hidden.unsafe_offset(begin * layer.sizes().hidden_words())
        store_hidden[W, rows, VECTORS](sums, target, number * form.panel())
    else:
        _store_output[rows](layer, sums, block, begin, number * form.panel())


@always_inline
def _store_output[
    rows: Int, form: Form
](
    layer: Layer[form],
    sums: Array[Vector[form.lanes()], rows * form.vectors()],
    block: Block,
    begin: Int,
    column: Int,
):
    """Stores the second product, times each entry's weight, in the entry's own output row."""
    comptime W = form.lanes()
    var d_padded = layer.sizes().d_padded
    comptime for row in range(rows):
        var entry = Int(layer.workspace.sorted[unsafe_offset=block.first + begin + row])
        var factor = Vector[W](layer.workspace.factors[unsafe_offset=entry])
        var target = layer.workspace.outputs.unsafe_offset(entry * d_padded + column)
        comptime for v in range(form.vectors()):
            var value = sums[row * form.vectors() + v]
            comptime if form.is_general:
                value += layer.weights.b2.unsafe_load[width=W](block.expert * d_padded + column + v * W)
                target.unsafe_store(v * W, value if layer.is_weighed_before(block) else value * factor)
            else:
                target.unsafe_store(v * W, alone(value * factor))
