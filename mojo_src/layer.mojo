"""The layer: packed weights in prepare; route, sort, two products an expert and a weighted sum in forward.

Letters: T tokens, d model width, f hidden width, E experts, k experts a token. An *entry* is one of the T · k
pairs of a token and a slot among its experts, numbered token · k + slot.
"""

from block import BLOCK_ROWS, Tiles, load_sums, store_hidden, store_sums
from packing import pack_columns, pack_token
from pool import Pool, Words
from routing import choose_experts, scratch_ints, sort_by_expert
from tile import LINE_FLOATS, PANEL, TILE_ROWS, TILE_VECTORS, no_sums, tile
from vectors import Floats, Ints, Vector, W, new_floats, new_ints, round_up, store_part

comptime DEPTH_BLOCKS = 512 // W
"""Depth, in blocks of W, that a panel is taken through at a time. 512 steps of a panel and of a block's tokens are
a third of a megabyte: they stay in a second-level cache, with the next panel on its way, while every tile uses them.
"""

comptime OUTPUT_BYTES = 40 * 1024 * 1024
"""Bound on the experts' outputs that wait for their weighted sum; more tokens go in chunks."""

comptime ROUTE_TOKENS = W
"""Tokens that a thread routes at a time: one for each lane."""

comptime SUM_TOKENS = 64
"""Tokens whose outputs a thread sums at a time."""

comptime HIDDEN = 0
"""The first product of an expert: relu(tokens · w1)."""

comptime OUTPUT = 1
"""The second: hidden · w2."""

comptime ROUTE = 0
"""Step 1 of a forward."""

comptime EXPERTS = 1
"""Step 3; sorting between them is the caller's alone."""

comptime SUM = 2
"""Step 4."""


