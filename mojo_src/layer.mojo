"""The layer: route, sort, two products an expert and a weighted sum, on any number of threads.

Letters: T tokens, d model width, f hidden width, E experts, k experts a token. An *entry* is one of the T · k
pairs of a token and a slot among its experts, numbered token · k + slot.
"""

from block import BLOCK_ROWS, BLOCK_TILES, FEWEST_TILES, Tiles, load_sums, store_hidden, store_sums, tiles_of
from form import Form, Sizes
from gate import GATE_EXPERTS, GATE_TOKENS, gate_tile
from packing import pack_tokens
from plain import multiply_row, relu
from pool import Pool, Words
from routing import choose_experts, scratch_ints, sort_by_expert
from tile import LINE_FLOATS, PANEL, STEPS, TILE_ROWS, TILE_VECTORS, no_sums, tile
from vectors import Floats, Vector, alone, share, store_part
from weights import Weights
from workspace import BLOCK_INTS, ROUTE_TOKENS, Workspace, most_chunk_tokens

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

comptime SUM_TOKENS = 64
"""Tokens whose outputs a thread sums at a time."""

comptime SHARED_PRODUCTS = 256 * 1024
"""Multiply-adds below which one thread does all: some 10 µs of reading weights, less than it takes to wake another."""

comptime PIECES_PER_THREAD = 4
"""Into how many pieces for each thread the work is cut, at least."""

comptime MANY_BLOCKS = 16
"""Blocks for each thread from which on threads end about together whatever they take."""

comptime STREAM_ROWS = 4
"""Reading an expert's weights costs about as much as multiplying this many rows with them."""

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


