"""The plain way to multiply: what the switch `tile` falls back to.

Row update, y += x[i] · w[i], is the fastest plain order: it runs along the rows of the weights and has no sum to wait
for. On an AVX-512 machine the inner product order, a column at a time, took some ten times as long on one lane.
"""

from blocks import BLOCK_ROWS, Block
from form import Form
from layer import Layer
from vectors import Floats, Vector, multiply_add, relu


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


def multiply_block[form: Form](layer: Layer[form], block: Block, thread: Int):
    """Takes both products of a block, one entry after the other.

    Parameters:
        form: The switches.

    Args:
        layer: With its chunk.
        block: Of entries.
        thread: Number of the calling thread.
    """
    comptime W = form.lanes()
    var sizes = layer.sizes()
    var d = sizes.d
    var f_padded = sizes.f_padded
    var d_padded = sizes.d_padded
    var hidden = layer.workspace.hidden.unsafe_offset(thread * BLOCK_ROWS * f_padded)
    for row in range(block.first, block.first + block.rows):
        var entry = Int(layer.workspace.sorted[unsafe_offset=row])
        var x = layer.x.unsafe_offset(entry // sizes.k * d)
        var output = layer.workspace.outputs.unsafe_offset(entry * d_padded)
        multiply_row[W](x, layer.weights.w1.unsafe_offset(block.expert * d * f_padded), d, f_padded, hidden)
        for column in range(0, f_padded, W):
            hidden.unsafe_store(column, relu(hidden.unsafe_load[width=W](column)))
        multiply_row[W](
            hidden, layer.weights.w2.unsafe_offset(block.expert * sizes.f * d_padded), sizes.f, d_padded, output
        )
        var factor = Vector[W](layer.workspace.factors[unsafe_offset=entry])
        for column in range(0, d_padded, W):
            output.unsafe_store(column, output.unsafe_load[width=W](column) * factor)
