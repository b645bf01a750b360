"""A block: the entries of one expert that share a pass over its weights, cut into tiles."""

from plain import relu
from tile import PANEL, STEPS, TILE_ROWS, TILE_VECTORS, no_sums
from vectors import Floats, Vector

comptime BLOCK_TILES = 24
"""Most tiles of a block. On an AVX-512 machine 16 took 1 to 2 % longer at the presets `seed` and `medium`, 8 up to
10 %, and 48 as long."""

comptime FEWEST_TILES = 8
"""Fewest tiles of a block that was cut so that every thread gets some: a smaller one would wait for its weights."""

comptime BLOCK_ROWS = BLOCK_TILES * TILE_ROWS
"""Most entries that share one pass over an expert's weights: enough arithmetic a byte to hide memory."""


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


@always_inline
def load_sums[W: Int, rows: Int](source: Floats) -> Array[Vector[W], rows * TILE_VECTORS]:
    """Loads a tile's sums.

    Parameters:
        W: Lanes of a vector.
        rows: Rows of the tile.

    Args:
        source: (rows, TILE_VECTORS), each a vector.

    Returns:
        The sums.
    """
    var sums = no_sums[W, rows * TILE_VECTORS]()
    comptime for i in range(rows * TILE_VECTORS):
        sums[i] = source.unsafe_load[width=W](i * W)
    return sums^


@always_inline
def store_sums[W: Int, rows: Int](sums: Array[Vector[W], rows * TILE_VECTORS], target: Floats):
    """Stores a tile's sums, to be gone on with at the next part of the depth.

    Parameters:
        W: Lanes of a vector.
        rows: Rows of the tile.

    Args:
        sums: (rows, TILE_VECTORS), each a vector.
        target: Where they go.
    """
    comptime for i in range(rows * TILE_VECTORS):
        target.unsafe_store(i * W, sums[i])


@always_inline
def store_hidden[W: Int, rows: Int](sums: Array[Vector[W], rows * TILE_VECTORS], target: Floats, column: Int):
    """Stores relu of the first product, packed as the second product's tokens.

    Parameters:
        W: Lanes of a vector.
        rows: Rows of the tile.

    Args:
        sums: (rows, TILE_VECTORS), each a vector.
        target: The tile's packed hidden activations, (blocks, rows, STEPS).
        column: The sums' first column.
    """
    # Where panels and blocks fill each other, no vector's block depends on the column: one division for all.
    comptime ALIGNED = PANEL[W] % STEPS == 0 or STEPS % PANEL[W] == 0
    var first = target.unsafe_offset(column // STEPS * (rows * STEPS))
    var within = column % STEPS
    comptime for v in range(TILE_VECTORS):
        var block: Int
        var step: Int
        comptime if ALIGNED:
            block = v * W // STEPS
            step = within + v * W % STEPS
        else:
            block = (within + v * W) // STEPS
            step = (within + v * W) % STEPS
        var place = first.unsafe_offset(block * (rows * STEPS) + step)
        comptime for row in range(rows):
            place.unsafe_store(row * STEPS, relu(sums[row * TILE_VECTORS + v]))
