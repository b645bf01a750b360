"""The size of a Mixture-of-Experts layer, its presets and its cost in operations and bytes.

Letters used everywhere: T tokens, d model width, f hidden width of an expert, E experts, k experts a token.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from difflib import get_close_matches

from moe.ranges import SEED, SIZE, Range

FLOAT32_BYTES = 4
RANGES = {
    "tokens": Range(0, SIZE.most, whole=True),
    **dict.fromkeys(("d_model", "d_ff", "num_experts", "top_k"), SIZE),
    "seed": SEED,
    "skew": Range(0, 100, whole=True),
}


@dataclass(frozen=True)
class MoEConfig:
    """One layer's sizes, the seed of its weights and input, and how unevenly tokens fall on the experts.

    `skew` is the percentage of tokens that are sent to expert 0, which the rest avoid; 0: the gate decides.

    Raises ValueError, naming the field, for a value that no layer can have.
    """

    tokens: int = 1024
    d_model: int = 256
    d_ff: int = 1024
    num_experts: int = 4
    top_k: int = 2
    seed: int = 0
    skew: int = 0

    def __post_init__(self) -> None:
        for name, allowed in RANGES.items():
            allowed.check(name, getattr(self, name))
        if self.top_k > self.num_experts:
            raise ValueError(f"top_k must be at most num_experts ({self.num_experts}), got {self.top_k}")

    @property
    def flops(self) -> int:
        """Floating-point operations of one forward, a multiply-add counted as two."""
        return self.tokens * (2 * self.d_model * self.num_experts + self.top_k * 4 * self.d_model * self.d_ff)

    @property
    def expected_active_experts(self) -> float:
        """Experts that get at least one token, on average over uniform routing."""
        return self.num_experts * (1 - (1 - self.top_k / self.num_experts) ** self.tokens)

    @property
    def expected_bytes(self) -> float:
        """Bytes of one forward that uses `expected_active_experts`; `Problem.bytes_moved` has the real figure."""
        return self.bytes_for(self.expected_active_experts)

    def bytes_for(self, active_experts: float) -> float:
        """Input, gate and output once, and both matrices of each active expert once, in bytes of float32."""
        floats = 2 * self.tokens * self.d_model + self.d_model * self.num_experts
        return FLOAT32_BYTES * (floats + active_experts * 2 * self.d_model * self.d_ff)

    def with_tokens(self, tokens: int) -> MoEConfig:
        """The same weights under another number of tokens."""
        return dataclasses.replace(self, tokens=tokens)

    @property
    def label(self) -> str:
        """Short text for tables: `T=1024 d=256 f=1024 E=4 k=2`."""
        skew = f" skew={self.skew} %" if self.skew else ""
        return f"T={self.tokens} d={self.d_model} f={self.d_ff} E={self.num_experts} k={self.top_k}{skew}"


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


def parse_config(text: str) -> MoEConfig:
    """A config from a preset's name, from `key=value,…`, or from both (`seed,tokens=256`).

    Raises ValueError naming what is unknown or malformed.
    """
    preset, sizes = PRESETS["seed"], {}
    fields = [field.name for field in dataclasses.fields(MoEConfig)]
    for position, part in enumerate(text.split(",")):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals and key in PRESETS and position > 0:
            raise ValueError(f"a preset comes first: {key},… not {text}")
        if not equals and key not in PRESETS:
            raise ValueError(unknown_name("preset", key, list(PRESETS)))
        if equals and key not in fields:
            raise ValueError(unknown_name("size", key, fields))
        if not equals:
            preset = PRESETS[key]
            continue
        try:
            sizes[key] = int(value)
        except ValueError:
            raise ValueError(f"{key} must be a whole number, got {value!r}") from None
    # Together, since some sizes bound others.
    return dataclasses.replace(preset, **sizes)
