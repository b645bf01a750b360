"""What kind of layer it is: its expert, its router and its weights' precision. The default is the published layer."""

from __future__ import annotations

from dataclasses import dataclass, fields

from moe.ranges import SIZE, Range

SCALE = Range(0, 1e6, above=True)
GATED = ("swiglu", "geglu", "swiglu-oai")
CHOICES = {
    "expert": ("relu", "relu2", "gelu", *GATED),
    "score": ("softmax", "sigmoid"),
    "group_score": ("top2", "max"),
    "weight_on": ("output", "input"),
    "precision": ("float32", "bfloat16"),
}


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
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not isinstance(self.renormalise, bool):
            raise ValueError(f"renormalise must be true or false, got {self.renormalise!r}")
        Range(0, SIZE.most, whole=True).check("shared_d_ff", self.shared_d_ff)
        SIZE.check("groups", self.groups)
        Range(1, self.groups, whole=True).check("groups_kept", self.groups_kept)
        SCALE.check("scale", self.scale)

    @property
    def gated(self) -> bool:
        """Whether an expert has a third matrix, w3."""
        return self.expert in GATED

    @property
    def form(self) -> Form:
        """The knobs alone, without what a subclass adds."""
        return Form(**{field.name: getattr(self, field.name) for field in fields(Form)})
