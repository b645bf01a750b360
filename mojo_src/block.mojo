"""A block: the entries of one expert that share a pass over its weights, cut into tiles."""

from tile import PANEL, TILE_ROWS, TILE_VECTORS, no_sums
from vectors import Floats, Vector, W

comptime BLOCK_ROWS = 96
"""Most entries that share one pass over an expert's weights: enough arithmetic a byte to hide memory."""

comptime MOST_TILES = (BLOCK_ROWS + TILE_ROWS - 1) // TILE_ROWS
"""Tiles of the largest block."""


struct Tiles:
    """A block's rows cut into tiles of almost equal height: none is left with a row or two."""

    var count: Int
    """Number of tiles."""
    var begin: Array[Int, MOST_TILES + 1]
    """First row of each tile, and the end of the last."""

    def __init__(out self, rows: Int):
        """Cuts.

        Args:
            rows: Rows of the block, at least 1 and at most BLOCK_ROWS.
        """
        self.count = (rows + TILE_ROWS - 1) // TILE_ROWS
        self.begin = Array[Int, MOST_TILES + 1](fill=0)
        for t in range(self.count + 1):
            self.begin[t] = rows * t // self.count


@always_inline
def load_sums[rows: Int](source: Floats) -> Array[Vector, rows * TILE_VECTORS]:
    """Loads a tile's sums.

    Parameters:
        rows: Rows of the tile.

    Args:
        source: (rows, TILE_VECTORS), each a vector.

    Returns:
        The sums.
    """
    var sums = no_sums[rows * TILE_VECTORS]()
    comptime for i in range(rows * TILE_VECTORS):
        sums[i] = source.unsafe_load[width=W](i * W)
    return sums^


@always_inline
def store_sums[rows: Int](sums: Array[Vector, rows * TILE_VECTORS], target: Floats):
    """Stores a tile's sums, to be gone on with at the next part of the depth.

    Parameters:
        rows: Rows of the tile.

    Args:
        sums: (rows, TILE_VECTORS), each a vector.
        target: Where they go.
    """
    comptime for i in range(rows * TILE_VECTORS):
        target.unsafe_store(i * W, sums[i])


@always_inline
def store_hidden[rows: Int](sums: Array[Vector, rows * TILE_VECTORS], target: Floats):
    """Stores relu of the first product, packed as the second product's tokens.

    Parameters:
        rows: Rows of the tile.

    Args:
        sums: (rows, TILE_VECTORS), each a vector.
        target: (TILE_VECTORS, rows, W) of the tile's packed hidden activations.
    """
    comptime for row in range(rows):
        comptime for v in range(TILE_VECTORS):
            var value = sums[row * TILE_VECTORS + v]
            # Not max(value, 0), which is 0 for NaN.
            var positive = value.lt(Vector(0)).select(Vector(0), value)
            target.unsafe_store((v * rows + row) * W, positive)
