"""The size and form of a Mixture-of-Experts layer, its presets and its cost in operations and bytes.

Letters used everywhere: T tokens, d model width, f hidden width of an expert, E experts, k experts a token, s hidden
width of the shared expert.
"""

import dataclasses
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from moe.form import Form, check_switch
from moe.ranges import SEED, SIZE, SIZE_OR_NONE, Range

FLOAT32_BYTES = 4  # of a number as NumPy holds it here, whatever the form's precision
RANGES = {
    "tokens": SIZE_OR_NONE,
    **dict.fromkeys(("d_model", "d_ff", "num_experts", "top_k"), SIZE),
    "seed": SEED,
    "skew": Range(0, 100, whole=True),
}


ADDED = ("select_bias", "biases", "shared_gate")  # whether the layer has arrays that its form does not imply


@dataclass(frozen=True)
class MoEConfig(Form):
    """One layer's sizes, the seed of its weights and input, how unevenly tokens fall on the experts, and its form.

    `skew` is the percentage of tokens that are sent to expert 0, which the rest avoid; 0: the gate decides.

    Beside the form's knobs, `select_bias` says whether there is a bias that is added to scores for the choice of
    experts alone, `biases` whether the gate and the experts' products have one, and `shared_gate` whether the shared
    expert's output is scaled by a gate of its own. They and the knobs are given by name.

    Raises ValueError, naming the field, for a value that no layer can have.
    """

    tokens: int = 1024
    d_model: int = 256
    d_ff: int = 1024
    num_experts: int = 4
    top_k: int = 2
    seed: int = 0
    skew: int = 0
    select_bias: bool = field(default=False, kw_only=True)
    biases: bool = field(default=False, kw_only=True)
    shared_gate: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in RANGES.items():
            allowed.check(name, getattr(self, name))
        for name in ADDED:
            check_switch(name, getattr(self, name))
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k must be at most num_experts ({self.num_experts}), got {self.top_k}")
        self.require_fit(self.num_experts, self.top_k)
        if self.shared_gate and not self.shared_d_ff:
            raise ValueError("shared_gate must be false where shared_d_ff is 0, got True")

    @property
    def expert_weights(self) -> int:
        """Numbers that one expert has: its matrices, and its biases."""
        biases = self.d_model + (self.matrices - 1) * self.d_ff if self.biases else 0
        return self.matrices * self.d_model * self.d_ff + biases

    @property
    def common_weights(self) -> int:
        """Numbers that every token needs: the gate and what goes with it, and the shared expert."""
        router = self.d_model * self.num_experts + (self.select_bias + self.biases) * self.num_experts
        return router + self.matrices * self.d_model * self.shared_d_ff + self.shared_gate * self.d_model

    @property
    def weights(self) -> int:
        """Numbers that the layer has in all."""
        return self.common_weights + self.num_experts * self.expert_weights

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward's products, a multiply-add counted as two."""
        gates = self.num_experts + self.shared_gate
        experts = self.matrices * (self.top_k * self.d_ff + self.shared_d_ff)
        return self.tokens * 2 * self.d_model * (gates + experts)

    @property
    def expected_active_experts(self) -> float:
        """Experts that get at least one token, on average over uniform routing."""
        return self.num_experts * (1 - (1 - self.top_k / self.num_experts) ** self.tokens)

    @property
    def expected_bytes(self) -> float:
        """Bytes of one forward that uses `expected_active_experts`; `Problem.bytes_moved` has the real figure."""
        return self.bytes_for(self.expected_active_experts)

    def bytes_for(self, active_experts: float) -> float:
        """Input, output and what every token needs once, and each active expert once, in bytes of the precision."""
        numbers = 2 * self.tokens * self.d_model + self.common_weights
        return self.weight_bytes * (numbers + active_experts * self.expert_weights)

    def with_tokens(self, tokens: int) -> "MoEConfig":
        """The same weights under another number of tokens."""
        return dataclasses.replace(self, tokens=tokens)

    @property
    def label(self) -> str:
        """Short text for tables: `T=1024 d=256 f=1024 E=4 k=2`, and what is not as in the published layer."""
        skew = f" skew={self.skew} %" if self.skew else ""
        knobs = f" {self.knobs_text}" if self.knobs else ""
        return f"T={self.tokens} d={self.d_model} f={self.d_ff} E={self.num_experts} k={self.top_k}{skew}{knobs}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the sizes, and the knobs that are not as in the published layer."""
        return {name: getattr(self, name) for name in RANGES} | self.knobs


PRESETS = {
    "smoke": MoEConfig(tokens=64, d_model=64, d_ff=128, num_experts=4, top_k=2),
    "small": MoEConfig(tokens=64, d_model=64, d_ff=128, num_experts=64, top_k=8),
    # The layer of the published comparison: batch 8 × sequence 128 tokens.
    "seed": MoEConfig(tokens=1024, d_model=256, d_ff=1024, num_experts=4, top_k=2),
    "medium": MoEConfig(tokens=512, d_model=1024, d_ff=2048, num_experts=8, top_k=2),
    "large": MoEConfig(tokens=4096, d_model=1024, d_ff=4096, num_experts=8, top_k=2),
}


def unknown_name(kind: str, name: str, known: list[str]) -> str:
    """The one wording of 'no such name': what was given, the nearest known name, and all of them."""
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"unknown {kind} {name!r}{hint} (known: {', '.join(known)})"


def require_known(kind: str, names: Iterable[str], known: Collection[str]) -> None:
    """Raise ValueError for the first of these names that is not known."""
    for name in names:
        if name not in known:
            raise ValueError(unknown_name(kind, name, list(known)))


def read_field(name: str, text: str) -> Any:
    """A field's value from text; raises ValueError, naming it, for what is no value of its kind."""
    default = getattr(MoEConfig, name)
    if isinstance(default, str):
        return text
    if isinstance(default, bool):
        switch = {"true": True, "false": False}.get(text.lower())
        check_switch(name, text if switch is None else switch)
        return switch
    try:
        return type(default)(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"{name} must be {kind}, got {text!r}") from None


def field_names() -> list[str]:
    """Every field of a config, sizes first."""
    return [*RANGES, *(f.name for f in dataclasses.fields(MoEConfig) if f.kw_only)]


def named_configs() -> dict[str, MoEConfig]:
    """Presets, and published models with one token, by name."""
    from moe.models import MODELS  # which are made of configs

    return PRESETS | {name: model.config for name, model in MODELS.items()}


def parse_config(text: str) -> MoEConfig:
    """A config from the name of a preset or model, from `key=value,…`, or both (`seed,tokens=256,expert=swiglu`).

    Raises ValueError naming what is unknown or malformed.
    """
    known = named_configs()
    preset, given = PRESETS["seed"], {}
    for position, part in enumerate(text.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if equals:
            require_known("field", [key], field_names())
            given[key] = read_field(key, value)
        elif key not in known:
            raise ValueError(unknown_name("preset or model", key, list(known)))
        elif position > 0:
            raise ValueError(f"a name comes first: {key},… not {text}")
        else:
            preset = known[key]
    # Together, since some fields bound others.
    return dataclasses.replace(preset, **given)


class _CallableModule(ModuleType):
    """This module, which is `moe.config(text)` too: Python gives a package its submodules by their names."""

    def __call__(self, text: str) -> MoEConfig:
        return parse_config(text)


sys.modules[__name__].__class__ = _CallableModule
