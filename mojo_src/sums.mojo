"""What becomes of a tile's sums: kept for the next part of the depth, or stored as the second product's tokens."""

from tile import STEPS, TILE_VECTORS, no_sums
from vectors import Floats, Vector, relu


@always_inline
def load_sums[W: Int, rows: Int, vectors: Int = TILE_VECTORS](source: Floats) -> Array[Vector[W], rows * vectors]:
    """Loads a tile's sums.

    Parameters:
        W: Lanes of a vector.
        rows: Rows of the tile.
        vectors: Vectors of a panel.

    Args:
        source: (rows, vectors), each a vector.

    Returns:
        The sums.
    """
    var sums = no_sums[W, rows * vectors]()
    comptime for i in range(rows * vectors):
        sums[i] = source.unsafe_load[width=W](i * W)
    return sums^


@always_inline
def store_sums[
    W: Int, rows: Int, vectors: Int = TILE_VECTORS
](sums: Array[Vector[W], rows * vectors], target: Floats):
    """Stores a tile's sums, to be gone on with at the next part of the depth.

    Parameters:
        W: Lanes of a vector.
        rows: Rows of the tile.
        vectors: Vectors of a panel.

    Args:
        sums: (rows, vectors), each a vector.
        target: Where they go.
    """
    comptime for i in range(rows * vectors):
        target.unsafe_store(i * W, sums[i])


@always_inline
def store_hidden[
    W: Int, rows: Int, vectors: Int = TILE_VECTORS
](sums: Array[Vector[W], rows * vectors], target: Floats, column: Int):
    """Stores relu of the first product, packed as the second product's tokens.

    Parameters:
        W: Lanes of a vector.
        rows: Rows of the tile.
        vectors: Vectors of a panel.

    Args:
        sums: (rows, vectors), each a vector.
        target: The tile's packed hidden activations, (blocks, rows, STEPS).
        column: The sums' first column.
    """
    comptime PANEL = vectors * W
    # Where panels and blocks fill each other, no vector's block depends on the column: one division for all.
    comptime ALIGNED = PANEL % STEPS == 0 or STEPS % PANEL == 0
    var first = target.unsafe_offset(column // STEPS * (rows * STEPS))
    var within = column % STEPS
    comptime for v in range(vectors):
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
            place.unsafe_store(row * STEPS, relu(sums[row * vectors + v]))
