"""The plain way to multiply: what the switch `tile` falls back to.

Row update, y += x[i] · w[i], is the fastest plain order: it runs along the rows of the weights and has no sum to wait
for. On an AVX-512 machine the inner product order, a column at a time, took some ten times as long on one lane.
"""

from vectors import Floats, Vector, alone, multiply_add


@always_inline
def multiply_row[W: Int](x: Floats, weights: Floats, depth: Int, width: Int, y: Floats):
    """Multiplies one row with a matrix.

    Parameters:
        W: Lanes of a vector.

    Args:
        x: (depth,).
        weights: (depth, width), row after row.
        depth: Rows of the matrix.
        width: Its columns, a multiple of W.
        y: (width,), written.
    """
    for column in range(0, width, W):
        y.unsafe_store(column, Vector[W](0))
    for i in range(depth):
        var factor = Vector[W](x[unsafe_offset=i])
        var row = weights.unsafe_offset(i * width)
        for column in range(0, width, W):
            var sum = y.unsafe_load[width=W](column)
            y.unsafe_store(column, multiply_add(factor, row.unsafe_load[width=W](column), sum))


@always_inline
def relu[W: Int](value: Vector[W]) -> Vector[W]:
    """Takes the positive part; not max(value, 0), which is 0 for NaN.

    Parameters:
        W: Lanes of a vector.

    Args:
        value: Any vector.

    Returns:
        The value in lanes where it is positive or NaN, else 0.
    """
    return alone(value.lt(Vector[W](0)).select(Vector[W](0), value))
