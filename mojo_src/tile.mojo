"""The register tile: a few tokens times a panel of columns, summed over the whole depth in registers.

Both operands are packed so that the tile reads them straight through:

- tokens, `rows` of them: blocks of STEPS steps of the depth, in each block STEPS floats of token 0, of token 1, …
- a panel of `vectors` · W columns: one step of the depth after the other.

A step of the depth then multiplies one float of each token into the panel's vectors. The address of that
float is the block's own plus a constant, which leaves every register but a few to the sums.

In bfloat16 a step is a word of two numbers, in the panel and, where the machine multiplies pairs, in the tokens.
"""

from std.sys.info import CompilationTarget
from std.sys.intrinsics import PrefetchOptions, prefetch

from vectors import CACHE_LINE, Floats, Vector, loaded_anew, multiply_add
from words import FLOATS, PAIRS, WIDENED, add_pairs, even_half, odd_half

comptime WIDE_REGISTER_FILE = CompilationTarget.has_avx512f() or CompilationTarget.has_neon()
"""AVX-512 and NEON have 32 vector registers, AVX2 has 16."""

comptime TILE_ROWS = 6
"""Tokens of a full tile."""

comptime TILE_VECTORS = 4 if CompilationTarget.has_avx512f() else 3 if WIDE_REGISTER_FILE else 2
"""Vectors of columns in a panel. 6 × 4 sums take 24 of 32 registers: on an AVX-512 machine that ran at 117
GFLOP/s a core, 8 × 3 at 116 and 12 × 2, whose twelve floats a step are loaded once for each vector, at 74.
NEON multiplies by a lane of a register, which needs six more of them for the tokens: 6 × 3 is what does not spill.
"""

comptime PANEL[W: Int] = TILE_VECTORS * W
"""Columns of a panel of expert weights.

Parameters:
    W: Lanes of a vector.
"""

comptime LINE_FLOATS = CACHE_LINE // 4
"""Floats of a cache line."""

comptime STEPS = LINE_FLOATS
"""Steps of the depth in a block of packed tokens: a token's share is a cache line."""


comptime TOKEN_WORDS[words: Int] = 2 if words == WIDENED else 1
"""Words of a packed token for each step.

Parameters:
    words: What a word of the depth holds.
"""


@always_inline
def _add_step[
    W: Int, rows: Int, vectors: Int, words: Int, own: Int, half: Int
](a: Floats, b: Floats, stride: Int, mut sums: Array[Vector[W], rows * vectors]):
    """Adds the products of one step, or of one half of it; `a` is the first token's factor."""
    var columns = Array[Vector[W], vectors](fill=Vector[W](0))
    comptime for v in range(vectors):
        var column = b.unsafe_load[width=W](v // own * stride + v % own * W)
        comptime if words == WIDENED:
            columns[v] = even_half(column) if half == 0 else odd_half(column)
        else:
            columns[v] = column
    comptime for row in range(rows):
        var factor = Vector[W](a[unsafe_offset=row * TOKEN_WORDS[words] * STEPS])
        comptime for v in range(vectors):
            comptime i = row * vectors + v
            comptime if words == PAIRS:
                sums[i] = add_pairs(factor, columns[v], sums[i])
            else:
                sums[i] = multiply_add(factor, columns[v], sums[i])


@always_inline
def tile[
    W: Int, rows: Int, vectors: Int = TILE_VECTORS, words: Int = FLOATS, own: Int = vectors
](
    tokens: Floats,
    panel: Floats,
    blocks: Int,
    var sums: Array[Vector[W], rows * vectors],
    ahead: Floats,
    lines: Int,
    stride: Int = 0,
) -> Array[Vector[W], rows * vectors]:
    """Adds the product of `rows` packed tokens and one packed panel, or some side by side, to `sums`.

    Parameters:
        W: Lanes of a vector.
        rows: Tokens in the tile.
        vectors: Vectors of columns, of all panels.
        words: What a word of the depth holds.
        own: Vectors of columns in each panel.

    Args:
        tokens: (blocks, rows, STEPS), or twice as many floats where they are WIDENED.
        panel: (blocks · STEPS, own · W), the first.
        blocks: Depth of the product in blocks of STEPS.
        sums: (rows, vectors), each a vector.
        ahead: What will be read after the panel; brought closer meanwhile, and never read here.
        lines: How many cache lines of it for each block.
        stride: Floats from the beginning of a panel to the next one's.

    Returns:
        The sums.
    """
    var a = tokens
    var b = panel
    var next = ahead
    for _ in range(blocks):
        for line in range(lines):
            prefetch[PrefetchOptions().for_read().to_data_cache().medium_locality()](
                next.unsafe_offset(line * LINE_FLOATS)
            )
        next = next.unsafe_offset(lines * LINE_FLOATS)
        comptime for step in range(STEPS):
            var line = b.unsafe_offset(step * own * W)
            comptime if words == WIDENED:
                _add_step[W, rows, vectors, words, own, 0](a.unsafe_offset(2 * step), line, stride, sums)
                _add_step[W, rows, vectors, words, own, 1](
                    a.unsafe_offset(2 * step + 1), loaded_anew(line), stride, sums
                )
            else:
                _add_step[W, rows, vectors, words, own, 0](a.unsafe_offset(step), line, stride, sums)
        a = a.unsafe_offset(rows * TOKEN_WORDS[words] * STEPS)
        b = b.unsafe_offset(STEPS * own * W)
    return sums^


@always_inline
def no_sums[W: Int, count: Int]() -> Array[Vector[W], count]:
    """Begins sums.

    Parameters:
        W: Lanes of a vector.
        count: How many vectors.

    Returns:
        Zeros.
    """
    return Array[Vector[W], count](fill=Vector[W](0))
