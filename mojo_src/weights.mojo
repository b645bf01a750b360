"""The layer's weights as the products read them, copied in prepare; the originals are not needed after."""

from form import Form, Sizes
from knobs import B1, B2, B3, GATE, GATE_BIAS, SELECT_BIAS, SHARED_GATE, SHARED_W1, SHARED_W2, SHARED_W3
from knobs import W1, W2, W3, Description, Matrix
from packing import pack_columns, pack_panels, transpose
from vectors import CACHE_LINE, Floats, new_floats, zero_floats
from words import FLOATS


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
    """(E, columns / PANEL, depth, PANEL); plain: (E, d, f_padded)."""
    var w2: Floats
    """(E, d_padded / PANEL, hidden_depth, PANEL); plain: (E, f, d_padded)."""

    # Of other layers than the published one; zeros where there are none.
    var gate_bias: Floats
    """(experts_padded,)."""
    var select_bias: Floats
    """(experts_padded,)."""
    var b1: Floats
    """(E, columns) in the order of w1's panels, the shared expert's after them."""
    var b2: Floats
    """(E, d_padded), the shared expert's after them."""

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
        var w1_columns = Self.form.panel() if Self.form.tile else sizes.f_padded
        var w2_columns = Self.form.panel() if Self.form.tile else sizes.d_padded
        # A pointer may not be null; these are neither read nor freed.
        var nowhere = Floats(unsafe_from_address=CACHE_LINE)
        self.gate_bias = nowhere
        self.select_bias = nowhere
        self.b1 = nowhere
        self.b2 = nowhere
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

    def __init__(out self, sizes: Sizes[Self.form], shared: Sizes[Self.form], description: Description):
        """Packs those of any layer; the shared expert, where there is one, lies behind the others.

        Args:
            sizes: Of the layer.
            shared: The same with the shared expert's width, which may be 0.
            description: Of the layer.
        """
        var d = sizes.d
        var experts = sizes.experts - (1 if shared.f > 0 else 0)
        var w1_words = sizes.depth * sizes.columns()
        var w2_words = sizes.hidden_depth * sizes.d_padded
        var shared_words = shared.depth * shared.columns() + shared.hidden_depth * shared.d_padded
        self.bytes = 4 * (experts * (w1_words + w2_words) + shared_words)
        self.gate = new_floats(sizes.experts_padded * sizes.gate_depth)
        self.gate_bias = zero_floats(sizes.experts_padded)
        self.select_bias = zero_floats(sizes.experts_padded)
        self.w1 = new_floats(experts * w1_words + shared.depth * shared.columns())
        self.w2 = new_floats(experts * w2_words + shared.hidden_depth * shared.d_padded)
        self.b1 = zero_floats(experts * sizes.columns() + shared.columns())
        self.b2 = zero_floats((experts + 1) * sizes.d_padded)

        # The shared expert's gate is one more column.
        var gate = description.matrix(GATE, 0, d, experts)
        transpose(gate.data, d, experts, sizes.gate_depth, sizes.experts_padded, self.gate)
        var shared_gate = description.matrix(SHARED_GATE, 0, d, 1)
        if shared_gate.rows > 0:
            var column = self.gate.unsafe_offset(experts * sizes.gate_depth)
            transpose(shared_gate.data, d, 1, sizes.gate_depth, 1, column)
        _copy(description.matrix(GATE_BIAS, 0, 1, experts), self.gate_bias)
        _copy(description.matrix(SELECT_BIAS, 0, 1, experts), self.select_bias)
        for e in range(experts):
            var w1 = description.matrix(W1, e, d, sizes.f)
            var w3 = description.matrix(W3, e, d, sizes.f)
            Self._pack_first(w1, w3, sizes, self.w1.unsafe_offset(e * w1_words))
            Self._pack_second(description.matrix(W2, e, sizes.f, d), sizes, self.w2.unsafe_offset(e * w2_words))
            var b1 = description.matrix(B1, e, 1, sizes.f)
            var b3 = description.matrix(B3, e, 1, sizes.f)
            Self._pack_bias(b1, b3, sizes, self.b1.unsafe_offset(e * sizes.columns()))
            _copy(description.matrix(B2, e, 1, d), self.b2.unsafe_offset(e * sizes.d_padded))
        if shared.f > 0:
            var w1 = description.matrix(SHARED_W1, 0, d, shared.f)
            var w3 = description.matrix(SHARED_W3, 0, d, shared.f)
            Self._pack_first(w1, w3, shared, self.w1.unsafe_offset(experts * w1_words))
            var w2 = description.matrix(SHARED_W2, 0, shared.f, d)
            Self._pack_second(w2, shared, self.w2.unsafe_offset(experts * w2_words))

    comptime _VECTORS = Self.form.hidden_panel() // Self.W

    @staticmethod
    def _pack_first(w1: Matrix, w3: Matrix, sizes: Sizes[Self.form], target: Floats):
        var second = w3 if Self.form.is_gated else Matrix(w3.data, 0, 0)
        pack_panels[Self.W, Self._VECTORS, Self.form.words](w1, second, sizes.depth, sizes.f_padded, target)

    @staticmethod
    def _pack_second(w2: Matrix, sizes: Sizes[Self.form], target: Floats):
        var none = Matrix(w2.data, 0, 0)
        pack_panels[Self.W, Self.form.vectors(), Self.form.words](
            w2, none, sizes.hidden_depth, sizes.d_padded, target
        )

    @staticmethod
    def _pack_bias(b1: Matrix, b3: Matrix, sizes: Sizes[Self.form], target: Floats):
        """Packs as `_pack_first` does, one step deep, and always as floats."""
        var second = b3 if Self.form.is_gated else Matrix(b3.data, 0, 0)
        pack_panels[Self.W, Self._VECTORS, FLOATS](b1, second, 1, sizes.f_padded, target)

    def free(mut self):
        """Frees the weights, which can't be used after."""
        self.gate.unsafe_free()
        self.w1.unsafe_free()
        self.w2.unsafe_free()
        comptime if Self.form.is_general:
            self.gate_bias.unsafe_free()
            self.select_bias.unsafe_free()
            self.b1.unsafe_free()
            self.b2.unsafe_free()


def _copy(source: Matrix, target: Floats):
    """Copies a row that may be absent."""
    for i in range(source.width if source.rows > 0 else 0):
        target[unsafe_offset=i] = source.data[unsafe_offset=i]
