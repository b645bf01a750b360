"""An expert in PyTorch, for every form."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from moe.form import ALPHA, CLAMP

Expert = Callable[..., Any]


@cache  # one function a kind is what torch.compile knows again
def expert_of(kind: str) -> Expert:
    """An expert's function: of rows (n, d) and its tensors, w1 and w2, then w3, b1, b2 and b3 or None, to (n, d)."""
    import torch

    hidden, mm, addmm = hidden_of(kind), torch.mm, torch.addmm

    def expert(x: Any, w1: Any, w2: Any, w3: Any = None, b1: Any = None, b2: Any = None, b3: Any = None) -> Any:
        gate = mm(x, w1) if b1 is None else addmm(b1, x, w1)  # (n, f)
        up = None if w3 is None else mm(x, w3) if b3 is None else addmm(b3, x, w3)
        inner = hidden(gate, up)
        return mm(inner, w2) if b2 is None else addmm(b2, inner, w2)  # (n, d)

    return expert


def hidden_of(kind: str) -> Callable[[Any, Any], Any]:
    """What stands between an expert's products: of x·w1 + b1 and a gated one's x·w3 + b3, which it may overwrite."""
    import torch
    from torch.nn import functional

    def clamped(gate: Any, up: Any) -> Any:
        gate = gate.clamp_(max=CLAMP)
        return gate * torch.sigmoid(ALPHA * gate) * (up.clamp_(-CLAMP, CLAMP) + 1)

    functions: dict[str, Callable[[Any, Any], Any]] = {
        "relu": lambda gate, _: gate.relu_(),
        "relu2": lambda gate, _: gate.relu_().square(),
        "gelu": lambda gate, _: functional.gelu(gate),
        "swiglu": lambda gate, up: functional.silu(gate).mul_(up),
        "geglu": lambda gate, up: functional.gelu(gate).mul_(up),
        "swiglu-oai": clamped,
    }
    return functions[kind]


def by_expert(expert: Expert, rows: Any, counts: list[int], parts: Sequence[tuple[Any, ...]]) -> Any:
    """The outputs (n, d) of rows (n, d) in the order of their experts, of which each has so many and such `parts`."""
    import torch

    out = torch.empty_like(rows)
    for own, result, tensors in zip(rows.split(counts), out.split(counts), parts, strict=True):
        if len(own):
            result.copy_(expert(own, *tensors))
    return out
