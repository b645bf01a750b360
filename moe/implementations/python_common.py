"""What the layer in plain Python is made of, for every form: numbers, and one token's router."""

from math import erf, exp, isfinite, isnan, nan

from moe.form import ALPHA, CLAMP, Form

Vector = list[float]


def hidden(kind: str, gate: Vector, up: Vector) -> Vector:
    """What stands between an expert's products: of x·w1 + b1, and for a gated one of x·w3 + b3, (f,) each."""
    # Not max(0.0, …) or min(CLAMP, …), which are no NaN for NaN.
    if kind == "relu":
        return [max(g, 0.0) for g in gate]
    if kind == "relu2":
        return [(h := max(g, 0.0)) * h for g in gate]
    if kind == "gelu":
        return [_gelu(g) for g in gate]
    if kind == "swiglu":
        return [g * sigmoid(g) * u for g, u in zip(gate, up, strict=True)]
    if kind == "geglu":
        return [_gelu(g) * u for g, u in zip(gate, up, strict=True)]
    low = [min(g, CLAMP) for g in gate]
    return [g * sigmoid(ALPHA * g) * (max(min(u, CLAMP), -CLAMP) + 1) for g, u in zip(low, up, strict=True)]


def sigmoid(z: float) -> float:
    """1 / (1 + exp(-z)), for any z."""
    if z >= 0:
        return 1 / (1 + exp(-z))
    power = exp(z)
    return power / (1 + power)


def _gelu(z: float) -> float:
    return 0.5 * z * (1 + erf(z / 2**0.5))


def choose(form: Form, token: Vector, logits: Vector, bias: Vector | None, top_k: int) -> list[tuple[int, float]]:
    """A token's k experts with their weights; sorted() is stable, so a tie goes to the lower number."""
    scores = softmax(logits) if form.score == "softmax" else [sigmoid(z) for z in logits]
    choice = scores if bias is None else [score + b for score, b in zip(scores, bias, strict=True)]
    eligible = _of_best_groups(form, choice) if form.groups > 1 else range(len(choice))
    chosen = sorted(eligible, key=lambda e: -choice[e])[:top_k]
    total = sum(scores[e] for e in chosen) if form.renormalise else 1.0
    # Its own NaN or Inf, which a sigmoid may lose, and NaN in one expert's score, chosen or not, make all of it NaN.
    lost = nan if any(map(isnan, choice)) or not all(map(isfinite, token)) else 0.0
    return [(e, scores[e] / total * form.scale + lost) for e in chosen]


def softmax(logits: Vector) -> Vector:
    """Each expert's share of a token."""
    largest = max(logits)
    powers = [exp(logit - largest) for logit in logits]
    total = sum(powers)  # over all experts: one logit that is NaN makes every probability NaN
    return [power / total for power in powers]


def _of_best_groups(form: Form, choice: Vector) -> list[int]:
    size = len(choice) // form.groups
    best = 1 if form.group_score == "max" else 2
    ranks = [sum(sorted(choice[g * size : (g + 1) * size])[-best:]) for g in range(form.groups)]
    kept = sorted(range(form.groups), key=lambda g: -ranks[g])[: form.groups_kept]
    return [e for g in sorted(kept) for e in range(g * size, (g + 1) * size)]
