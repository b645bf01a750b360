"""A prepared layer: its weights, its memory, and the chunk of tokens that a forward is working on.

Letters: T tokens, d model width, f hidden width, E experts, k experts a token. An *entry* is one of the T · k
pairs of a token and a slot among its experts, numbered token · k + slot.
"""

from blocks import Block, Blocks
from form import Form, Sizes
from knobs import D_FF, D_MODEL, SHARED_D_FF, THREADS, Description, Knobs
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
    """The sizes; `sizes` gives them as constants where it can. A shared expert counts as an expert and as a slot."""
    var shared: Sizes[Self.form]
    """The same with the shared expert's hidden width, 0 where there is none."""
    var knobs: Knobs
    """What kind of layer it is."""
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
        self.given = sizes
        self.shared = Sizes[Self.form](sizes.d, 0, sizes.experts, sizes.k)
        self.knobs = Knobs(sizes.experts, sizes.k)
        self.weights = Weights[Self.form](sizes, gate, w1, w2)
        self.workspace = Workspace[Self.form](threads)
        self.x = gate
        self.y = gate
        self.tokens = 0
        self.blocks = Blocks(self.workspace.blocks)
        self.step = ROUTE

    def __init__(out self, description: Description):
        """Packs the weights of any layer; the originals are not needed after.

        Args:
            description: Of the layer.
        """
        self.knobs = Knobs(description)
        var d = description.number(D_MODEL)
        var more = 1 if self.knobs.has_shared else 0
        var experts = self.knobs.experts + more
        var slots = self.knobs.k + more
        self.given = Sizes[Self.form](d, description.number(D_FF), experts, slots)
        self.shared = Sizes[Self.form](d, description.number(SHARED_D_FF), experts, slots)
        self.weights = Weights[Self.form](self.given, self.shared, description)
        self.workspace = Workspace[Self.form](description.number(THREADS))
        self.x = self.weights.gate
        self.y = self.x
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

    @always_inline
    def sizes_of(self, block: Block) -> Sizes[Self.form]:
        """Gives the sizes of a block's expert.

        Args:
            block: Of entries.

        Returns:
            The sizes.
        """
        comptime if Self.form.is_general:
            return self.shared if block.expert == self.knobs.experts else self.given
        else:
            return self.sizes()

    @always_inline
    def hidden_words(self) -> Int:
        """Counts the words of a hidden row.

        Returns:
            Of whichever expert has the most.
        """
        return max(self.given.hidden_words(), self.shared.hidden_words())

    @always_inline
    def factor(self, block: Block, row: Int) -> Float32:
        """Gives the weight of an entry.

        Args:
            block: That it is in.
            row: Of the block.

        Returns:
            The weight.
        """
        return self.workspace.factors[unsafe_offset=Int(self.workspace.sorted[unsafe_offset=block.first + row])]

    @always_inline
    def is_weighed_before(self, block: Block) -> Bool:
        """Says whether a block's tokens are multiplied by their weights, or its outputs.

        Args:
            block: Of entries.

        Returns:
            Whether the tokens are; the shared expert's never.
        """
        comptime if Self.form.is_general:
            return self.knobs.is_on_input and block.expert < self.knobs.experts
        else:
            return False

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
        self.workspace.reserve(self.given, self.hidden_words(), tokens)
        self.tokens = tokens
        self.x = x.unsafe_offset(first * self.given.d)
        self.y = y.unsafe_offset(first * self.given.d)

    def is_small(self) -> Bool:
        """Says whether the chunk is too little work for more than one thread.

        Returns:
            Whether it is.
        """
        comptime MATRICES = 3 if Self.form.is_gated else 2
        var width = self.knobs.k * self.given.f + self.shared.f
        return self.tokens * width * MATRICES * self.given.d < SHARED_PRODUCTS

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
