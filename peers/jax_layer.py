"""The layer in JAX, compiled by XLA for the CPU."""

import os
from contextlib import suppress
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from moe.implementations.contract import check_option, installed, require_finite
from moe.problem import Float32Array, Weights

FIRST_STEP = 1 / 16  # of the mean number of tokens an expert


class JaxLayer:
    """JAX: each expert's tokens in a buffer of one size for all, and batched products over the buffers.

    XLA compiles for fixed shapes, so the size can't follow the routing. No token is dropped: the layer is compiled
    for several sizes, from the mean number of tokens an expert up to all of them, and each forward takes the smallest
    that holds its fullest expert. That costs rows of zeros where experts are uneven. A layer compiles anew, for
    several tenths of a second, at the first forward of each number of tokens.

    `form=ragged` is `jax.lax.ragged_dot` on tokens sorted by expert, which on a CPU computes every expert for every
    row. Products have float32's full precision. XLA's threads belong to the process: the first layer made sets them.
    """

    name = "jax"
    description = "JAX, a buffer for each expert"

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether JAX is installed."""
        return installed("jax")

    def __init__(self, weights: Weights, *, top_k: int, threads: int, form: str = "capacity") -> None:
        experts = FORMS[check_option("form", form, tuple(FORMS))]
        if form == "ragged":
            require_finite(weights, "ragged_dot, which multiplies every row with every expert,")
        os.environ["NPROC"] = str(threads)  # read once, when XLA starts its threads; no option of JAX's sets them
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
        self.device = jax.devices("cpu")[0]
        self.weights = [self.to_native(w) for w in (weights.gate, weights.w1, weights.w2)]
        self.threads = _pool_threads()
        self._forward = jax.jit(partial(_layer, experts, top_k))

    def to_native(self, x: Float32Array) -> Any:
        """A (T, d) array of JAX's on the CPU."""
        import jax

        return jax.block_until_ready(jax.device_put(x, self.device))

    def to_numpy(self, y: Any) -> Float32Array:
        """A (T, d) array over the same memory."""
        return np.asarray(y)

    def forward(self, x: Any) -> Any:
        """x (T, d) → y (T, d)."""
        return self._forward(x, *self.weights).block_until_ready()


def _pool_threads() -> int:
    """Threads that XLA has for products: on Linux counted, elsewhere those asked for."""
    found = 0
    for task in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # a thread may end meanwhile
            found += task.read_text() == "tf_XLAEigen\n"
    return found or int(os.environ["NPROC"])


def _layer(experts_of: Any, top_k: int, x: Any, gate: Any, w1: Any, w2: Any) -> Any:
    """x (T, d) → y (T, d); `experts_of` maps x, w1, w2 and each slot's expert (T·k,) to outputs (T·k, d)."""
    import jax
    from jax import numpy as jnp

    if not len(x):
        return x
    all_logits = x @ gate
    logits, experts = jax.lax.top_k(all_logits, top_k)  # a tie goes to the lower number
    out = experts_of(x, w1, w2, experts.ravel()).reshape(len(x), top_k, -1)
    # A softmax over the chosen logits alone: dividing by their sum cancels the others.
    shares = jnp.where(jnp.isnan(all_logits).any(axis=1, keepdims=True), jnp.nan, jax.nn.softmax(logits))
    return jnp.einsum("tk,tkd->td", shares, out)


def _by_capacity(x: Any, w1: Any, w2: Any, experts: Any) -> Any:
    import jax
    from jax import numpy as jnp

    taken = experts[:, None] == jnp.arange(len(w1))  # (T·k, E)
    until = jnp.cumsum(taken, axis=0, dtype=jnp.int32)  # how many of each expert's slots there are so far
    places = jnp.take_along_axis(until, experts[:, None], axis=1)[:, 0] - 1  # (T·k,), in the expert's buffer
    sizes = _capacities(len(x), len(experts), len(w1))
    smallest = jnp.searchsorted(jnp.array(sizes), until[-1].max())
    return jax.lax.switch(smallest, [partial(_buffers, size) for size in sizes], x, w1, w2, experts, places)


def _capacities(tokens: int, slots: int, num_experts: int) -> list[int]:
    """Sizes of a buffer, from the mean to all tokens, close together where most routings fall."""
    mean = slots / num_experts
    sizes, above = [ceil(mean)], FIRST_STEP
    while sizes[-1] < tokens:
        sizes.append(min(tokens, ceil(mean * (1 + above))))
        above *= 2
    return sorted(set(sizes))


def _buffers(size: int, x: Any, w1: Any, w2: Any, experts: Any, places: Any) -> Any:
    """Outputs (T·k, d) of experts that have a buffer of `size` tokens each."""
    import jax
    from jax import numpy as jnp

    tokens = jnp.arange(len(experts)) // (len(experts) // len(x))
    filled = jnp.full((len(w1), size), len(x)).at[experts, places].set(tokens)
    rows = x.at[filled].get(mode="fill", fill_value=0)  # (E, size, d)
    hidden = jax.nn.relu(jnp.einsum("end,edf->enf", rows, w1))
    return jnp.einsum("enf,efd->end", hidden, w2)[experts, places]


def _ragged(x: Any, w1: Any, w2: Any, experts: Any) -> Any:
    import jax
    from jax import numpy as jnp

    order = jnp.argsort(experts)
    counts = jnp.bincount(experts, length=len(w1))
    hidden = jax.nn.relu(jax.lax.ragged_dot(x[order // (len(experts) // len(x))], w1, counts))
    return jax.lax.ragged_dot(hidden, w2, counts)[jnp.argsort(order)]


FORMS = {"capacity": _by_capacity, "ragged": _ragged}
