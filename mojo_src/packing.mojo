"""Rearranging memory into the order in which the tile reads it."""

from vectors import Floats, Vector, W, load_part


def pack_columns[columns: Int](source: Floats, rows: Int, width: Int, depth: Int, target: Floats):
    """Packs a matrix into panels of `columns` columns, once, in prepare.

    Parameters:
        columns: Columns of a panel, a multiple of W.

    Args:
        source: (rows, width), row after row.
        rows: Rows of the matrix.
        width: Columns of the matrix.
        depth: Rows of a panel, at least `rows`.
        target: (width / columns rounded up, depth, columns), filled with zeros where the matrix ends.
    """
    var out = target
    for first in range(0, width, columns):
        for row in range(depth):
            comptime for v in range(columns // W):
                var column = first + v * W
                var value = Vector(0)
                if row < rows and column < width:
                    value = load_part(source.unsafe_offset(row * width + column), width - column)
                out.unsafe_store(v * W, value)
            out = out.unsafe_offset(columns)


@always_inline
def pack_token(source: Floats, d_model: Int, rows: Int, target: Floats):
    """Copies one token into its place in a packed tile.

    Args:
        source: The token, (d_model,).
        d_model: Its width.
        rows: Tokens in the tile.
        target: The token's first block in (blocks, rows, W); the last block is filled with zeros.
    """
    var out = target
    for column in range(0, d_model, W):
        out.unsafe_store(load_part(source.unsafe_offset(column), d_model - column))
        out = out.unsafe_offset(rows * W)
