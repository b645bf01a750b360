"""What the NumPy layer does for forms beyond the published one: its router, and what stands between products."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe.form import ALPHA, CLAMP, Form

Array = NDArray[Any]


def route(form: Form, arrays: dict[str, Array], x: Array, top_k: int, *, finite: bool) -> tuple[Array, Array]:
    """Experts (T, k) of x (T, d), a tie to the lower number, and weights (T, k).

    `finite` says that nothing which makes the scores has NaN or Inf.
    """
    logits = x @ arrays["gate"]  # (T, E)
    if "gate_bias" in arrays:
        logits += arrays["gate_bias"]
    if form.score == "sigmoid":
        scores = sigmoid(logits)
    else:
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores /= scores.sum(axis=1, keepdims=True)
    choice = scores + arrays["select_bias"] if "select_bias" in arrays else scores
    eligible = np.where(_kept(form, choice), choice, -np.inf) if form.groups > 1 else choice
    experts = np.argsort(-eligible, axis=1, kind="stable")[:, :top_k]
    weights = np.take_along_axis(scores, experts, axis=1)
    if form.renormalise:
        weights /= weights.sum(axis=1, keepdims=True)
    if form.scale != 1:
        weights *= weights.dtype.type(form.scale)
    if form.score == "sigmoid":
        weights += 0 * x.sum(axis=1, keepdims=True)  # the sigmoid of Inf is a number, and its token's row is NaN
    if not finite:
        weights[np.isnan(choice).any(axis=1)] = np.nan
    return experts, weights


def _kept(form: Form, choice: Array) -> NDArray[np.bool_]:
    """Mark (T, E) the experts of the best groups."""
    tokens, experts = choice.shape
    grouped = np.sort(choice.reshape(tokens, form.groups, experts // form.groups), axis=2)
    rank = grouped[:, :, -1] if form.group_score == "max" else grouped[:, :, -2:].sum(axis=2)  # (T, groups)
    best = np.argsort(-rank, axis=1, kind="stable")[:, : form.groups_kept]
    marks = np.zeros((tokens, form.groups), dtype=bool)
    np.put_along_axis(marks, best, True, axis=1)
    return np.repeat(marks, experts // form.groups, axis=1)


def hidden(kind: str, gate: Array, up: Array | None) -> Array:
    """What stands between an expert's products: of x·w1 + b1, and for a gated one of x·w3 + b3."""
    if kind in ("relu", "relu2"):
        np.maximum(gate, 0, out=gate)
        return gate if kind == "relu" else np.multiply(gate, gate, out=gate)
    if kind == "gelu":
        return _gelu(gate)
    assert up is not None  # the others are gated
    if kind == "swiglu":
        gate *= sigmoid(gate)
    elif kind == "geglu":
        gate = _gelu(gate)
    else:
        np.minimum(gate, CLAMP, out=gate)
        gate *= sigmoid(gate.dtype.type(ALPHA) * gate)
        np.clip(up, -CLAMP, CLAMP, out=up)
        up += 1
    return np.multiply(gate, up, out=gate)


def shared(form: Form, arrays: dict[str, Array], x: Array) -> Array:
    """The part (T, d) of the expert that every token takes."""
    up = x @ arrays["shared_w3"] if form.gated else None
    out: Array = hidden(form.expert, x @ arrays["shared_w1"], up) @ arrays["shared_w2"]
    if "shared_gate" in arrays:
        out *= sigmoid(x @ arrays["shared_gate"])
    return out


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)) of each number."""
    power = np.exp(-z)
    power += 1
    return np.divide(1, power, out=power)


def _gelu(z: Array) -> Array:
    from scipy.special import erf

    part: Array = erf(z * z.dtype.type(0.5**0.5))
    part += 1
    part *= z
    part *= z.dtype.type(0.5)
    return part
