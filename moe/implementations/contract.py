"""What an implementation is, for the type checker and for whoever writes one."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from moe.config import RANGES, field_names
from moe.form import knob_text
from moe.problem import Weights

DTYPES = ("float32", "float64")
SWITCH = ("on", "off")
EVERY_KNOB = tuple(name for name in field_names() if name not in RANGES)
WIDENED = "bfloat16 widened to float32"  # what a layer notes that computes so


class NotAvailableError(RuntimeError):
    """An implementation or one of its options can't run on this machine; the message says why."""


def check_option(name: str, value: str, allowed: Sequence[str]) -> str:
    """The value of an option; raises ValueError for one that is not allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def installed(extra: str, *others: str) -> tuple[bool, str]:
    """Whether an extra's packages, itself and `others`, are there, and how to install it; nothing is imported."""
    missing = [package for package in (extra, *others) if find_spec(package) is None]
    if missing:
        return False, f"{' and '.join(missing)} not installed: pip install -e '.[{extra}]'"
    return True, ""


def require_finite(weights: Weights, who: str) -> None:
    """Raise NotAvailableError for weights with NaN or Inf, which `who` is not known to keep."""
    if not all(np.isfinite(array).all() for array in weights.arrays().values()):
        raise NotAvailableError(f"{who} may lose NaN and Inf: weights must be finite")


def require_form(weights: Weights, who: str, taken: Sequence[str]) -> None:
    """Raise NotAvailableError for weights whose form has knobs beside the published ones that `who` does not take.

    `taken` names those that it does, as fields of `MoEConfig`.
    """
    others = {name: value for name, value in weights.knobs.items() if name not in taken}
    if others:
        text = ", ".join(f"{name}={knob_text(value)}" for name, value in others.items())
        raise NotAvailableError(f"{who} does not compute layers with {text}")


class Implementation(Protocol):
    """One way to compute the layer.

    It may also have `to_native(x)`, from a (T, d) float32 NumPy array to what `forward` takes, and
    `to_numpy(y)`, from what `forward` gives to a (T, d) float32 NumPy array. Neither is timed. A static method
    `sources()` lists Mojo files that are part of it. `available` may name options of the constructor, with defaults,
    where it depends on them, and gets those of the variant: `available(device="cpu")`. Their values are the
    constructor's to refuse.

    An attribute `knobs` names the fields of a config, beyond sizes, that it computes layers with; single values are
    the constructor's to refuse. Without it nothing but the published layer comes to it. An attribute `note` says in a
    few words what a reader of its row has to know about how it computes this form. A `router_precision`,
    "bfloat16", says that its router's logits are rounded to that: of experts that they can't tell apart any is right.
    """

    name: str
    description: str

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether it can run here; if not, why."""
        ...

    def __init__(self, weights: Weights, *, top_k: int, threads: int, **options: Any) -> None:
        """Prepare, untimed: copy, pack, compile. Raises NotAvailableError for what can't run here."""
        ...

    def forward(self, x: Any) -> Any:
        """The timed call: native in, native out, a new output each time, finished when it returns."""
        ...
