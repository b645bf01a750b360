"""Hidden activations of any layer: a tile's sums of the first product, activated and packed for the second."""

from activation import activate
from blocks import Block, Tiles
from form import Form
from knobs import RELU, SWIGLU, SWIGLU_OAI
from layer import Layer
from packing import store_numbers
from tile import STEPS, TOKEN_WORDS
from vectors import Floats, Vector, multiply_add
from words import FLOATS, round_to_half


@no_inline
def store_activated[
    form: Form
](layer: Layer[form], block: Block, tiles: Tiles, sums: Floats, panel: Int, hidden: Floats):
    """Stores the hidden activations of a block's panel; bfloat16 is rounded here and nowhere else.

    Not inlined: it takes sums from memory, so that a tile's loop has the registers to itself. For all tiles at once:
    an activation takes long to be ready, and the next ones hide that.

    Parameters:
        form: What is compiled.

    Args:
        layer: With its chunk.
        block: Of entries.
        tiles: Of the block.
        sums: (rows, panel's columns): of the first product.
        panel: Number of the panel.
        hidden: The block's packed hidden activations, a tile after the other, (blocks, rows, NUMBERS) each.
    """
    comptime FIRST = SWIGLU if form.is_gated else RELU
    comptime END = SWIGLU_OAI + 1 if form.is_gated else SWIGLU
    comptime for expert in range(FIRST, END):
        if layer.knobs.expert == expert:
            for t in range(tiles.count):
                _store[form, expert](layer, block, tiles.begin(t), tiles.begin(t + 1), sums, panel, hidden)


@always_inline
def _store[
    form: Form, expert: Int
](layer: Layer[form], block: Block, begin: Int, end: Int, sums: Floats, panel: Int, hidden: Floats):
    """Stores those of a tile's rows."""
    comptime W = form.lanes()
    comptime PANEL = form.panel()
    comptime VECTORS = form.hidden_panel() // W
    comptime NUMBERS = form.block_numbers()
    var column = panel * form.hidden_panel()
    var bias = layer.weights.b1.unsafe_offset(block.expert * layer.given.columns() + panel * PANEL)
    var is_weighed = layer.is_weighed_before(block)
    var target = hidden.unsafe_offset(begin * layer.sizes_of(block).hidden_words())
    var block_words = (end - begin) * STEPS * TOKEN_WORDS[form.words]
    for row in range(begin, end):
        # x · w1, times the weight, is (x times the weight) · w1.
        var weight = Vector[W](layer.factor(block, row) if is_weighed else 1)
        var source = sums.unsafe_offset(row * PANEL)
        comptime for v in range(VECTORS):
            comptime second = (VECTORS + v) * W if form.is_gated else v * W
            var place = column + v * W
            var value = activate[W, expert](
                multiply_add(source.unsafe_load[width=W](v * W), weight, bias.unsafe_load[width=W](v * W)),
                multiply_add(source.unsafe_load[width=W](second), weight, bias.unsafe_load[width=W](second)),
            )
            comptime if form.words != FLOATS:
                value = round_to_half(value)
            store_numbers[W, form.words](
                target.unsafe_offset(place // NUMBERS * block_words),
                (row - begin) * NUMBERS + place % NUMBERS,
                value,
            )
