"""How the layer is compiled: switches that each turn one optimisation off, and sizes known beforehand or not."""

from std.math import lcm
from std.sys.defines import get_defined_int

from gate import GATE_EXPERTS
from tile import PANEL, STEPS
from vectors import LANES, round_up

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


@fieldwise_init
struct Form(TrivialRegisterPassable):
    """A setting of the switches; whatever is off is done in the plain way."""

    var simd: Bool
    """Vectors, or one lane."""
    var tile: Bool
    """Register tiles over packed weights, or plain loops over the weights as they came."""
    var batch: Bool
    """Tokens of an expert together, or one token after the other."""
    var pool: Bool
    """Workspace kept between forwards, or allocated and freed in each."""

    @always_inline
    def lanes(self) -> Int:
        """Counts lanes.

        Returns:
            Lanes of a vector.
        """
        return LANES if self.simd else 1


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
    """Depth of the first product: whole blocks of a packed token."""
    var f_padded: Int
    """Floats of a hidden row: whole panels of the first product, whole blocks of the second."""
    var hidden_depth: Int
    """Depth of the second product."""
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
            self.depth = round_up(d, STEPS)
            self.f_padded = round_up(f, lcm(PANEL[Self.W], STEPS))
            self.hidden_depth = self.f_padded
            self.d_padded = round_up(d, PANEL[Self.W])
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
        comptime if D_MODEL > 0:
            return Self(D_MODEL, D_FF, NUM_EXPERTS, TOP_K)
        else:
            return self
