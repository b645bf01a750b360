"""A layer's weights: which arrays its form has, in which shapes, and of which numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe import bfloat16
from moe.config import ADDED, MoEConfig
from moe.form import GATED, PUBLISHED, Form

Float32Array = NDArray[np.float32]

# In the order in which a seed's streams belong to them: new ones come last. s stands for shared_d_ff.
DIMENSIONS = {
    "gate": "dE",
    "w1": "Edf",
    "w2": "Efd",
    "w3": "Edf",
    "select_bias": "E",
    "gate_bias": "E",
    "b1": "Ef",
    "b2": "Ed",
    "b3": "Ef",
    "shared_w1": "ds",
    "shared_w2": "sd",
    "shared_w3": "ds",
    "shared_gate": "d1",
}
# What a config has to have for an array to be there; gate, w1 and w2 always are.
NEEDS = {
    "w3": ("gated",),
    "select_bias": ("select_bias",),
    "gate_bias": ("biases",),
    "b1": ("biases",),
    "b2": ("biases",),
    "b3": ("biases", "gated"),
    "shared_w1": ("shared_d_ff",),
    "shared_w2": ("shared_d_ff",),
    "shared_w3": ("shared_d_ff", "gated"),
    "shared_gate": ("shared_d_ff", "shared_gate"),
}
ROUTER = ("gate", "gate_bias", "select_bias")
EXPERT = ("w1", "w2", "w3", "b1", "b2", "b3")


@dataclass(frozen=True)
class Weights:
    """A layer's weights, all float32: gate (d, E), w1 (E, d, f), w2 (E, f, d), and what its form has beside them.

    A gated form has w3 (E, d, f). Any may have select_bias (E,), which is added to the scores for the choice of
    experts alone, gate_bias (E,), b1 (E, f), b2 (E, d), and where it is gated b3 (E, f), each added to its product. A
    form with shared_d_ff = s has shared_w1 (d, s) and shared_w2 (s, d), gated also shared_w3 (d, s), and may have
    shared_gate (d, 1), whose sigmoid scales what the shared expert gives. With precision=bfloat16 they hold numbers
    that bfloat16 can hold; `moe.bfloat16.rounded` makes such. The router's alone, gate, gate_bias and select_bias,
    may be float32: it computes in that, and many models of bfloat16 hold theirs so.

    Raises TypeError for another dtype, ValueError for shapes that do not fit together, for arrays that the form lacks
    or has no use for, and for numbers that its precision can't hold.
    """

    gate: Float32Array
    w1: Float32Array
    w2: Float32Array
    w3: Float32Array | None = None
    select_bias: Float32Array | None = None
    gate_bias: Float32Array | None = None
    b1: Float32Array | None = None
    b2: Float32Array | None = None
    b3: Float32Array | None = None
    shared_w1: Float32Array | None = None
    shared_w2: Float32Array | None = None
    shared_w3: Float32Array | None = None
    shared_gate: Float32Array | None = None
    form: Form = PUBLISHED

    def __post_init__(self) -> None:
        for name, dimensions in DIMENSIONS.items():
            array = getattr(self, name)
            if array is None and name in NEEDS:
                continue
            if not isinstance(array, np.ndarray) or array.dtype != np.float32:
                found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise TypeError(f"{name} must be a float32 NumPy array, got {found}")
            ndim = len(dimensions)
            if array.ndim != ndim or 0 in array.shape:
                count = f"{ndim} dimension{'s' * (ndim > 1)}"
                raise ValueError(f"{name} must have {count}, none of them 0, got shape {array.shape}")
            # Every implementation may rely on plain row-major memory.
            object.__setattr__(self, name, np.ascontiguousarray(array))
        self._require_form()
        sizes = {"E": self.num_experts, "d": self.d_model, "f": self.d_ff, "s": self.form.shared_d_ff, "1": 1}
        for name, array in self.arrays().items():
            expected = tuple(sizes[letter] for letter in DIMENSIONS[name])
            if array.shape != expected:
                fits = f"w1 and shared_d_ff={self.form.shared_d_ff}" if name.startswith("shared_") else "w1"
                raise ValueError(f"{name} must have shape {expected} to fit {fits}, got {array.shape}")
            if self.form.precision == "bfloat16" and name not in ROUTER and not bfloat16.is_held(array):
                raise ValueError(f"{name} has numbers that bfloat16 can't hold, and precision is bfloat16")
        self.form.require_fit(self.num_experts, 1)

    def _require_form(self) -> None:
        """Raise ValueError for an array that the form lacks or has no use for."""
        form = self.form
        if not isinstance(form, Form):
            raise TypeError(f"form must be a moe.Form, got {type(form).__name__}")
        for name, needs in NEEDS.items():
            there = getattr(self, name) is not None
            if there and "gated" in needs and not form.gated:
                raise ValueError(f"{name} needs a gated expert ({', '.join(GATED)}), and expert is {form.expert}")
            if there and "shared_d_ff" in needs and not form.shared_d_ff:
                raise ValueError(f"{name} needs a shared expert, and shared_d_ff is 0")
            # What the form does not know of may be there or not.
            if not there and all(getattr(form, need, False) for need in needs):
                has = f"expert {form.expert} is gated" if name == "w3" else f"shared_d_ff is {form.shared_d_ff}"
                raise ValueError(f"{has} and needs {name}, got None")

    def arrays(self) -> dict[str, Float32Array]:
        """Those that are there, by name, always in the same order."""
        named = ((name, getattr(self, name)) for name in DIMENSIONS)
        return {name: array for name, array in named if array is not None}

    def bits(self, name: str) -> NDArray[np.uint16]:
        """The words of an array of bfloat16, in its shape; raises ValueError for numbers of another precision."""
        if self.form.precision != "bfloat16":
            raise ValueError(f"bits of {name} are those of bfloat16, and precision is {self.form.precision}")
        array = self.arrays()[name]
        if name in ROUTER and not bfloat16.is_held(array):
            raise ValueError(f"{name} has numbers that bfloat16 can't hold: the router's is float32")
        return bfloat16.words(array)

    @property
    def knobs(self) -> dict[str, Any]:
        """By name, what is not as in the published layer, as a config says it."""
        has = {need for name in self.arrays() for need in NEEDS.get(name, ())}
        return self.form.knobs | {name: True for name in ADDED if name in has}

    @property
    def routes_as_published(self) -> bool:
        """Whether the router is the published layer's: a softmax over k logits, of x·gate alone."""
        form = self.form
        plain = (form.score, form.renormalise, form.scale, form.groups) == ("softmax", True, 1, 1)
        return plain and self.select_bias is None and self.gate_bias is None

    @property
    def has_published_experts(self) -> bool:
        """Whether its experts, but for the shared one, are the published layer's: two products and a ReLU."""
        plain = (self.form.expert, self.form.weight_on) == ("relu", "output")
        return plain and self.b1 is None and self.b2 is None

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return int(self.w1.shape[1])

    @property
    def d_ff(self) -> int:
        """Hidden width of an expert."""
        return int(self.w1.shape[2])

    @property
    def num_experts(self) -> int:
        """Number of experts."""
        return int(self.w1.shape[0])


def shapes_of(config: MoEConfig) -> dict[str, tuple[int, ...]]:
    """The arrays of `config` and their shapes, in the order of `Weights.arrays`."""
    there = [name for name in DIMENSIONS if all(getattr(config, need) for need in NEEDS.get(name, ()))]
    sizes = {"E": config.num_experts, "d": config.d_model, "f": config.d_ff, "s": config.shared_d_ff, "1": 1}
    return {name: tuple(sizes[x] for x in DIMENSIONS[name]) for name in there}
