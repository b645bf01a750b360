"""Tests of packing, of the register tile and of the gate's tile against a plain triple loop."""

from std.testing import TestSuite, assert_almost_equal, assert_equal

from blocks import BLOCK_ROWS, Tiles
from gate import GATE_EXPERTS, GATE_TOKENS, gate_tile
from knobs import Matrix
from packing import pack_columns, pack_panels, pack_tokens, transpose
from plain import multiply_row
from tile import PANEL, STEPS, TILE_ROWS, TILE_VECTORS, no_sums, tile
from vectors import LANES, Floats, Vector, load_part, new_floats, round_up, store_part
from words import FLOATS, PAIRS, WIDENED


def ramp(count: Int, step: Float32) -> Floats:
    """Fills memory with different small numbers."""
    var values = new_floats(count)
    for i in range(count):
        values[unsafe_offset=i] = Float32((i * 7) % 23 - 11) * step
    return values


def product(a: Floats, b: Floats, depth: Int, width: Int, row: Int, column: Int) -> Float32:
    """Computes one element of (rows, depth) · (depth, width)."""
    var sum = Float32(0)
    for k in range(depth):
        sum += a[unsafe_offset=row * depth + k] * b[unsafe_offset=k * width + column]
    return sum


def check_tile[W: Int, rows: Int](depth: Int, width: Int) raises:
    """Compares the tile of `rows` tokens with a triple loop."""
    var a = ramp(rows * depth, 0.25)
    var b = ramp(depth * width, 0.125)
    var blocks = round_up(depth, STEPS) // STEPS
    var packed_a = new_floats(rows * blocks * STEPS)
    var sources = Array[Floats, TILE_ROWS](fill=a)
    for row in range(rows):
        sources[row] = a.unsafe_offset(row * depth)
    pack_tokens[W, rows](sources, depth, packed_a)
    var packed_b = new_floats(blocks * STEPS * round_up(width, PANEL[W]))
    pack_columns[W](b, depth, width, blocks * STEPS, round_up(width, PANEL[W]), PANEL[W], packed_b)
    for first in range(0, width, PANEL[W]):
        var panel = packed_b.unsafe_offset(first * blocks * STEPS)
        var sums = tile[W, rows](packed_a, panel, blocks, no_sums[W, rows * TILE_VECTORS](), panel, 0)
        for row in range(rows):
            for column in range(min(PANEL[W], width - first)):
                var found = sums[row * TILE_VECTORS + column // W][column % W]
                assert_almost_equal(found, product(a, b, depth, width, row, first + column), atol=1e-3)
        if first + PANEL[W] < width:
            comptime V = TILE_VECTORS
            var stride = PANEL[W] * blocks * STEPS
            var next = tile[W, rows](packed_a, panel.unsafe_offset(stride), blocks, no_sums[W, rows * V](), panel, 0)
            var none = no_sums[W, rows * (2 * V)]()
            var both = tile[W, rows, 2 * V, FLOATS, V](packed_a, panel, blocks, none^, panel, 0, stride)
            comptime for row in range(rows):
                comptime for v in range(V):
                    assert_equal(both[row * 2 * V + v], sums[row * V + v])
                    assert_equal(both[row * 2 * V + V + v], next[row * V + v])


def check_every_height[W: Int]() raises:
    """Checks tiles of every number of rows, over sizes that fill vectors and panels and sizes that do not."""
    comptime for rows in range(1, TILE_ROWS + 1):
        check_tile[W, rows](STEPS, PANEL[W])
        check_tile[W, rows](1, 1)
        check_tile[W, rows](3 * STEPS + 5, 2 * PANEL[W] + 3)
        check_tile[W, rows](STEPS - 1, PANEL[W] - 1)


def test_every_height() raises:
    """Full vectors and a single lane."""
    check_every_height[LANES]()
    check_every_height[1]()


def check_gated_tile[W: Int, rows: Int, words: Int](depth: Int, width: Int) raises:
    """Compares a tile over a panel of two matrices with triple loops; bfloat16 can hold all numbers."""
    comptime HALF = TILE_VECTORS // 2
    comptime COLUMNS = HALF * W
    comptime NUMBERS = STEPS if words == FLOATS else 2 * STEPS
    var a = ramp(rows * depth, 0.25)
    var b = ramp(depth * width, 0.125)
    var c = ramp(depth * width + 1, 0.5).unsafe_offset(1)
    var blocks = round_up(depth, NUMBERS) // NUMBERS
    var packed_a = new_floats(2 * rows * blocks * STEPS)
    var sources = Array[Floats, TILE_ROWS](fill=a)
    for row in range(rows):
        sources[row] = a.unsafe_offset(row * depth)
    pack_tokens[W, rows, words](sources, depth, packed_a)
    var padded = round_up(width, COLUMNS)
    var packed = new_floats(2 * blocks * STEPS * padded)
    pack_panels[W, HALF, words](Matrix(b, depth, width), Matrix(c, depth, width), blocks * STEPS, padded, packed)
    for first in range(0, width, COLUMNS):
        var panel = packed.unsafe_offset(2 * first * blocks * STEPS)
        var none = no_sums[W, rows * 2 * HALF]()
        var sums = tile[W, rows, 2 * HALF, words](packed_a, panel, blocks, none^, panel, 0)
        for row in range(rows):
            for column in range(min(COLUMNS, width - first)):
                var i = row * 2 * HALF + column // W
                var lane = column % W
                assert_almost_equal(sums[i][lane], product(a, b, depth, width, row, first + column), atol=1e-3)
                assert_almost_equal(sums[i + HALF][lane], product(a, c, depth, width, row, first + column), atol=1e-3)


def test_gated_panels() raises:
    """Every height and every kind of word, pairs of bfloat16 also where the machine can't multiply them."""
    comptime for rows in range(1, TILE_ROWS + 1):
        comptime for words in [FLOATS, WIDENED, PAIRS]:
            check_gated_tile[LANES, rows, words](2 * STEPS, LANES)
            check_gated_tile[LANES, rows, words](1, 1)
            check_gated_tile[LANES, rows, words](5 * STEPS + 5, 3 * LANES + 3)


def check_gate[W: Int](depth: Int, tokens: Int) raises:
    """Compares the gate's tile with a triple loop; tokens that are not there are not read."""
    var x = ramp(tokens * depth, 0.25)
    var gate = ramp(depth * GATE_EXPERTS, 0.125)
    var padded = round_up(depth, W)
    var turned = new_floats(GATE_EXPERTS * padded)
    transpose(gate, depth, GATE_EXPERTS, padded, GATE_EXPERTS, turned)
    comptime STRIDE = GATE_EXPERTS + 3
    var logits = new_floats(GATE_TOKENS * STRIDE)
    gate_tile[W](x, depth, tokens - 1, turned, padded, logits, STRIDE)
    for t in range(tokens):
        for e in range(GATE_EXPERTS):
            var expected = product(x, gate, depth, GATE_EXPERTS, t, e)
            assert_almost_equal(logits[unsafe_offset=t * STRIDE + e], expected, atol=1e-3)


def test_gate() raises:
    """Depths that fill vectors and depths that do not, for every number of tokens."""
    for tokens in range(1, GATE_TOKENS + 1):
        for depth in [1, LANES - 1, LANES, 5 * LANES + 3]:
            check_gate[LANES](depth, tokens)
            check_gate[1](depth, tokens)


def check_plain[W: Int](depth: Int, width: Int) raises:
    """Compares the plain product with a triple loop."""
    var a = ramp(depth, 0.25)
    var b = ramp(depth * width, 0.125)
    var padded = round_up(width, W)
    var rows = new_floats(depth * padded)
    pack_columns[W](b, depth, width, depth, padded, padded, rows)
    var y = new_floats(padded)
    multiply_row[W](a, rows, depth, padded, y)
    for column in range(width):
        assert_almost_equal(y[unsafe_offset=column], product(a, b, depth, width, 0, column), atol=1e-3)


def test_plain() raises:
    """Widths that fill vectors and widths that do not."""
    for width in [1, LANES, 3 * LANES + 1]:
        check_plain[LANES](9, width)
        check_plain[1](9, width)


def test_tiles_cover_a_block() raises:
    """Tiles follow each other, hold all rows, and are full but for the last two, which are almost equal."""
    for rows in range(1, BLOCK_ROWS + 1):
        var tiles = Tiles(rows)
        assert_equal(tiles.begin(0), 0)
        assert_equal(tiles.begin(tiles.count), rows)
        for t in range(tiles.count):
            var height = tiles.begin(t + 1) - tiles.begin(t)
            if t < tiles.count - 2:
                assert_equal(height, TILE_ROWS)
            elif tiles.count > 1:
                var both = rows - tiles.begin(tiles.count - 2)
                assert_equal(height, (both + 1) // 2 if t == tiles.count - 2 else both // 2)


def test_parts_of_a_vector() raises:
    """A part is loaded with zeros behind it, and stored without touching what is behind it."""
    var source = ramp(2 * LANES, 1.0)
    for count in range(1, LANES + 1):
        var part = load_part[LANES](source, count)
        var target = new_floats(2 * LANES)
        target.unsafe_store(Vector[LANES](99))
        store_part[LANES](target, part, count)
        for lane in range(LANES):
            var expected = source[unsafe_offset=lane] if lane < count else 0
            assert_equal(part[lane], expected)
            assert_equal(target[unsafe_offset=lane], expected if lane < count else 99)


def test_round_up() raises:
    """Multiples stay, the rest goes up."""
    assert_equal(round_up(0, 16), 0)
    assert_equal(round_up(1, 16), 16)
    assert_equal(round_up(16, 16), 16)
    assert_equal(round_up(17, 16), 32)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
