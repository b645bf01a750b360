"""Rearranging memory into the order in which the products read it."""

from tile import STEPS, TILE_ROWS
from vectors import Floats, Vector, alone, load_part


def pack_columns[
    W: Int
](source: Floats, rows: Int, width: Int, depth: Int, padded: Int, columns: Int, target: Floats):
    """Packs a matrix into panels, once, in prepare. One panel of all columns is the matrix as it was.

    Parameters:
        W: Lanes of a vector.

    Args:
        source: (rows, width), row after row.
        rows: Rows of the matrix.
        width: Columns of the matrix.
        depth: Rows of a panel, at least `rows`.
        padded: Columns of all panels, at least `width`.
        columns: Columns of a panel, a multiple of W.
        target: (padded / columns, depth, columns), filled with zeros where the matrix ends.
    """
    var out = target
    for first in range(0, padded, columns):
        for row in range(depth):
            for column in range(first, first + columns, W):
                var value = Vector[W](0)
                if row < rows and column < width:
                    value = load_part[W](source.unsafe_offset(row * width + column), width - column)
                out.unsafe_store(value)
                out = out.unsafe_offset(W)


def transpose(source: Floats, rows: Int, width: Int, depth: Int, columns: Int, target: Floats):
    """Turns a matrix around, once, in prepare.

    Args:
        source: (rows, width), row after row.
        rows: Rows of the matrix.
        width: Columns of the matrix.
        depth: Floats of a row of the target, at least `rows`.
        columns: Rows of the target, at least `width`.
        target: (columns, depth), filled with zeros where the matrix ends.
    """
    for column in range(columns):
        for row in range(depth):
            var inside = row < rows and column < width
            var value = source[unsafe_offset=row * width + column] if inside else 0
            target[unsafe_offset=column * depth + row] = value


@always_inline
def pack_tokens[W: Int, rows: Int](sources: Array[Floats, TILE_ROWS], d: Int, target: Floats):
    """Packs the tokens of a tile, a block of steps at a time: as many streams of memory as there are tokens.

    Parameters:
        W: Lanes of a vector.
        rows: Tokens of the tile.

    Args:
        sources: The tokens, (d,) each.
        d: Their width.
        target: (blocks, rows, STEPS); the last block is filled with zeros.
    """
    var out = target
    var whole = d // STEPS * STEPS
    for first in range(0, whole, STEPS):
        comptime for row in range(rows):
            comptime for step in range(0, STEPS, W):
                var value = sources[row].unsafe_load[width=W](first + step)
                out.unsafe_store(row * STEPS + step, alone(value))
        out = out.unsafe_offset(rows * STEPS)
    if whole < d:
        comptime for row in range(rows):
            for step in range(0, STEPS, W):
                var left = d - whole - step
                var value = load_part[W](sources[row].unsafe_offset(whole + step), left) if left > 0 else Vector[W](0)
                out.unsafe_store(row * STEPS + step, value)
