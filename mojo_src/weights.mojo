"""The layer's weights as the products read them, copied in prepare; the originals are not needed after."""

from form import Form, Sizes
from packing import pack_columns, transpose
from tile import PANEL
from vectors import Floats, new_floats


struct Weights[form: Form](Movable):
    """Packed weights; plain copies, rows rounded up to whole vectors, where the switch `tile` is off.

    Parameters:
        form: The switches.
    """

    comptime W = Self.form.lanes()
    """Lanes of a vector."""

    var gate: Floats
    """(experts_padded, gate_depth), an expert after the other; plain: (d, experts_padded)."""
    var w1: Floats
    """(E, f_padded / PANEL, depth, PANEL); plain: (E, d, f_padded)."""
    var w2: Floats
    """(E, d_padded / PANEL, hidden_depth, PANEL); plain: (E, f, d_padded)."""

    var bytes: Int
    """Of w1 and w2."""

    def __init__(out self, sizes: Sizes[Self.form], gate: Floats, w1: Floats, w2: Floats):
        """Packs.

        Args:
            sizes: Of the layer.
            gate: (d, E).
            w1: (E, d, f).
            w2: (E, f, d).
        """
        var d = sizes.d
        var f = sizes.f
        var experts = sizes.experts
        comptime if Self.form.tile:
            self.gate = new_floats(sizes.experts_padded * sizes.gate_depth)
            transpose(gate, d, experts, sizes.gate_depth, sizes.experts_padded, self.gate)
        else:
            self.gate = new_floats(d * sizes.experts_padded)
            pack_columns[Self.W](gate, d, experts, d, sizes.experts_padded, sizes.experts_padded, self.gate)

        var w1_floats = sizes.depth * sizes.f_padded
        var w2_floats = sizes.hidden_depth * sizes.d_padded
        var w1_columns = PANEL[Self.W] if Self.form.tile else sizes.f_padded
        var w2_columns = PANEL[Self.W] if Self.form.tile else sizes.d_padded
        self.bytes = 4 * experts * (w1_floats + w2_floats)
        self.w1 = new_floats(experts * w1_floats)
        self.w2 = new_floats(experts * w2_floats)
        for e in range(experts):
            var from1 = w1.unsafe_offset(e * d * f)
            var from2 = w2.unsafe_offset(e * f * d)
            var to1 = self.w1.unsafe_offset(e * w1_floats)
            var to2 = self.w2.unsafe_offset(e * w2_floats)
            pack_columns[Self.W](from1, d, f, sizes.depth, sizes.f_padded, w1_columns, to1)
            pack_columns[Self.W](from2, f, d, sizes.hidden_depth, sizes.d_padded, w2_columns, to2)

    def free(mut self):
        """Frees the weights, which can't be used after."""
        self.gate.unsafe_free()
        self.w1.unsafe_free()
        self.w2.unsafe_free()
