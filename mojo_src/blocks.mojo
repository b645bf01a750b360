"""Blocks: the entries of one expert that share a pass over its weights, and how they are cut for the threads."""

from tile import TILE_ROWS
from vectors import Ints, share

comptime BLOCK_TILES = 24
"""Most tiles of a block. On an AVX-512 machine 16 took 1 to 2 % longer at the presets `seed` and `medium`, 8 up to
10 %, and 48 as long."""

comptime FEWEST_TILES = 8
"""Fewest tiles of a block that was cut so that every thread gets some: a smaller one would wait for its weights."""

comptime BLOCK_ROWS = BLOCK_TILES * TILE_ROWS
"""Most entries that share one pass over an expert's weights: enough arithmetic a byte to hide memory."""

comptime PIECES_PER_THREAD = 4
"""Into how many pieces for each thread the work is cut, at least."""

comptime MANY_BLOCKS = 16
"""Blocks for each thread from which on threads end about together whatever they take."""

comptime STREAM_ROWS = 4
"""Reading an expert's weights costs about as much as multiplying this many rows with them."""

comptime BLOCK_INTS = 3
"""Integers that describe a block: expert, first entry in the list of sorted ones, number of entries."""


@fieldwise_init
struct Block(TrivialRegisterPassable):
    """Entries of one expert that share a pass over its weights."""

    var expert: Int
    """Number of the expert."""
    var first: Int
    """First of its entries among the sorted ones."""
    var rows: Int
    """How many."""


def tiles_of(rows: Int) -> Int:
    """Says into how many tiles rows are cut.

    Args:
        rows: Number of entries.

    Returns:
        The number of tiles.
    """
    return (rows + TILE_ROWS - 1) // TILE_ROWS


struct Tiles(TrivialRegisterPassable):
    """A block's rows cut into tiles: full ones, but for two that share what does not fill the last."""

    var count: Int
    """Number of tiles."""
    var _rows: Int
    var _last: Int

    def __init__(out self, rows: Int):
        """Cuts.

        Args:
            rows: Rows of the block, at least 1 and at most BLOCK_ROWS.
        """
        self.count = tiles_of(rows)
        self._rows = rows
        # A tile of one row or two waits for its weights: 7 rows are 4 and 3, not 6 and 1.
        var full = max(self.count - 2, 0) * TILE_ROWS
        self._last = full + (rows - full + 1) // 2

    @always_inline
    def begin(self, number: Int) -> Int:
        """Says where a tile begins.

        Args:
            number: Of the tile; `count` gives the end of the last.

        Returns:
            Its first row.
        """
        if number == self.count:
            return self._rows
        return self._last if 0 < number == self.count - 1 else number * TILE_ROWS


struct Blocks(TrivialRegisterPassable):
    """The blocks of a chunk of tokens."""

    var count: Int
    """How many."""
    var column_parts: Int
    """Parts into which a block's columns are cut, so that threads share it; 1: they take whole blocks."""
    var _list: Ints
    var _shared: Int
    var _width: Int
    var _shared_width: Int

    def __init__(out self, memory: Ints):
        """Begins without blocks.

        Args:
            memory: Room for BLOCK_INTS integers a block.
        """
        self.count = 0
        self.column_parts = 1
        self._list = memory
        self._shared = -1
        self._width = 1
        self._shared_width = 1

    def weigh(mut self, shared: Int, width: Int, shared_width: Int):
        """Says that a row of one expert costs more than one of the others, or less.

        Args:
            shared: Number of that expert.
            width: Of the others.
            shared_width: Of that one, in the same unit; some thousands at most.
        """
        self._shared = shared
        self._width = width
        self._shared_width = shared_width

    def append(mut self, block: Block):
        """Adds a block.

        Args:
            block: The block.
        """
        var target = self._list.unsafe_offset(BLOCK_INTS * self.count)
        target[unsafe_offset=0] = Int32(block.expert)
        target[unsafe_offset=1] = Int32(block.first)
        target[unsafe_offset=2] = Int32(block.rows)
        self.count += 1

    def block(self, number: Int) -> Block:
        """Gives a block.

        Args:
            number: From 0.

        Returns:
            The block.
        """
        var source = self._list.unsafe_offset(BLOCK_INTS * number)
        return Block(Int(source[unsafe_offset=0]), Int(source[unsafe_offset=1]), Int(source[unsafe_offset=2]))

    def cut(mut self, starts: Ints, experts: Int, threads: Int, loads: Ints):
        """Cuts every expert's list, into large blocks if they suit the threads.

        Args:
            starts: (experts + 1,): where each expert's entries begin, and the end of the last.
            experts: E.
            threads: Threads that take blocks.
            loads: Scratch, (threads,).
        """
        # Large blocks read an expert's weights once; smaller ones where threads would not end together.
        self._cut_all(starts, experts, BLOCK_TILES)
        if not self._is_balanced(threads, loads):
            var tiles = tiles_of(Int(starts[unsafe_offset=experts])) // (PIECES_PER_THREAD * threads)
            self._cut_all(starts, experts, min(BLOCK_TILES, max(FEWEST_TILES, tiles)))

    def share_columns(mut self, entries: Int, threads: Int, loads: Ints):
        """Has threads share each block's columns where blocks are few and uneven.

        Args:
            entries: Of the chunk.
            threads: Threads that take blocks.
            loads: Scratch, (threads,).
        """
        var is_few = 0 < self.count < PIECES_PER_THREAD * threads and entries <= threads * BLOCK_ROWS
        if is_few and not self._is_balanced(threads, loads):
            self.column_parts = (PIECES_PER_THREAD * threads + self.count - 1) // self.count

    def _cut_all(mut self, starts: Ints, experts: Int, most: Int):
        """Cuts every expert's list into blocks of at most `most` tiles."""
        self.count = 0
        for expert in range(experts):
            var first = Int(starts[unsafe_offset=expert])
            self._cut(expert, first, Int(starts[unsafe_offset=expert + 1]) - first, most)

    def _cut(mut self, expert: Int, first: Int, rows: Int, most: Int):
        """Cuts an expert's list into blocks of about equal size; all tiles but the list's last two are full."""
        var tiles = tiles_of(rows)
        var blocks = (tiles + most - 1) // most
        for block in range(blocks):
            var begin = share(tiles, block, blocks) * TILE_ROWS
            var end = min(rows, share(tiles, block + 1, blocks) * TILE_ROWS)
            self.append(Block(expert, first + begin, end - begin))

    def _is_balanced(self, threads: Int, loads: Ints) -> Bool:
        """Says whether threads that take whole blocks end within a twentieth of each other."""
        if threads == 1 or self.count >= MANY_BLOCKS * threads:
            return True
        for thread in range(threads):
            loads[unsafe_offset=thread] = 0
        var total = 0
        for number in range(self.count):
            var least = 0
            for thread in range(1, threads):
                if loads[unsafe_offset=thread] < loads[unsafe_offset=least]:
                    least = thread
            var block = self.block(self.count - 1 - number)  # as threads take them
            var width = self._shared_width if block.expert == self._shared else self._width
            var cost = (block.rows + STREAM_ROWS) * width
            loads[unsafe_offset=least] += Int32(cost)
            total += cost
        var most = 0
        for thread in range(threads):
            most = max(most, Int(loads[unsafe_offset=thread]))
        return 20 * most * threads <= 21 * total
