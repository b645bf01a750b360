"""What kind of layer it is, as the caller describes it: an array of int64, and the knobs that are read from it.

The published layer needs none of this: it is compiled apart.
"""

from std.memory import bitcast

from pool import Words
from vectors import Floats

# The places in a description. First addresses of float32 arrays, 0 for those that are absent.
comptime GATE = 0
"""(d, E)."""
comptime W1 = 1
"""(E, d, f)."""
comptime W2 = 2
"""(E, f, d)."""
comptime W3 = 3
"""(E, d, f), of gated experts."""
comptime SELECT_BIAS = 4
"""(E,), added to scores for the choice alone."""
comptime GATE_BIAS = 5
"""(E,), added to logits."""
comptime B1 = 6
"""(E, f)."""
comptime B2 = 7
"""(E, d)."""
comptime B3 = 8
"""(E, f)."""
comptime SHARED_W1 = 9
"""(d, s)."""
comptime SHARED_W2 = 10
"""(s, d)."""
comptime SHARED_W3 = 11
"""(d, s)."""
comptime SHARED_GATE = 12
"""(d, 1): the sigmoid of x · this scales what the shared expert gives."""
# Sizes.
comptime D_MODEL = 13
"""Width of a token d."""
comptime D_FF = 14
"""Hidden width of an expert f."""
comptime NUM_EXPERTS = 15
"""Number of experts E."""
comptime TOP_K = 16
"""Experts of a token k."""
comptime THREADS = 17
"""Threads that a forward uses."""
comptime SHARED_D_FF = 18
"""Hidden width of the expert that every token takes, 0 for none."""
comptime GROUPS = 19
"""Equal runs of experts; 1 for none."""
comptime GROUPS_KEPT = 20
"""Groups from which a token's experts are chosen."""
# Kinds, numbered as below.
comptime EXPERT = 21
"""What stands between the products: RELU … SWIGLU_OAI."""
comptime SCORE = 22
"""What turns a logit into a score: SOFTMAX or SIGMOID."""
comptime RENORMALISE = 23
"""1 where the k weights are divided by their sum."""
comptime GROUP_SCORE = 24
"""A group's rank: TOP2 or MOST."""
comptime WEIGHT_ON = 25
"""Where an expert's weight is multiplied in: ON_OUTPUT or ON_INPUT."""
comptime PRECISION = 26
"""In which weights and tokens are held: FLOAT32 or BFLOAT16_WEIGHTS."""
comptime SCALE = 27
"""The bits of a float32 that the weights are multiplied by."""

comptime RELU = 0
"""The positive part of x · w1."""
comptime RELU2 = 1
"""Its square."""
comptime GELU = 2
"""Gaussian error linear unit, exact."""
comptime SWIGLU = 3
"""SiLU of x · w1, times x · w3."""
comptime GEGLU = 4
"""GELU of x · w1, times x · w3."""
comptime SWIGLU_OAI = 5
"""GPT-OSS's: both products clamped, and one added to the second."""

comptime SOFTMAX = 0
"""Over all experts."""
comptime SIGMOID = 1
"""Of each logit."""
comptime TOP2 = 0
"""The sum of a group's two best."""
comptime MOST = 1
"""A group's best."""
comptime ON_OUTPUT = 0
"""The expert's output is multiplied by its weight."""
comptime ON_INPUT = 1
"""The token is, before the expert."""
comptime FLOAT32 = 0
"""Four bytes a number."""
comptime BFLOAT16_WEIGHTS = 1
"""Two bytes a number, in float32 arrays of numbers that bfloat16 can hold."""


@fieldwise_init
struct Matrix(TrivialRegisterPassable):
    """Rows of float32 as the caller has them, or nothing at all."""

    var data: Floats
    """(rows, width), row after row."""
    var rows: Int
    """Their number, 0 where the matrix is absent."""
    var width: Int
    """Floats of a row."""


@fieldwise_init
struct Description(TrivialRegisterPassable):
    """A layer as the caller describes it; read in prepare alone."""

    var words: Words
    """The array, SCALE + 1 long."""

    def number(self, place: Int) -> Int:
        """Reads a size or a kind.

        Args:
            place: D_MODEL … PRECISION.

        Returns:
            The number.
        """
        return Int(self.words[unsafe_offset=place])

    def is_there(self, place: Int) -> Bool:
        """Says whether an array is.

        Args:
            place: GATE … SHARED_GATE.

        Returns:
            Whether it is.
        """
        return self.words[unsafe_offset=place] != 0

    def matrix(self, place: Int, number: Int, rows: Int, width: Int) -> Matrix:
        """Finds one matrix of an array of them.

        Args:
            place: GATE … SHARED_GATE.
            number: Of the matrix.
            rows: Its rows.
            width: Its columns.

        Returns:
            The matrix, of no rows where the array is absent.
        """
        # A pointer may not be null; that of an absent array is not read.
        var address = max(self.number(place), 1)
        var data = Floats(unsafe_from_address=address)
        return Matrix(data.unsafe_offset(number * rows * width), rows if self.is_there(place) else 0, width)


struct Knobs(TrivialRegisterPassable):
    """What a forward has to know of the description."""

    var experts: Int
    """E, without the shared one, whose number E is."""
    var k: Int
    """Experts of a token, without the shared one."""
    var has_shared: Bool
    """Whether every token takes one more."""
    var has_shared_gate: Bool
    """Whether that one's output has a weight of its own."""
    var groups: Int
    """Groups of experts."""
    var groups_kept: Int
    """How many of them are eligible."""
    var expert: Int
    """RELU … SWIGLU_OAI."""
    var is_sigmoid: Bool
    """Whether scores are sigmoids, or a softmax."""
    var is_renormalised: Bool
    """Whether the k weights are divided by their sum."""
    var sums_two: Bool
    """Whether a group's rank is the sum of its two best."""
    var is_on_input: Bool
    """Whether the token is multiplied by an expert's weight."""
    var is_by_logits: Bool
    """Whether experts are chosen by their logits, which tell apart what both make a score of 1."""
    var scale: Float32
    """What the weights are multiplied by."""

    def __init__(out self, experts: Int, k: Int):
        """Sets those of the published layer.

        Args:
            experts: E.
            k: Experts of a token.
        """
        self.experts = experts
        self.k = k
        self.has_shared = False
        self.has_shared_gate = False
        self.groups = 1
        self.groups_kept = 1
        self.expert = RELU
        self.is_sigmoid = False
        self.is_renormalised = True
        self.sums_two = True
        self.is_on_input = False
        self.is_by_logits = True
        self.scale = 1

    def __init__(out self, description: Description):
        """Reads them.

        Args:
            description: Of the layer.
        """
        self = Self(description.number(NUM_EXPERTS), description.number(TOP_K))
        self.has_shared = description.number(SHARED_D_FF) > 0
        self.has_shared_gate = description.is_there(SHARED_GATE)
        self.groups = description.number(GROUPS)
        self.groups_kept = description.number(GROUPS_KEPT)
        self.expert = description.number(EXPERT)
        self.is_sigmoid = description.number(SCORE) == SIGMOID
        self.is_renormalised = description.number(RENORMALISE) == 1
        self.sums_two = description.number(GROUP_SCORE) == TOP2
        self.is_on_input = description.number(WEIGHT_ON) == ON_INPUT
        self.is_by_logits = self.groups == 1 and not description.is_there(SELECT_BIAS)
        self.scale = bitcast[DType.float32, 1](Int32(description.number(SCALE)))
