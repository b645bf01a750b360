"""Rearranging memory into the order in which the products read it."""

from knobs import Matrix
from tile import STEPS, TILE_ROWS, TOKEN_WORDS
from vectors import Floats, Vector, alone, load_part
from words import FLOATS, PAIRS, join_halves, upper_halves


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
def _load[W: Int](source: Matrix, row: Int, column: Int) -> Vector[W]:
    """Loads W numbers of a row, zeros where the matrix ends."""
    if row >= source.rows or column >= source.width:
        return Vector[W](0)
    return load_part[W](source.data.unsafe_offset(row * source.width + column), source.width - column)


def pack_panels[
    W: Int, vectors: Int, words: Int
](first: Matrix, second: Matrix, depth: Int, columns: Int, target: Floats):
    """Packs a matrix into panels, once, in prepare; or two, so that each panel has the same columns of both.

    Parameters:
        W: Lanes of a vector.
        vectors: Vectors of each matrix in a panel.
        words: What a word of the depth holds.

    Args:
        first: The matrix.
        second: The other; of no width where there is none.
        depth: Steps of a panel, at least the matrix's.
        columns: Of each matrix in all panels, a multiple of vectors · W.
        target: (panels, depth, one or two times vectors · W), filled with zeros where a matrix ends.
    """
    var out = target
    for start in range(0, columns, vectors * W):
        for step in range(depth):
            for matrix in range(2 if second.width > 0 else 1):
                var source = second if matrix == 1 else first
                for column in range(start, start + vectors * W, W):
                    comptime if words == FLOATS:
                        out.unsafe_store(_load[W](source, step, column))
                    else:
                        var even = _load[W](source, 2 * step, column)
                        out.unsafe_store(join_halves(even, _load[W](source, 2 * step + 1, column)))
                    out = out.unsafe_offset(W)


@always_inline
def store_numbers[W: Int, words: Int](target: Floats, place: Int, value: Vector[W]):
    """Stores numbers of a packed row.

    Parameters:
        W: Lanes of a vector.
        words: What a word of the depth holds.

    Args:
        target: Where the row begins.
        place: Of the first, counted in numbers.
        value: The numbers, which the precision can hold.
    """
    comptime if words == PAIRS:
        target.unsafe_bitcast[UInt16]().unsafe_store(place, upper_halves(value))
    else:
        target.unsafe_store(place, value)


@always_inline
def pack_tokens[W: Int, rows: Int, words: Int = FLOATS](sources: Array[Floats, TILE_ROWS], d: Int, target: Floats):
    """Packs the tokens of a tile, a block of steps at a time: as many streams of memory as there are tokens.

    Parameters:
        W: Lanes of a vector.
        rows: Tokens of the tile.
        words: What a word of the depth holds.

    Args:
        sources: The tokens, (d,) each.
        d: Their width.
        target: (blocks, rows, NUMBERS); the last block is filled with zeros.
    """
    comptime NUMBERS = STEPS if words == FLOATS else 2 * STEPS
    comptime BLOCK_WORDS = rows * STEPS * TOKEN_WORDS[words]
    var out = target
    var whole = d // NUMBERS * NUMBERS
    for first in range(0, whole, NUMBERS):
        comptime for row in range(rows):
            comptime for step in range(0, NUMBERS, W):
                var value = sources[row].unsafe_load[width=W](first + step)
                store_numbers[W, words](out, row * NUMBERS + step, alone(value))
        out = out.unsafe_offset(BLOCK_WORDS)
    if whole < d:
        comptime for row in range(rows):
            for step in range(0, NUMBERS, W):
                var left = d - whole - step
                var value = load_part[W](sources[row].unsafe_offset(whole + step), left) if left > 0 else Vector[W](0)
                store_numbers[W, words](out, row * NUMBERS + step, value)
