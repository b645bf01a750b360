"""The layer as loops in Python that Numba compiles at their first call; imported where Numba is used."""

from typing import Any

import numpy as np
from numba import njit, prange

TILE = 4  # rows and columns of a product that are summed in registers at once
BLOCK = 64  # tokens of an expert that are one thread's at a time: weights are read once for all of them
# What lets LLVM vectorise a sum; the whole of fastmath would also assume that there is no NaN.
SUMS = {"contract", "reassoc", "nsz"}


@njit(fastmath=SUMS, error_model="numpy")
def multiply(a: Any, b: Any, c: Any) -> None:
    """c (n, w) = a (n, p) · b (w, p)ᵀ, w a multiple of TILE; further columns of a are left out."""
    n, depth = len(a), b.shape[1]
    zero = np.float32(0)
    for j in range(0, b.shape[0], TILE):
        tiled = n // TILE * TILE
        for i in range(0, tiled, TILE):
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
            for p in range(depth):
                a0, a1, a2, a3 = a[i, p], a[i + 1, p], a[i + 2, p], a[i + 3, p]
                b0, b1, b2, b3 = b[j, p], b[j + 1, p], b[j + 2, p], b[j + 3, p]
                s00, s01, s02, s03 = s00 + a0 * b0, s01 + a0 * b1, s02 + a0 * b2, s03 + a0 * b3
                s10, s11, s12, s13 = s10 + a1 * b0, s11 + a1 * b1, s12 + a1 * b2, s13 + a1 * b3
                s20, s21, s22, s23 = s20 + a2 * b0, s21 + a2 * b1, s22 + a2 * b2, s23 + a2 * b3
                s30, s31, s32, s33 = s30 + a3 * b0, s31 + a3 * b1, s32 + a3 * b2, s33 + a3 * b3
            c[i, j], c[i, j + 1], c[i, j + 2], c[i, j + 3] = s00, s01, s02, s03
            c[i + 1, j], c[i + 1, j + 1], c[i + 1, j + 2], c[i + 1, j + 3] = s10, s11, s12, s13
            c[i + 2, j], c[i + 2, j + 1], c[i + 2, j + 2], c[i + 2, j + 3] = s20, s21, s22, s23
            c[i + 3, j], c[i + 3, j + 1], c[i + 3, j + 2], c[i + 3, j + 3] = s30, s31, s32, s33
        for i in range(tiled, n):
            s0 = s1 = s2 = s3 = zero
            for p in range(depth):
                ap = a[i, p]
                b0, b1, b2, b3 = b[j, p], b[j + 1, p], b[j + 2, p], b[j + 3, p]
                s0, s1, s2, s3 = s0 + ap * b0, s1 + ap * b1, s2 + ap * b2, s3 + ap * b3
            c[i, j], c[i, j + 1], c[i, j + 2], c[i, j + 3] = s0, s1, s2, s3


@njit(fastmath=SUMS, error_model="numpy")
def choose(logits: Any, experts: Any, shares: Any) -> None:
    """A token's k experts (k,) from its logits (E,), a tie to the lower number, and their shares (k,).

    One logit that is NaN makes every share NaN, as in a softmax over all experts.
    """
    free = np.ones(len(logits), np.bool_)
    total = np.float32(0)
    for e in range(len(logits)):
        if np.isnan(logits[e]):
            total = logits[e]
    for slot in range(len(experts)):
        best = -1
        for e in range(len(logits)):
            if free[e] and (best < 0 or logits[e] > logits[best]):
                best = e
        free[best] = False
        experts[slot] = best
        shares[slot] = np.exp(logits[best] - logits[experts[0]])
        total += shares[slot]
    shares /= total


@njit(error_model="numpy")
def sort(experts: Any, num_experts: int) -> Any:
    """Slots (T·k,) in the order of their experts, each slot's place in it, and blocks (n, 3): expert, begin, end."""
    ends = np.cumsum(np.bincount(experts, minlength=num_experts))
    order = np.argsort(experts, kind="mergesort")
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    blocks = np.empty((len(experts) // BLOCK + num_experts, 3), np.int64)
    n = begin = 0
    for e in range(num_experts):
        while begin < ends[e]:
            end = min(begin + BLOCK, ends[e])
            blocks[n] = e, begin, end
            n, begin = n + 1, end
    return order, places, blocks[:n]


@njit(fastmath=SUMS, error_model="numpy", parallel=True)
def forward(x: Any, gate: Any, w1: Any, w2: Any, top_k: int) -> Any:
    """x (T, d), gate (E, d), w1 (E, f, d), w2 (E, d, f) → y (T, d); E, f and d of the weights filled up to TILEs."""
    tokens, num_experts = len(x), len(w1)  # gate may have rows for more
    logits = np.empty((tokens, len(gate)), np.float32)
    experts = np.empty((tokens, top_k), np.int64)
    shares = np.empty((tokens, top_k), np.float32)
    for block in prange((tokens + BLOCK - 1) // BLOCK):
        begin, end = block * BLOCK, min(block * BLOCK + BLOCK, tokens)
        multiply(x[begin:end], gate, logits[begin:end])
        for t in range(begin, end):
            choose(logits[t, :num_experts], experts[t], shares[t])
    order, places, blocks = sort(experts.ravel(), num_experts)
    out = np.empty((tokens * top_k, w2.shape[1]), np.float32)  # in the order of experts
    for block in prange(len(blocks)):
        e, begin, end = blocks[block]
        rows = np.empty((end - begin, x.shape[1]), np.float32)
        for i in range(end - begin):
            rows[i] = x[order[begin + i] // top_k]
        hidden = np.empty((end - begin, w1.shape[1]), np.float32)
        multiply(rows, w1[e], hidden)
        np.maximum(hidden, np.float32(0), hidden)
        multiply(hidden, w2[e], out[begin:end])
    y = np.zeros_like(x)
    for t in prange(tokens):
        for slot in range(top_k):
            for i in range(x.shape[1]):
                y[t, i] += shares[t, slot] * out[places[t * top_k + slot], i]
    return y
