"""How the layer is compiled: switches that each turn one optimisation off, and sizes known beforehand or not."""

from std.math import lcm
from std.sys.defines import get_defined_int

from gate import GATE_EXPERTS
from tile import STEPS, TILE_VECTORS, TOKEN_WORDS
from vectors import LANES, round_up
from words import FLOATS

comptime D_MODEL = get_defined_int["D_MODEL", 0]()
"""Width of a token if this library is compiled for one, else 0: then it is known at run time."""

comptime D_FF = get_defined_int["D_FF", 0]()
"""Hidden width of an expert, or 0."""

comptime NUM_EXPERTS = get_defined_int["NUM_EXPERTS", 0]()
"""Number of experts, or 0."""

comptime TOP_K = get_defined_int["TOP_K", 0]()
"""Experts of a token, or 0."""

comptime FORMS = 16
"""Every setting of the four switches."""


struct Form(TrivialRegisterPassable):
    """A setting of the switches, whatever is off being done in the plain way; and for which layers it is compiled."""

    var simd: Bool
    """Vectors, or one lane."""
    var tile: Bool
    """Register tiles over packed weights, or plain loops over the weights as they came."""
    var batch: Bool
    """Tokens of an expert together, or one token after the other."""
    var pool: Bool
    """Workspace kept between forwards, or allocated and freed in each."""
    var is_general: Bool
    """For any router, activation, biases and shared expert, or for the published layer alone."""
    var is_gated: Bool
    """Whether an expert has a third matrix."""
    var words: Int
    """What a word of the depth holds: FLOATS, WIDENED or PAIRS."""

    def __init__(out self, simd: Bool, tile: Bool, batch: Bool, pool: Bool):
        """Sets the switches of the published layer.

        Args:
            simd: Vectors.
            tile: Register tiles.
            batch: An expert's tokens together.
            pool: Workspace kept.
        """
        self.simd = simd
        self.tile = tile
        self.batch = batch
        self.pool = pool
        self.is_general = False
        self.is_gated = False
        self.words = FLOATS

    def __init__(out self, *, is_gated: Bool, words: Int):
        """Turns every switch on, for other layers.

        Args:
            is_gated: Whether an expert has a third matrix.
            words: What a word of the depth holds.
        """
        self = Self(True, True, True, True)
        self.is_general = True
        self.is_gated = is_gated
        self.words = words

    @always_inline
    def lanes(self) -> Int:
        """Counts lanes.

        Returns:
            Lanes of a vector.
        """
        return LANES if self.simd else 1

    @always_inline
    def vectors(self) -> Int:
        """Counts a panel's vectors, of which half are the third matrix's where there is one.

        Returns:
            Vectors of columns in a panel.
        """
        return TILE_VECTORS // 2 * 2 if self.is_gated else TILE_VECTORS

    @always_inline
    def panel(self) -> Int:
        """Counts a panel's columns.

        Returns:
            Columns of a panel of weights.
        """
        return self.vectors() * self.lanes()

    @always_inline
    def hidden_panel(self) -> Int:
        """Counts the hidden activations that a panel of the first product gives.

        Returns:
            Columns of the hidden row.
        """
        return self.panel() // 2 if self.is_gated else self.panel()

    @always_inline
    def step_numbers(self) -> Int:
        """Counts the numbers of the depth in a step.

        Returns:
            1 in float32, 2 in bfloat16.
        """
        return 1 if self.words == FLOATS else 2

    @always_inline
    def block_numbers(self) -> Int:
        """Counts the numbers of a packed token in a block.

        Returns:
            Numbers of a token that follow each other.
        """
        return STEPS * self.step_numbers()


def form_of(number: Int) -> Form:
    """Unfolds a form's number.

    Args:
        number: From 0 to FORMS - 1: 1 for simd, 2 for tile, 4 for batch, 8 for pool, added up.

    Returns:
        The form.
    """
    return Form(number & 1 != 0, number & 2 != 0, number & 4 != 0, number & 8 != 0)


struct Sizes[form: Form](TrivialRegisterPassable):
    """The layer's sizes, and what they are rounded up to in memory.

    Parameters:
        form: The switches.
    """

    comptime W = Self.form.lanes()
    """Lanes of a vector."""

    var d: Int
    """Width of a token."""
    var f: Int
    """Hidden width of an expert."""
    var experts: Int
    """Number of experts."""
    var k: Int
    """Experts of a token."""

    var depth: Int
    """Steps of the first product: whole blocks of a packed token."""
    var f_padded: Int
    """Numbers of a hidden row: whole panels of the first product, whole blocks of the second."""
    var hidden_depth: Int
    """Steps of the second product."""
    var d_padded: Int
    """Floats of an output row: whole panels of the second product."""
    var gate_depth: Int
    """Floats of an expert's column of the gate, which lies as a row."""
    var experts_padded: Int
    """Floats of a token's logits."""

    @always_inline
    def __init__(out self, d: Int, f: Int, experts: Int, k: Int):
        """Rounds up.

        Args:
            d: Width of a token.
            f: Hidden width of an expert.
            experts: Number of experts.
            k: Experts of a token.
        """
        self.d = d
        self.f = f
        self.experts = experts
        self.k = k
        self.gate_depth = round_up(d, Self.W)
        comptime if Self.form.tile:
            comptime NUMBERS = Self.form.block_numbers()
            self.depth = round_up(d, NUMBERS) // Self.form.step_numbers()
            self.f_padded = round_up(f, lcm(Self.form.hidden_panel(), NUMBERS))
            self.hidden_depth = self.f_padded // Self.form.step_numbers()
            self.d_padded = round_up(d, Self.form.panel())
            self.experts_padded = round_up(experts, GATE_EXPERTS)
        else:
            self.depth = d
            self.f_padded = round_up(f, Self.W)
            self.hidden_depth = f
            self.d_padded = round_up(d, Self.W)
            self.experts_padded = round_up(experts, Self.W)

    @always_inline
    def known(self) -> Self:
        """Replaces sizes by constants where the library is compiled for them: the switch `specialize`.

        Returns:
            The same sizes.
        """
        comptime if D_MODEL > 0 and not Self.form.is_general:
            return Self(D_MODEL, D_FF, NUM_EXPERTS, TOP_K)
        else:
            return self

    @always_inline
    def columns(self) -> Int:
        """Counts the columns of the first product.

        Returns:
            Columns of all its panels, of two matrices where experts are gated.
        """
        return 2 * self.f_padded if Self.form.is_gated else self.f_padded

    @always_inline
    def token_words(self) -> Int:
        """Counts the words of a packed token.

        Returns:
            Floats of memory.
        """
        return self.depth * TOKEN_WORDS[Self.form.words]

    @always_inline
    def hidden_words(self) -> Int:
        """Counts the words of a hidden row.

        Returns:
            Floats of memory.
        """
        return self.hidden_depth * TOKEN_WORDS[Self.form.words] if Self.form.is_general else self.f_padded
