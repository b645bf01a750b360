"""What a forward needs beside input, output and weights: a part for each thread, and one for a chunk of tokens."""

from blocks import BLOCK_INTS, BLOCK_ROWS, FEWEST_TILES
from form import Form, Sizes
from routing import scratch_ints
from tile import TILE_ROWS
from vectors import CACHE_LINE, Floats, Ints, new_floats, new_ints

comptime OUTPUT_BYTES = 40 * 1024 * 1024
"""Bound on the experts' outputs that wait for their weighted sum; more tokens go in chunks."""

comptime ROUTE_TOKENS = 16
"""Tokens that a thread routes at a time: at least one for each lane."""


def most_chunk_tokens[form: Form](sizes: Sizes[form]) -> Int:
    """Says how many tokens a chunk may have at most.

    Parameters:
        form: The switches.

    Args:
        sizes: Of the layer.

    Returns:
        Their number.
    """
    return max(1, OUTPUT_BYTES // (4 * sizes.k * sizes.d_padded))


struct Workspace[form: Form](Movable):
    """Memory of a forward. Nothing is allocated before `reserve`.

    Parameters:
        form: The switches.
    """

    comptime W = Self.form.lanes()
    """Lanes of a vector."""

    var threads: Int
    """Threads that have a part each."""
    var chunk_tokens: Int
    """Tokens that there is room for; -1 where there is no memory at all."""

    # A part for each thread; where threads share a block's columns, they share the first two as well.
    var tokens: Floats
    """(threads · BLOCK_ROWS, token_words): a block's tokens, packed."""
    var hidden: Floats
    """(threads · BLOCK_ROWS, hidden_words): a block's hidden activations, packed."""
    var partial: Floats
    """(threads, BLOCK_ROWS, PANEL): sums of a part of the depth."""
    var logits: Floats
    """(threads, ROUTE_TOKENS, experts_padded)."""
    var keys: Ints
    """(threads, …): scratch of `choose_experts`."""
    var loads: Ints
    """(threads,): rows that each would get."""

    # The same for the routing of other layers than the published one.
    var choices: Floats
    """(threads, ROUTE_TOKENS, experts_padded): by what experts are chosen."""
    var ranks: Floats
    """(threads, experts_padded): of groups."""
    var picks: Ints
    """(threads, ROUTE_TOKENS, k): chosen experts."""
    var pick_weights: Floats
    """(threads, ROUTE_TOKENS, k): theirs, as the published layer has them."""

    # One for the chunk.
    var experts: Ints
    """(entries,): the expert of each."""
    var factors: Floats
    """(entries,): the weight of each."""
    var starts: Ints
    """(E + 1,): where each expert's entries begin among the sorted ones."""
    var sorted: Ints
    """(entries,): entries in the order of experts."""
    var blocks: Ints
    """(blocks, BLOCK_INTS)."""
    var outputs: Floats
    """(entries, d_padded): what each entry adds to its token."""

    def __init__(out self, threads: Int):
        """Begins without memory.

        Args:
            threads: Threads that will have a part each.
        """
        self.threads = threads
        self.chunk_tokens = -1
        # A pointer may not be null; these are neither read nor freed.
        var nowhere = Floats(unsafe_from_address=CACHE_LINE)
        var nothing = Ints(unsafe_from_address=CACHE_LINE)
        self.tokens = nowhere
        self.hidden = nowhere
        self.partial = nowhere
        self.logits = nowhere
        self.keys = nothing
        self.loads = nothing
        self.choices = nowhere
        self.ranks = nowhere
        self.picks = nothing
        self.pick_weights = nowhere
        self.experts = nothing
        self.factors = nowhere
        self.starts = nothing
        self.sorted = nothing
        self.blocks = nothing
        self.outputs = nowhere

    def reserve(mut self, sizes: Sizes[Self.form], hidden_words: Int, tokens: Int):
        """Makes room for a chunk, keeping what there is when that is enough.

        Args:
            sizes: Of the layer.
            hidden_words: Of a hidden row, at most.
            tokens: Tokens of the chunk.
        """
        if tokens <= self.chunk_tokens:
            return
        self.free()
        self.chunk_tokens = tokens
        var rows = self.threads * BLOCK_ROWS
        self.tokens = new_floats(rows * sizes.token_words())
        self.hidden = new_floats(rows * hidden_words)
        self.partial = new_floats(rows * Self.form.panel())
        self.logits = new_floats(self.threads * ROUTE_TOKENS * sizes.experts_padded)
        self.keys = new_ints(self.threads * scratch_ints[Self.W](sizes.k))
        self.loads = new_ints(self.threads)
        comptime if Self.form.is_general:
            self.choices = new_floats(self.threads * ROUTE_TOKENS * sizes.experts_padded)
            self.ranks = new_floats(self.threads * sizes.experts_padded)
            self.picks = new_ints(self.threads * ROUTE_TOKENS * sizes.k)
            self.pick_weights = new_floats(self.threads * ROUTE_TOKENS * sizes.k)
        var entries = tokens * sizes.k
        self.experts = new_ints(entries)
        self.factors = new_floats(entries)
        self.starts = new_ints(sizes.experts + 1)
        self.sorted = new_ints(entries)
        # Every expert has at most one block more than its entries fill, and no block need be smaller than this.
        var blocks = entries // (FEWEST_TILES * TILE_ROWS) + sizes.experts if Self.form.batch else entries
        self.blocks = new_ints(BLOCK_INTS * blocks)
        self.outputs = new_floats(entries * sizes.d_padded)

    def free(mut self):
        """Frees all memory; `reserve` begins again."""
        if self.chunk_tokens < 0:
            return
        self.chunk_tokens = -1
        self.tokens.unsafe_free()
        self.hidden.unsafe_free()
        self.partial.unsafe_free()
        self.logits.unsafe_free()
        self.keys.unsafe_free()
        self.loads.unsafe_free()
        comptime if Self.form.is_general:
            self.choices.unsafe_free()
            self.ranks.unsafe_free()
            self.picks.unsafe_free()
            self.pick_weights.unsafe_free()
        self.experts.unsafe_free()
        self.factors.unsafe_free()
        self.starts.unsafe_free()
        self.sorted.unsafe_free()
        self.blocks.unsafe_free()
        self.outputs.unsafe_free()