struct Layer(Movable):
    """A prepared layer with its packed weights, workspace and threads."""

    var d: Int
    """Width of a token."""
    var experts: Int
    """Number of experts."""
    var k: Int
    """Experts of a token."""

    # Sizes as packed.
    var d_blocks: Int
    var f_padded: Int
    var d_padded: Int
    var experts_padded: Int

    # Packed weights.
    var gate: Floats
    var w1: Floats
    var w2: Floats

    # Workspace: a part for each thread, and what one chunk of tokens needs.
    var packed_tokens: Floats
    var hidden: Floats
    var partial: Floats
    var logits: Floats
    var keys: Ints
    var chunk_tokens: Int
    var entry_expert: Ints
    var entry_weight: Floats
    var sorted: Ints
    var starts: Ints
    var blocks: Ints
    var outputs: Floats

    # The forward under way.
    var x: Floats
    var y: Floats
    var tokens: Int
    var block_count: Int
    var step: Int

    def __init__(out self, gate: Floats, w1: Floats, w2: Floats, d: Int, f: Int, experts: Int, k: Int, threads: Int):
        """Packs the weights; the originals are not needed after.

        Args:
            gate: (d, E).
            w1: (E, d, f).
            w2: (E, f, d).
            d: Width of a token.
            f: Hidden width of an expert.
            experts: Number of experts.
            k: Experts of a token.
            threads: Threads that will call `work`.
        """
        self.d = d
        self.experts = experts
        self.k = k
        self.d_blocks = round_up(d, W) // W
        self.f_padded = round_up(f, PANEL)
        self.d_padded = round_up(d, PANEL)
        self.experts_padded = round_up(experts, W)

        var depth = self.d_blocks * W
        self.gate = new_floats(depth * self.experts_padded)
        self.w1 = new_floats(experts * depth * self.f_padded)
        self.w2 = new_floats(experts * self.f_padded * self.d_padded)
        pack_columns[W](gate, d, experts, depth, self.gate)
        for e in range(experts):
            pack_columns[PANEL](
                w1.unsafe_offset(e * d * f), d, f, depth, self.w1.unsafe_offset(e * depth * self.f_padded)
            )
            pack_columns[PANEL](
                w2.unsafe_offset(e * f * d),
                f,
                d,
                self.f_padded,
                self.w2.unsafe_offset(e * self.f_padded * self.d_padded),
            )

        self.packed_tokens = new_floats(threads * BLOCK_ROWS * depth)
        self.hidden = new_floats(threads * BLOCK_ROWS * self.f_padded)
        self.partial = new_floats(threads * BLOCK_ROWS * PANEL)
        self.logits = new_floats(threads * ROUTE_TOKENS * self.experts_padded)
        self.keys = new_ints(threads * scratch_ints(k))
        self.starts = new_ints(experts + 1)
        self.chunk_tokens = 0
        self.entry_expert = new_ints(0)
        self.entry_weight = new_floats(0)
        self.sorted = new_ints(0)
        self.blocks = new_ints(0)
        self.outputs = new_floats(0)
        self.x = self.gate
        self.y = self.gate
        self.tokens = 0
        self.block_count = 0
        self.step = ROUTE

    def free(mut self):
        """Frees the weights and the workspace; the layer can't be used after."""
        self.gate.unsafe_free()
        self.w1.unsafe_free()
        self.w2.unsafe_free()
        self.packed_tokens.unsafe_free()
        self.hidden.unsafe_free()
        self.partial.unsafe_free()
        self.logits.unsafe_free()
        self.keys.unsafe_free()
        self.starts.unsafe_free()
        self._free_chunk()

    def _free_chunk(mut self):
        self.entry_expert.unsafe_free()
        self.entry_weight.unsafe_free()
        self.sorted.unsafe_free()
        self.blocks.unsafe_free()
        self.outputs.unsafe_free()

    def most_chunk_tokens(self) -> Int:
        """Returns how many tokens a chunk may have at most."""
        return max(1, OUTPUT_BYTES // (4 * self.k * self.d_padded))

    def reserve(mut self, tokens: Int):
        """Makes room for a chunk, keeping what there is when that is enough.

        Args:
            tokens: Tokens of the chunk.
        """
        if tokens <= self.chunk_tokens:
            return
        self._free_chunk()
        self.chunk_tokens = tokens
        var entries = tokens * self.k
        self.entry_expert = new_ints(entries)
        self.entry_weight = new_floats(entries)
        self.sorted = new_ints(entries)
        # Every expert has at most one block more than its entries fill.
        self.blocks = new_ints(3 * (entries // BLOCK_ROWS + self.experts))
        self.outputs = new_floats(entries * self.d_padded)

    def take(mut self, x: Floats, y: Floats, first: Int, tokens: Int):
        """Sets the chunk of tokens that the steps work on.

        Args:
            x: Input of the whole forward.
            y: Output of the whole forward.
            first: The chunk's first token.
            tokens: Its number of tokens.
        """
        self.tokens = tokens
        self.x = x.unsafe_offset(first * self.d)
        self.y = y.unsafe_offset(first * self.d)

    def start(mut self, step: Int) -> Int:
        """Sets the step that `work` does next.

        Args:
            step: ROUTE, EXPERTS or SUM.

        Returns:
            Into how many pieces it is cut.
        """
        self.step = step
        if step == ROUTE:
            return (self.tokens + ROUTE_TOKENS - 1) // ROUTE_TOKENS
        if step == EXPERTS:
            return self.block_count
        return (self.tokens + SUM_TOKENS - 1) // SUM_TOKENS

    def work(self, thread: Int, piece: Int):
        """Does one piece of the current step.

        Args:
            thread: Number of the calling thread.
            piece: Number of the piece.
        """
        if self.step == ROUTE:
            self._route(piece * ROUTE_TOKENS, min(self.tokens, (piece + 1) * ROUTE_TOKENS), thread)
        elif self.step == EXPERTS:
            self._expert_block(piece, thread)
        else:
            self._sum(piece * SUM_TOKENS, min(self.tokens, (piece + 1) * SUM_TOKENS))

    # Step 1: x (T, d) · gate (d, E) → experts and weights of each entry.

    def _route(self, first: Int, end: Int, thread: Int):
        var packed = self.packed_tokens.unsafe_offset(thread * BLOCK_ROWS * self.d_blocks * W)
        var logits = self.logits.unsafe_offset(thread * ROUTE_TOKENS * self.experts_padded)
        for token in range(first, end, TILE_ROWS):
            var rows = min(TILE_ROWS, end - token)
            for row in range(rows):
                var source = self.x.unsafe_offset((token + row) * self.d)
                pack_token(source, self.d, rows, packed.unsafe_offset(row * W))
            comptime for r in range(1, TILE_ROWS + 1):
                if rows == r:
                    self._logits_tile[r](packed, logits.unsafe_offset((token - first) * self.experts_padded))
        choose_experts(
            logits,
            self.experts_padded,
            self.experts,
            self.k,
            end - first,
            self.keys.unsafe_offset(thread * scratch_ints(self.k)),
            self.entry_expert.unsafe_offset(first * self.k),
            self.entry_weight.unsafe_offset(first * self.k),
        )

    @always_inline
    def _logits_tile[rows: Int](self, packed: Floats, logits: Floats):
        for first in range(0, self.experts_padded, W):
            var panel = self.gate.unsafe_offset(first * self.d_blocks * W)
            var sums = tile[rows, 1](packed, panel, self.d_blocks, no_sums[rows](), panel, 0)
            comptime for row in range(rows):
                logits.unsafe_store(row * self.experts_padded + first, sums[row])

    # Step 2: entries in the order of experts, cut into blocks (expert, first, rows).

    def sort(mut self):
        """Sorts the entries by expert and cuts each expert's list into blocks of about equal size."""
        sort_by_expert(self.entry_expert, self.tokens * self.k, self.experts, self.starts, self.sorted)
        var count = 0
        for expert in range(self.experts):
            var first = Int(self.starts[unsafe_offset=expert])
            var rows = Int(self.starts[unsafe_offset=expert + 1]) - first
            var blocks = (rows + BLOCK_ROWS - 1) // BLOCK_ROWS
            for block in range(blocks):
                var begin = rows * block // blocks
                self.blocks[unsafe_offset=3 * count] = Int32(expert)
                self.blocks[unsafe_offset=3 * count + 1] = Int32(first + begin)
                self.blocks[unsafe_offset=3 * count + 2] = Int32(rows * (block + 1) // blocks - begin)
                count += 1
        self.block_count = count

    # Step 3: for each block, relu(tokens · w1[e]) · w2[e], times the entry's weight.

    def _expert_block(self, block: Int, thread: Int):
        var expert = Int(self.blocks[unsafe_offset=3 * block])
        var entries = self.sorted.unsafe_offset(Int(self.blocks[unsafe_offset=3 * block + 1]))
        var rows = Int(self.blocks[unsafe_offset=3 * block + 2])
        var depth = self.d_blocks * W
        var packed = self.packed_tokens.unsafe_offset(thread * BLOCK_ROWS * depth)
        var hidden = self.hidden.unsafe_offset(thread * BLOCK_ROWS * self.f_padded)
        var partial = self.partial.unsafe_offset(thread * BLOCK_ROWS * PANEL)
        var tiles = Tiles(rows)

        for t in range(tiles.count):
            var begin = tiles.begin[t]
            var height = tiles.begin[t + 1] - begin
            for row in range(height):
                var token = Int(entries[unsafe_offset=begin + row]) // self.k
                var place = packed.unsafe_offset(begin * depth + row * W)
                pack_token(self.x.unsafe_offset(token * self.d), self.d, height, place)

        var w1 = self.w1.unsafe_offset(expert * depth * self.f_padded)
        for column in range(0, self.f_padded, PANEL):
            self._panel[HIDDEN](tiles, packed, w1.unsafe_offset(column * depth), partial, hidden, entries, column)
        var w2 = self.w2.unsafe_offset(expert * self.f_padded * self.d_padded)
        for column in range(0, self.d_padded, PANEL):
            var panel = w2.unsafe_offset(column * self.f_padded)
            self._panel[OUTPUT](tiles, hidden, panel, partial, hidden, entries, column)

    @always_inline
    def _panel[
        product: Int
    ](
        self,
        tiles: Tiles,
        tokens: Floats,
        panel: Floats,
        partial: Floats,
        hidden: Floats,
        entries: Ints,
        column: Int,
    ):
        """Takes every tile of a block through one panel, a part of the depth at a time."""
        var blocks = self.d_blocks if product == HIDDEN else self.f_padded // W
        # Each tile brings its share of what follows the part that all of them are using.
        # One or two alone have little arithmetic to hide it behind, and stream faster without.
        var lines = (W * PANEL // LINE_FLOATS + tiles.count - 1) // tiles.count if tiles.count > 2 else 0
        for first in range(0, blocks, DEPTH_BLOCKS):
            var part = min(DEPTH_BLOCKS, blocks - first)
            var weights = panel.unsafe_offset(first * W * PANEL)
            var ahead = weights.unsafe_offset(part * W * PANEL)
            for t in range(tiles.count):
                var begin = tiles.begin[t]
                var height = tiles.begin[t + 1] - begin
                var source = tokens.unsafe_offset((begin * blocks + first * height) * W)
                var kept = partial.unsafe_offset(begin * PANEL)
                comptime for rows in range(1, TILE_ROWS + 1):
                    if height == rows:
                        var sums = load_sums[rows](kept) if first > 0 else no_sums[rows * TILE_VECTORS]()
                        sums = tile[rows, TILE_VECTORS](source, weights, part, sums^, ahead, lines)
                        if first + part < blocks:
                            store_sums[rows](sums, kept)
                        elif product == HIDDEN:
                            store_hidden[rows](sums, hidden.unsafe_offset(begin * self.f_padded + column * height))
                        else:
                            self._store_output[rows](sums, entries.unsafe_offset(begin), column)
                ahead = ahead.unsafe_offset(part * lines * LINE_FLOATS)

    @always_inline
    def _store_output[rows: Int](self, sums: Array[Vector, rows * TILE_VECTORS], entries: Ints, column: Int):
        """Stores the second product, times each entry's weight, in the entry's own output row."""
        comptime for row in range(rows):
            var entry = Int(entries[unsafe_offset=row])
            var weight = Vector(self.entry_weight[unsafe_offset=entry])
            var target = self.outputs.unsafe_offset(entry * self.d_padded + column)
            comptime for v in range(TILE_VECTORS):
                target.unsafe_store(v * W, sums[row * TILE_VECTORS + v] * weight)

    # Step 4: y[t] = the sum of the token's k outputs, in the order of its slots on any number of threads.

    def _sum(self, first: Int, end: Int):
        for token in range(first, end):
            var outputs = self.outputs.unsafe_offset(token * self.k * self.d_padded)
            var target = self.y.unsafe_offset(token * self.d)
            for column in range(0, self.d, W):
                var total = outputs.unsafe_load[width=W](column)
                for slot in range(1, self.k):
                    total += outputs.unsafe_load[width=W](slot * self.d_padded + column)
                store_part(target.unsafe_offset(column), total, self.d - column)


comptime Model = Pointer[Layer, MutUntrackedOrigin]
"""A layer by its address. Threads share it behind the compiler's back, so no function that runs the pool may hold
it as a `mut` argument: the compiler would then take it for its own and keep its fields in registers."""


def work_on_layer(state: Words, thread: Int, piece: Int):
    """What the pool's threads do with a piece.

    Args:
        state: Address of a Layer.
        thread: Number of the calling thread.
        piece: Number of the piece.
    """
    Model(unsafe_from_address=Int(state))[].work(thread, piece)


def forward(model: Model, pool: Pool[work_on_layer], x: Floats, y: Floats, tokens: Int):
    """Computes the layer.

    Args:
        model: Prepared for as many threads as the pool has.
        pool: Its threads.
        x: Input (T, d).
        y: Output (T, d), written.
        tokens: T, which may be 0.
    """
    var most = model[].most_chunk_tokens()
    model[].reserve(min(tokens, most))
    pool.hold()
    for first in range(0, tokens, most):
        model[].take(x, y, first, min(most, tokens - first))
        pool.run(model[].start(ROUTE))
        model[].sort()
        pool.run(model[].start(EXPERTS))
        pool.run(model[].start(SUM))
    pool.release()
