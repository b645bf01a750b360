"""What kind of layer it is: its expert, its router and its weights' precision. The default is the published layer."""

from dataclasses import dataclass, fields
from typing import Any

from moe.ranges import SIZE, SIZE_OR_NONE, Range

SCALE = Range(0, 1e6, above=True)
CLAMP, ALPHA = 7.0, 1.702  # of the expert swiglu-oai
GATED = ("swiglu", "geglu", "swiglu-oai")
CHOICES = {
    "expert": ("relu", "relu2", "gelu", *GATED),
    "score": ("softmax", "sigmoid"),
    "group_score": ("top2", "max"),
    "weight_on": ("output", "input"),
    "precision": ("float32", "bfloat16"),
}
ROUTER_PRECISION = "float32"  # which the layer's router computes in; what measures others tells by it
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, kw_only=True)
class Form:
    """The knobs of a layer, each with the published comparison's value as default.

    `expert` is what stands between the two products: an activation of x·w1, or for the gated ones (swiglu, geglu,
    swiglu-oai) act(x·w1)·(x·w3). `score` turns a logit into a score; `renormalise` divides the k weights by their
    sum; `scale` multiplies the routed sum. With `groups` above 1 experts are chosen from the `groups_kept` best
    groups only, a group's rank being its best score (`group_score` max) or the sum of its two best (top2).
    `shared_d_ff` is the width of an expert that every token takes, 0 for none. `weight_on` says where an expert's
    weight is multiplied in. `precision` is that in which weights and x are held.

    Raises ValueError, naming the field, for a value that no layer can have.
    """

    expert: str = "relu"
    score: str = "softmax"
    renormalise: bool = True
    scale: float = 1.0
    groups: int = 1
    groups_kept: int = 1
    group_score: str = "top2"
    shared_d_ff: int = 0
    weight_on: str = "output"
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in CHOICES:
            check_choice(name, name, getattr(self, name))
        check_switch("renormalise", self.renormalise)
        SIZE_OR_NONE.check("shared_d_ff", self.shared_d_ff)
        SIZE.check("groups", self.groups)
        Range(1, self.groups, whole=True).check("groups_kept", self.groups_kept)
        SCALE.check("scale", self.scale)

    @property
    def gated(self) -> bool:
        """Whether an expert has a third matrix, w3."""
        return self.expert in GATED

    @property
    def matrices(self) -> int:
        """How many matrices of d_model times its width an expert has."""
        return 3 if self.gated else 2

    @property
    def weight_bytes(self) -> int:
        """Bytes of one weight, or of one number of the input, as this precision holds it."""
        return WEIGHT_BYTES[self.precision]

    @property
    def form(self) -> "Form":
        """The knobs alone, without what a subclass adds."""
        return Form(**{field.name: getattr(self, field.name) for field in fields(Form)})

    @property
    def knobs(self) -> dict[str, Any]:
        """By name, what is not as in the published layer; sizes that a subclass adds are none."""
        return {f.name: value for f in fields(self) if f.kw_only and (value := getattr(self, f.name)) != f.default}

    @property
    def knobs_text(self) -> str:
        """The same as `--config` takes it, `expert=swiglu precision=bfloat16`; empty for the published layer."""
        return " ".join(f"{name}={knob_text(value)}" for name, value in self.knobs.items())

    def require_fit(self, num_experts: int, top_k: int) -> None:
        """Raise ValueError, naming both sides, for groups that do not split the experts or keep fewer than k."""
        if num_experts % self.groups:
            raise ValueError(f"groups must divide num_experts ({num_experts}), got {self.groups}")
        kept = num_experts // self.groups * self.groups_kept
        if top_k > kept:
            raise ValueError(
                f"top_k must be at most the {kept} experts of groups_kept={self.groups_kept}, got {top_k}"
            )


def check_choice(title: str, name: str, value: object) -> None:
    """Raise ValueError, naming it by its title, for a value that the knob `name` has not."""
    if value not in CHOICES[name]:
        raise ValueError(f"{title} must be one of {', '.join(CHOICES[name])}, got {value!r}")


def check_switch(title: str, value: object) -> None:
    """Raise ValueError, naming it, for what is neither true nor false."""
    if not isinstance(value, bool):
        raise ValueError(f"{title} must be true or false, got {value!r}")


def knob_text(value: object) -> str:
    """A knob's value as `--config` takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


PUBLISHED = Form()
