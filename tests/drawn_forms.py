"""Problems of drawn forms, and the reference that rounds what the kernel rounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import moe
from moe import bfloat16, reference
from moe.form import CHOICES

# Tokens, d_model, d_ff, experts, top_k and the shared expert's width: whole vectors and others, few tokens and many.
SIZES = (
    *((9, 16, 32, 4, 2, 24), (37, 53, 101, 6, 3, 70), (13, 3, 5, 12, 2, 1)),
    *((1, 40, 24, 8, 8, 64), (200, 64, 96, 8, 2, 200)),
)
# In bfloat16, against a reference that rounds hidden activations where the kernel does: what is left are those that
# lie on an edge between two of its numbers. 3.8e-4 was the worst of a hundred layers.
ROUNDED_ALIKE = 1e-3


def drawn(seed: int, **given: Any) -> moe.Problem:
    """A problem of a form drawn from a seed, with what is given."""
    rng = np.random.default_rng(seed)
    tokens, d_model, d_ff, experts, top_k, shared = SIZES[seed % len(SIZES)]
    groups = int(rng.choice([g for g in (1, 2, 4) if experts % g == 0]))
    kept = int(rng.integers(1, groups + 1))
    if experts // groups * kept < top_k:
        groups = kept = 1
    kinds = {name: str(rng.choice(CHOICES[name])) for name in ("expert", "score", "group_score", "weight_on")}
    has = {name: bool(rng.integers(2)) for name in ("renormalise", "select_bias", "biases", "shared_gate")}
    shared *= int(rng.integers(2))
    has["shared_gate"] &= shared > 0
    more = {"groups": groups, "groups_kept": kept, "shared_d_ff": shared, "scale": float(rng.choice([1.0, 2.5]))}
    return moe.make_problem(
        moe.MoEConfig(tokens, d_model, d_ff, experts, top_k, seed, **{**kinds, **has, **more, **given})
    )


@contextmanager
def rounded_alike() -> Iterator[None]:
    """Meanwhile the reference rounds hidden activations to bfloat16."""
    exact = reference._hidden

    def hidden(*given: Any) -> Any:
        return bfloat16.rounded(exact(*given).astype(np.float32)).astype(np.float64)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "_hidden", hidden)
        yield
