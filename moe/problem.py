"""Weights and input of a layer: made from a seed, the same bits on every machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe.config import MoEConfig
from moe.ranges import Range

Float32Array = NDArray[np.float32]

SKEW_LOGIT = 10.0  # other logits are of order 1


@dataclass(frozen=True)
class Weights:
    """A layer's weights, all float32: gate (d, E), w1 (E, d, f), w2 (E, f, d).

    Raises TypeError for another dtype and ValueError for shapes that do not fit together.
    """

    gate: Float32Array
    w1: Float32Array
    w2: Float32Array

    def __post_init__(self) -> None:
        for name, ndim in (("gate", 2), ("w1", 3), ("w2", 3)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.float32:
                found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
                raise TypeError(f"{name} must be a float32 NumPy array, got {found}")
            if array.ndim != ndim or 0 in array.shape:
                raise ValueError(f"{name} must have {ndim} dimensions, none of them 0, got shape {array.shape}")
            # Every implementation may rely on plain row-major memory.
            object.__setattr__(self, name, np.ascontiguousarray(array))
        experts, d_model, d_ff = self.w1.shape
        if self.gate.shape != (d_model, experts):
            raise ValueError(f"gate must have shape {(d_model, experts)} to fit w1, got {self.gate.shape}")
        if self.w2.shape != (experts, d_ff, d_model):
            raise ValueError(f"w2 must have shape {(experts, d_ff, d_model)} to fit w1, got {self.w2.shape}")

    @property
    def d_model(self) -> int:
        """Width of a token."""
        return int(self.w1.shape[1])

    @property
    def d_ff(self) -> int:
        """Hidden width of an expert."""
        return int(self.w1.shape[2])

    @property
    def num_experts(self) -> int:
        """Number of experts."""
        return int(self.w1.shape[0])


def check_input(x: Float32Array, d_model: int) -> Float32Array:
    """`x` as plain row-major memory; raises TypeError or ValueError unless it is (T, d) float32."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"x must be a float32 NumPy array, got {found}")
    if x.ndim != 2 or x.shape[1] != d_model:
        raise ValueError(f"x must have shape (tokens, {d_model}), got {x.shape}")
    # NumPy calls an array of at most one row contiguous whatever its stride; PyTorch refuses a negative one.
    return np.ascontiguousarray(x) if min(x.strides) >= 0 else x.copy()


def check_top_k(top_k: int | np.integer[Any], num_experts: int) -> int:
    """`top_k` itself; raises ValueError unless it is between 1 and the number of experts."""
    found = int(top_k) if isinstance(top_k, np.integer) else top_k
    if found not in Range(1, num_experts, whole=True):
        raise ValueError(f"top_k must be between 1 and num_experts ({num_experts}), got {top_k!r}")
    return found


@dataclass(frozen=True)
class Problem:
    """Weights, input x (T, d) float32, and the number of experts that each token takes."""

    weights: Weights
    x: Float32Array
    top_k: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", check_input(self.x, self.weights.d_model))
        check_top_k(self.top_k, self.weights.num_experts)

    @property
    def config(self) -> MoEConfig:
        """The sizes of this problem (its seed is not known here)."""
        w = self.weights
        return MoEConfig(len(self.x), w.d_model, w.d_ff, w.num_experts, self.top_k)

    def bytes_moved(self, experts: NDArray[np.intp]) -> float:
        """Bytes that one forward must move under the routing `experts` (T, k)."""
        return self.config.bytes_for(len(np.unique(experts)))


def uniform(seed: np.random.SeedSequence, shape: tuple[int, ...], std: float) -> Float32Array:
    """Uniform float32 of mean 0 and standard deviation `std`.

    Made from a bit generator's raw words, whose stream NumPy guarantees (it does not guarantee that of a
    distribution), by operations that IEEE arithmetic rounds the same way everywhere.
    """
    count = int(np.prod(shape))
    words = np.random.PCG64(seed).random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
    # 24 bits fit a float32 exactly; the middle of each step keeps the mean at 0.
    centred = (words >> 8).astype(np.float32) - np.float32(2**23 - 0.5)
    return (centred * np.float32(std * 12**0.5 / 2**24)).reshape(shape)


def make_inputs(config: MoEConfig, count: int) -> list[Float32Array]:
    """`count` different inputs x (T, d) for the weights of `config`; the first is the problem's own.

    An input with fewer tokens is the beginning of one with more.
    """
    streams = np.random.SeedSequence([config.seed, 1]).spawn(count)
    inputs = [uniform(stream, (config.tokens, config.d_model), 1.0) for stream in streams]
    if config.skew:
        for x, stream in zip(inputs, np.random.SeedSequence([config.seed, 2]).spawn(count), strict=True):
            drawn = uniform(stream, (config.tokens,), 1.0)
            x[:, 0] = skewed(drawn, config.skew)
    return inputs


def skewed(drawn: Float32Array, skew: int) -> NDArray[np.intp]:
    """The first feature of tokens of which `skew` percent are to take expert 0.

    `drawn` are `uniform` numbers of deviation 1, between -√3 and √3; `make_weights` has the feature's sign decide.
    """
    return np.where(drawn < (2 * skew / 100 - 1) * np.sqrt(3), 1, -1)


def make_weights(config: MoEConfig) -> Weights:
    """The weights that `config` stands for; they do not depend on its tokens or top_k.

    Scaled so that logits and outputs are of order 1 at every size, which keeps routing spread over the experts.
    """
    gate, w1, w2 = np.random.SeedSequence([config.seed, 0]).spawn(3)
    d, f, experts = config.d_model, config.d_ff, config.num_experts
    router = uniform(gate, (d, experts), d**-0.5)
    if config.skew:
        # The first feature is 1 or -1 and speaks for or against expert 0 alone, louder than all others together.
        router[0, :] = 0
        router[0, 0] = SKEW_LOGIT
    return Weights(
        gate=router,
        w1=uniform(w1, (experts, d, f), (2 / d) ** 0.5),
        w2=uniform(w2, (experts, f, d), f**-0.5),
    )


def make_problem(config: MoEConfig) -> Problem:
    """Weights and input of `config`, seeded, the same on every machine."""
    return Problem(make_weights(config), make_inputs(config, 1)[0], config.top_k)