@fieldwise_init
struct Block(TrivialRegisterPassable):
    """Entries of one expert that share a pass over its weights."""

    var expert: Int
    """Number of the expert."""
    var first: Int
    """First of its entries among the sorted ones."""
    var rows: Int
    """How many."""


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
    var block_count: Int
    """Blocks of the chunk."""
    var column_parts: Int
    """Parts into which a block's columns are cut, so that threads share it; 1: they take whole blocks."""
    var step: Int
    """What `work` does."""

    def __init__(out self, sizes: Sizes[Self.form], gate: Floats, w1: Floats, w2: Floats, threads: Int):
        """Packs the weights; the originals are not needed after.

        Args:
            sizes: Of the layer.
            gate: (d, E).
            w1: (E, d, f).
            w2: (E, f, d).
            threads: Threads that will call `work`.
        """
        self.weights = Weights[Self.form](sizes, gate, w1, w2)
        self.workspace = Workspace[Self.form](threads)
        self.given = sizes
        self.x = gate
        self.y = gate
        self.tokens = 0
        self.block_count = 0
        self.column_parts = 1
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
        """Sets the step that `work` does next.

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
            return self.block_count * self.column_parts
        return self.block_count

    def work(self, thread: Int, piece: Int):
        """Does one piece of the current step.

        Args:
            thread: Number of the calling thread.
            piece: Number of the piece.
        """
        if self.step == ROUTE:
            self._route(piece * ROUTE_TOKENS, min(self.tokens, (piece + 1) * ROUTE_TOKENS), thread)
        elif self.step == SUM:
            self._sum(piece * SUM_TOKENS, min(self.tokens, (piece + 1) * SUM_TOKENS))
        else:
            comptime if Self.form.tile:
                self._tiles(thread, piece)
            else:
                self._plain(self._block(piece), thread)

    # Step 1: x (T, d) · gate (d, E) → experts and weights of each entry.

    def _route(self, first: Int, end: Int, thread: Int):
        var sizes = self.sizes()
        var d = sizes.d
        var k = sizes.k
        var stride = sizes.experts_padded
        var logits = self.workspace.logits.unsafe_offset(thread * ROUTE_TOKENS * stride)
        var x = self.x.unsafe_offset(first * d)
        var gate = self.weights.gate
        comptime if Self.form.tile:
            var depth = sizes.gate_depth
            for token in range(0, end - first, GATE_TOKENS):
                for expert in range(0, stride, GATE_EXPERTS):
                    gate_tile[Self.W](
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
                multiply_row[Self.W](
                    x.unsafe_offset(token * d), gate, d, stride, logits.unsafe_offset(token * stride)
                )
        var keys = self.workspace.keys.unsafe_offset(thread * scratch_ints[Self.W](k))
        for token in range(first, end, Self.W):
            choose_experts[Self.W](
                logits.unsafe_offset((token - first) * stride),
                stride,
                sizes.experts,
                k,
                min(Self.W, end - token),
                keys,
                self.workspace.experts.unsafe_offset(token * k),
                self.workspace.factors.unsafe_offset(token * k),
            )

    # Step 2: entries in the order of experts, cut into blocks.

    def sort(mut self):
        """Sorts the entries by expert and cuts each expert's list into blocks; token by token, each entry is one."""
        self.block_count = 0
        self.column_parts = 1
        var sizes = self.sizes()
        var threads = self.workspace.threads
        var entries = self.tokens * sizes.k
        comptime if Self.form.batch:
            sort_by_expert(
                self.workspace.experts, entries, sizes.experts, self.workspace.starts, self.workspace.sorted
            )
            # Large blocks read an expert's weights once; smaller ones where threads would not end together.
            self._cut_all(BLOCK_TILES)
            if not self._is_balanced():
                self._cut_all(min(BLOCK_TILES, max(FEWEST_TILES, tiles_of(entries) // (PIECES_PER_THREAD * threads))))
        else:
            for entry in range(entries):
                self.workspace.sorted[unsafe_offset=entry] = Int32(entry)
                self._append(Block(Int(self.workspace.experts[unsafe_offset=entry]), entry, 1))
        comptime if Self.form.tile:
            var is_few = 0 < self.block_count < PIECES_PER_THREAD * threads and entries <= threads * BLOCK_ROWS
            if is_few and not self._is_balanced():
                self.column_parts = (PIECES_PER_THREAD * threads + self.block_count - 1) // self.block_count

    def _cut_all(mut self, most: Int):
        """Cuts every expert's list into blocks of at most `most` tiles."""
        self.block_count = 0
        var starts = self.workspace.starts
        for expert in range(self.sizes().experts):
            var first = Int(starts[unsafe_offset=expert])
            self._cut(expert, first, Int(starts[unsafe_offset=expert + 1]) - first, most)

    def _cut(mut self, expert: Int, first: Int, rows: Int, most: Int):
        """Cuts an expert's list into blocks of about equal size; all tiles but the list's last two are full."""
        var tiles = tiles_of(rows)
        var blocks = (tiles + most - 1) // most
        for block in range(blocks):
            var begin = share(tiles, block, blocks) * TILE_ROWS
            var end = min(rows, share(tiles, block + 1, blocks) * TILE_ROWS)
            self._append(Block(expert, first + begin, end - begin))

    def _append(mut self, block: Block):
        var target = self.workspace.blocks.unsafe_offset(BLOCK_INTS * self.block_count)
        target[unsafe_offset=0] = Int32(block.expert)
        target[unsafe_offset=1] = Int32(block.first)
        target[unsafe_offset=2] = Int32(block.rows)
        self.block_count += 1

    def _block(self, number: Int) -> Block:
        var source = self.workspace.blocks.unsafe_offset(BLOCK_INTS * number)
        return Block(Int(source[unsafe_offset=0]), Int(source[unsafe_offset=1]), Int(source[unsafe_offset=2]))

    def _is_balanced(self) -> Bool:
        """Says whether threads that take whole blocks end within a twentieth of each other."""
        var threads = self.workspace.threads
        if threads == 1 or self.block_count >= MANY_BLOCKS * threads:
            return True
        var loads = self.workspace.loads
        for thread in range(threads):
            loads[unsafe_offset=thread] = 0
        var total = 0
        for number in range(self.block_count):
            var least = 0
            for thread in range(1, threads):
                if loads[unsafe_offset=thread] < loads[unsafe_offset=least]:
                    least = thread
            var cost = self._block(self.block_count - 1 - number).rows + STREAM_ROWS  # as threads take them
            loads[unsafe_offset=least] += Int32(cost)
            total += cost
        var most = 0
        for thread in range(threads):
            most = max(most, Int(loads[unsafe_offset=thread]))
        return 20 * most * threads <= 21 * total

    # Step 3 in the plain way: one entry after the other.

    def _plain(self, block: Block, thread: Int):
        var sizes = self.sizes()
        var d = sizes.d
        var f_padded = sizes.f_padded
        var d_padded = sizes.d_padded
        var hidden = self.workspace.hidden.unsafe_offset(thread * BLOCK_ROWS * f_padded)
        for row in range(block.first, block.first + block.rows):
            var entry = Int(self.workspace.sorted[unsafe_offset=row])
            var x = self.x.unsafe_offset(entry // sizes.k * d)
            var output = self.workspace.outputs.unsafe_offset(entry * d_padded)
            multiply_row[Self.W](x, self.weights.w1.unsafe_offset(block.expert * d * f_padded), d, f_padded, hidden)
            for column in range(0, f_padded, Self.W):
                hidden.unsafe_store(column, relu(hidden.unsafe_load[width=Self.W](column)))
            multiply_row[Self.W](
                hidden, self.weights.w2.unsafe_offset(block.expert * sizes.f * d_padded), sizes.f, d_padded, output
            )
            var factor = Vector[Self.W](self.workspace.factors[unsafe_offset=entry])
            for column in range(0, d_padded, Self.W):
                output.unsafe_store(column, output.unsafe_load[width=Self.W](column) * factor)

    # Step 3 in tiles: for each block, relu(tokens · w1[e]) · w2[e], times the entry's weight.

    def _tiles(self, thread: Int, piece: Int):
        var part = piece % self.column_parts if self.step != PACK else 0
        var block = self._block(piece // self.column_parts if self.step != PACK else piece)
        # A thread's own place for the whole block, or one that the threads share.
        var place = thread * BLOCK_ROWS if self.step == EXPERTS else block.first
        var tokens = self.workspace.tokens.unsafe_offset(place * self.given.depth)
        var hidden = self.workspace.hidden.unsafe_offset(place * self.given.f_padded)
        var tiles = Tiles(block.rows)
        if self.step == EXPERTS or self.step == PACK:
            self._pack(block, tiles, tokens)
        if self.step == EXPERTS or self.step == HIDDEN:
            self._product[HIDDEN](block, tiles, tokens, hidden, thread, part)
        if self.step == EXPERTS or self.step == OUTPUT:
            self._product[OUTPUT](block, tiles, hidden, hidden, thread, part)

    def _pack(self, block: Block, tiles: Tiles, target: Floats):
        """Gathers the block's tokens into tiles."""
        var sizes = self.sizes()
        for t in range(tiles.count):
            var begin = tiles.begin(t)
            var height = tiles.begin(t + 1) - begin
            var sources = Array[Floats, TILE_ROWS](fill=self.x)
            for row in range(height):
                var token = Int(self.workspace.sorted[unsafe_offset=block.first + begin + row]) // sizes.k
                sources[row] = self.x.unsafe_offset(token * sizes.d)
            comptime for rows in range(1, TILE_ROWS + 1):
                if height == rows:
                    pack_tokens[Self.W, rows](sources, sizes.d, target.unsafe_offset(begin * sizes.depth))

    @always_inline
    def _product[
        product: Int
    ](self, block: Block, tiles: Tiles, rows: Floats, hidden: Floats, thread: Int, part: Int):
        """Multiplies a block's packed rows with one part of the columns of its expert's w1 or w2."""
        var sizes = self.sizes()
        var depth = sizes.depth if product == HIDDEN else sizes.hidden_depth
        var width = sizes.f_padded if product == HIDDEN else sizes.d_padded
        var weights = self.weights.w1 if product == HIDDEN else self.weights.w2
        var panels = width // PANEL[Self.W]
        var expert = weights.unsafe_offset(block.expert * width * depth)
        var end = share(panels, part + 1, self.column_parts)
        for panel in range(share(panels, part, self.column_parts), end):
            var source = expert.unsafe_offset(panel * PANEL[Self.W] * depth)
            var next = source.unsafe_offset(PANEL[Self.W] * depth)
            var follows = panel + 1 < end
            # After the last panel of w1 comes the first of w2; after that, another thread's work as likely as not.
            comptime if product == HIDDEN:
                if panel + 1 == panels and self.step == EXPERTS:
                    next = self.weights.w2.unsafe_offset(block.expert * sizes.d_padded * sizes.hidden_depth)
                    follows = True
            self._panel[product](block, tiles, rows, depth, source, next, follows, hidden, thread, panel)

    @always_inline
    def _panel[
        product: Int
    ](
        self,
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
        comptime BLOCK_LINES = STEPS * PANEL[Self.W] // LINE_FLOATS
        var blocks = depth // STEPS
        var partial = self.workspace.partial.unsafe_offset(thread * BLOCK_ROWS * PANEL[Self.W])
        var column = number * PANEL[Self.W]
        var is_far = self.weights.bytes >= FAR_BYTES
        var most = FEW_DEPTH_BLOCKS if is_far and 1 < tiles.count <= FEW_TILES else DEPTH_BLOCKS
        for first in range(0, blocks, most):
            var part = min(most, blocks - first)
            var is_last = first + part == blocks
            var weights = panel.unsafe_offset(first * STEPS * PANEL[Self.W])
            # Each tile brings its share of what follows the part that all of them are using.
            # One alone has little arithmetic to hide it behind and streams faster without, two do from nearby.
            var ahead = next if is_last else weights.unsafe_offset(part * STEPS * PANEL[Self.W])
            var following = min(most, blocks if is_last else blocks - first - part)
            if tiles.count < (2 if is_far else 3) or (is_last and not follows):
                following = 0
            var lines = (following * BLOCK_LINES + part * tiles.count - 1) // (part * tiles.count)
            for t in range(tiles.count):
                var begin = tiles.begin(t)
                var height = tiles.begin(t + 1) - begin
                var source = rows.unsafe_offset((begin * blocks + first * height) * STEPS)
                var kept = partial.unsafe_offset(begin * PANEL[Self.W])
                comptime for r in range(1, TILE_ROWS + 1):
                    if height == r:
                        var sums = load_sums[Self.W, r](kept) if first > 0 else no_sums[Self.W, r * TILE_VECTORS]()
                        sums = tile[Self.W, r](source, weights, part, sums^, ahead, lines)
                        if first + part < blocks:
                            store_sums[Self.W, r](sums, kept)
                        elif product == HIDDEN:
                            store_hidden[Self.W, r](sums, hidden.unsafe_offset(begin * self.sizes().f_padded), column)
                        else:
                            self._store_output[r](sums, block.first + begin, column)
                ahead = ahead.unsafe_offset(part * lines * LINE_FLOATS)

    @always_inline
    def _store_output[rows: Int](self, sums: Array[Vector[Self.W], rows * TILE_VECTORS], first: Int, column: Int):
        """Stores the second product, times each entry's weight, in the entry's own output row."""
        comptime for row in range(rows):
            var entry = Int(self.workspace.sorted[unsafe_offset=first + row])
            var factor = Vector[Self.W](self.workspace.factors[unsafe_offset=entry])
            var target = self.workspace.outputs.unsafe_offset(entry * self.sizes().d_padded + column)
            comptime for v in range(TILE_VECTORS):
                target.unsafe_store(v * Self.W, alone(sums[row * TILE_VECTORS + v] * factor))

    # Step 4: y[t] = the sum of the token's k outputs, in the order of its slots on any number of threads.

    def _sum(self, first: Int, end: Int):
        var sizes = self.sizes()
        var d = sizes.d
        var d_padded = sizes.d_padded
        var k = sizes.k
        for token in range(first, end):
            var outputs = self.workspace.outputs.unsafe_offset(token * k * d_padded)
            var target = self.y.unsafe_offset(token * d)
            for column in range(0, d, Self.W):
                var total = outputs.unsafe_load[width=Self.W](column)
                for slot in range(1, k):
                    total += outputs.unsafe_load[width=Self.W](slot * d_padded + column)
                store_part[Self.W](target.unsafe_offset(column), total, d - column)


comptime Model[form: Form] = Pointer[Layer[form], MutUntrackedOrigin]
"""A layer by its address. Threads share it behind the compiler's back, so no function that runs the pool may hold
it as a `mut` argument: the compiler would then take it for its own and keep its fields in registers.

Parameters:
    form: The switches.
"""


def work_on_layer[form: Form](state: Words, thread: Int, piece: Int):
    """What the pool's threads do with a piece.

    Parameters:
        form: The switches.

    Args:
        state: Address of a Layer.
        thread: Number of the calling thread.
        piece: Number of the piece.
    """
    Model[form](unsafe_from_address=Int(state))[].work(thread, piece)


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
        model[].sort()
        if model[].column_parts == 1:
            pool.run(model[].start(EXPERTS), small)
        else:
            pool.run(model[].start(PACK), small)
            pool.run(model[].start(HIDDEN), small)
            pool.run(model[].start(OUTPUT), small)
        pool.run(model[].start(SUM), small)
    comptime if not form.pool:
        model[].workspace.free()
    pool.release()
