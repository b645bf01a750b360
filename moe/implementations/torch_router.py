"""The router of PyTorch's layers, for every form."""

from typing import Any


def route(x: Any, native: Any, top_k: int) -> tuple[Any, Any]:
    """Experts (T, k) of each token, a tie to the lower number, and their weights (T, k); `native` is TorchWeights."""
    import torch

    if native.is_half:
        x = x.float()
    logits = x @ native.gate  # (T, E)
    if not native.routes_as_published:
        return _route(x, logits, native, top_k)
    # Not topk, which promises no order among equals.
    logits, experts = torch.sort(logits, dim=1, descending=True, stable=True)
    # A softmax over the chosen logits alone: dividing by their sum cancels the others.
    return experts[:, :top_k], torch.softmax(logits[:, :top_k], dim=1)


def _route(x: Any, logits: Any, native: Any, top_k: int) -> tuple[Any, Any]:
    """The same of any form. NaN counts as the largest in every sort: it is chosen, and its token's row is NaN."""
    import torch

    form, own = native.form, native.tensors
    if "gate_bias" in own:
        logits = logits + own["gate_bias"]
    scores = torch.softmax(logits, dim=1) if form.score == "softmax" else torch.sigmoid(logits)
    choice = scores + own["select_bias"] if "select_bias" in own else scores
    if form.groups > 1:
        grouped = choice.unflatten(1, (form.groups, -1))
        best = min(2 if form.group_score == "top2" else 1, grouped.shape[2])
        rank = grouped.topk(best, dim=2).values.sum(dim=2)  # (T, groups)
        kept = torch.sort(rank, dim=1, descending=True, stable=True).indices[:, : form.groups_kept]
        left_out = torch.ones_like(rank, dtype=torch.bool).scatter_(1, kept, False)
        choice = grouped.masked_fill(left_out.unsqueeze(2), -torch.inf).flatten(1)
    values, experts = torch.sort(choice, dim=1, descending=True, stable=True)
    values, experts = values[:, :top_k], experts[:, :top_k]
    weights = scores.gather(1, experts)
    if form.renormalise:
        weights = weights / weights.sum(dim=1, keepdim=True)
    if form.scale != 1:
        weights = weights * form.scale
    if form.score == "sigmoid":
        weights = weights + 0 * x.sum(dim=1, keepdim=True)  # the sigmoid of Inf is a number, and its row is to be NaN
    if "select_bias" in own:
        weights = weights.masked_fill(values.isnan(), torch.nan)
    return experts, weights
