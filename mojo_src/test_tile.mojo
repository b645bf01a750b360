"""Tests of packing and of the register tile against a plain triple loop."""

from std.testing import TestSuite, assert_almost_equal, assert_equal

from packing import pack_columns, pack_token
from tile import PANEL, TILE_ROWS, TILE_VECTORS, no_sums, tile
from vectors import Floats, Vector, W, load_part, new_floats, round_up, store_part


def ramp(count: Int, step: Float32) -> Floats:
    """Fills memory with different small numbers."""
    var values = new_floats(count)
    for i in range(count):
        values[unsafe_offset=i] = Float32((i * 7) % 23 - 11) * step
    return values


def check_tile[rows: Int](depth: Int, width: Int) raises:
    """Compares the tile of `rows` tokens with a triple loop over (rows, depth) · (depth, width)."""
    var a = ramp(rows * depth, 0.25)
    var b = ramp(depth * width, 0.125)
    var blocks = round_up(depth, W) // W
    var packed_a = new_floats(rows * blocks * W)
    for row in range(rows):
        pack_token(a.unsafe_offset(row * depth), depth, rows, packed_a.unsafe_offset(row * W))
    var packed_b = new_floats(blocks * W * round_up(width, PANEL))
    pack_columns[PANEL](b, depth, width, blocks * W, packed_b)
    for first in range(0, width, PANEL):
        var panel = packed_b.unsafe_offset(first * blocks * W)
        var sums = tile[rows, TILE_VECTORS](packed_a, panel, blocks, no_sums[rows * TILE_VECTORS](), panel, 0)
        for row in range(rows):
            for column in range(PANEL):
                var expected = Float32(0)
                if first + column < width:
                    for k in range(depth):
                        expected += a[unsafe_offset=row * depth + k] * b[unsafe_offset=k * width + first + column]
                var found = sums[row * TILE_VECTORS + column // W][column % W]
                assert_almost_equal(found, expected, atol=1e-3)


def test_every_height() raises:
    """Tiles of every number of rows, over sizes that fill vectors and panels and sizes that do not."""
    comptime for rows in range(1, TILE_ROWS + 1):
        check_tile[rows](W, PANEL)
        check_tile[rows](1, 1)
        check_tile[rows](3 * W + 5, 2 * PANEL + 3)
        check_tile[rows](W - 1, PANEL - 1)


def test_parts_of_a_vector() raises:
    """A part is loaded with zeros behind it, and stored without touching what is behind it."""
    var source = ramp(2 * W, 1.0)
    for count in range(1, W + 1):
        var part = load_part(source, count)
        var target = new_floats(2 * W)
        target.unsafe_store(Vector(99))
        store_part(target, part, count)
        for lane in range(W):
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
