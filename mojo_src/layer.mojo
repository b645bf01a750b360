"""A prepared layer: its weights, its memory, and the chunk of tokens that a forward is working on.

Letters: T tokens, d model width, f hidden width, E experts, k experts a token. An *entry* is one of the T · k
pairs of a token and a slot among its experts, numbered token · k + slot.
"""

from blocks import Blocks
from form import Form, Sizes
from vectors import Floats
from weights import Weights
from workspace import ROUTE_TOKENS, Workspace

comptime SUM_TOKENS = 64
"""Tokens whose outputs a thread sums at a time."""

comptime SHARED_PRODUCTS = 256 * 1024
"""Multiply-adds below which one thread does all: some 10 µs of reading weights, less than it takes to wake another."""

# The steps of a forward, in their order.
comptime ROUTE = 0
"""Take x · gate, and the experts and weights of each entry."""
comptime EXPERTS = 1
"""Take both products of each block; where blocks are too few for the threads, the next three steps instead."""
comptime PACK = 2
"""Pack each block's tokens."""
comptime HIDDEN = 3
"""Take the first product, a part of a block's columns at a time: relu(tokens · w1)."""
comptime OUTPUT = 4
"""Take the second: hidden · w2, times the entry's weight."""
comptime SUM = 5
"""Sum each token's k outputs into y."""


struct Layer[form: Form](Movable):
    """A prepared layer.

    Parameters:
        form: The switches that it is compiled with.
    """

    comptime W = Self.form.lanes()
    """Lanes of a vector."""

    var given: Sizes[Self.form]
    """The sizes; `sizes` gives them as constants where it can."""
    var weights: Weights[Self.form]
    """Packed."""
    var workspace: Workspace[Self.form]
    """What a forward needs beside."""

    # The forward under way.
    var x: Floats
    """Input of the chunk (tokens, d)."""
    var y: Floats
    """Its output (tokens, d)."""
    var tokens: Int
    """Tokens of the chunk."""
    var blocks: Blocks
    """Its blocks, once entries are sorted."""
    var step: Int
    """What threads do next."""

    def __init__(out self, sizes: Sizes[Self.form], gate: Floats, w1: Floats, w2: Floats, threads: Int):
        """Packs the weights; the originals are not needed after.

        Args:
            sizes: Of the layer.
            gate: (d, E).
            w1: (E, d, f).
            w2: (E, f, d).
            threads: Threads that will share its work.
        """
        self.weights = Weights[Self.form](sizes, gate, w1, w2)
        self.workspace = Workspace[Self.form](threads)
        self.given = sizes
        self.x = gate
        self.y = gate
        self.tokens = 0
        self.blocks = Blocks(self.workspace.blocks)
        self.step = ROUTE

    @always_inline
    def sizes(self) -> Sizes[Self.form]:
        """Gives the sizes, as constants where the library is compiled for them.

        Returns:
            The sizes.
        """
        return self.given.known()

    def free(mut self):
        """Frees the weights and the workspace; the layer can't be used after."""
        self.weights.free()
        self.workspace.free()

    def take(mut self, x: Floats, y: Floats, first: Int, tokens: Int):
        """Sets the chunk of tokens that the steps work on, and makes room for it.

        Args:
            x: Input of the whole forward.
            y: Output of the whole forward.
            first: The chunk's first token.
            tokens: Its number of tokens.
        """
        self.workspace.reserve(self.given, tokens)
        self.tokens = tokens
        self.x = x.unsafe_offset(first * self.given.d)
        self.y = y.unsafe_offset(first * self.given.d)

    def is_small(self) -> Bool:
        """Says whether the chunk is too little work for more than one thread.

        Returns:
            Whether it is.
        """
        return self.tokens * self.given.k * 2 * self.given.d * self.given.f < SHARED_PRODUCTS

    def start(mut self, step: Int) -> Int:
        """Sets the step that threads do next.

        Args:
            step: ROUTE, EXPERTS, PACK, HIDDEN, OUTPUT or SUM.

        Returns:
            Into how many pieces it is cut.
        """
        self.step = step
        if step == ROUTE:
            return (self.tokens + ROUTE_TOKENS - 1) // ROUTE_TOKENS
        if step == SUM:
            return (self.tokens + SUM_TOKENS - 1) // SUM_TOKENS
        if step == HIDDEN or step == OUTPUT:
            return self.blocks.count * self.blocks.column_parts
        return self.blocks.count


comptime Model[form: Form] = Pointer[Layer[form], MutUntrackedOrigin]
"""A layer by its address. Threads share it behind the compiler's back, so no function that runs the pool may hold
it as a `mut` argument: the compiler would then take it for its own and keep its fields in registers.

Parameters:
    form: The switches.
"""
