"""Weights and input of a layer: made from a seed, the same bits on every machine."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe import bfloat16
from moe.config import MoEConfig
from moe.form import Form
from moe.ranges import Range
from moe.weights import DIMENSIONS, shapes_of
from moe.weights import Float32Array as Float32Array
from moe.weights import Weights as Weights

SKEW_LOGIT = 10.0  # other logits are of order 1
INNER_VARIANCE = 2  # of x·w1 and x·w3
INNER_VARIANCE_CLAMPED = 16  # of swiglu-oai's: about one in twelve lies beyond its clamps
# The root mean square of what then goes into the second product, by expert.
HIDDEN = {"relu": 1.0, "relu2": 2.45, "gelu": 0.96, "swiglu": 1.26, "geglu": 1.36, "swiglu-oai": 10.06}


def check_input(x: Float32Array, d_model: int, precision: str = "float32") -> Float32Array:
    """`x` as plain row-major memory; raises TypeError or ValueError unless it is (T, d) float32 of that precision."""
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        found = x.dtype if isinstance(x, np.ndarray) else type(x).__name__
        raise TypeError(f"x must be a float32 NumPy array, got {found}")
    if x.ndim != 2 or x.shape[1] != d_model:
        raise ValueError(f"x must have shape (tokens, {d_model}), got {x.shape}")
    # NumPy calls an array of at most one row contiguous whatever its stride; PyTorch refuses a negative one.
    x = np.ascontiguousarray(x) if min(x.strides) >= 0 else x.copy()
    if precision == "bfloat16" and not bfloat16.is_held(x):
        raise ValueError("x has numbers that bfloat16 can't hold, and precision is bfloat16")
    return x


def check_top_k(top_k: int | np.integer[Any], num_experts: int, form: Form) -> int:
    """`top_k` itself; raises ValueError unless it is between 1 and the number of experts that may be chosen."""
    found = int(top_k) if isinstance(top_k, np.integer) else top_k
    if found not in Range(1, num_experts, whole=True):
        raise ValueError(f"top_k must be between 1 and num_experts ({num_experts}), got {top_k!r}")
    form.require_fit(num_experts, found)
    return found


@dataclass(frozen=True)
class Problem:
    """Weights, input x (T, d) float32, and the number of experts that each token takes."""

    weights: Weights
    x: Float32Array
    top_k: int

    def __post_init__(self) -> None:
        w = self.weights
        object.__setattr__(self, "x", check_input(self.x, w.d_model, w.form.precision))
        check_top_k(self.top_k, w.num_experts, w.form)

    @property
    def config(self) -> MoEConfig:
        """The sizes and form of this problem (its seed is not known here)."""
        w = self.weights
        return MoEConfig(len(self.x), w.d_model, w.d_ff, w.num_experts, self.top_k, **w.knobs)

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
    if config.precision == "bfloat16":
        for x in inputs:
            bfloat16.round_in_place(x)
    return inputs


def skewed(drawn: Float32Array, skew: int) -> NDArray[np.intp]:
    """The first feature of tokens of which `skew` percent are to take expert 0.

    `drawn` are `uniform` numbers of deviation 1, between -√3 and √3; `make_weights` has the feature's sign decide.
    """
    return np.where(drawn < (2 * skew / 100 - 1) * np.sqrt(3), 1, -1)


def make_weights(config: MoEConfig) -> Weights:
    """The weights that `config` stands for; they do not depend on its tokens or top_k.

    Scaled so that logits and outputs are of order 1 at every size and form, which keeps routing spread over the
    experts and lets every knob count: an output near zero would hide mistakes.
    """
    streams = np.random.SeedSequence([config.seed, 0]).spawn(len(DIMENSIONS))
    shapes, deviations = shapes_of(config), _deviations(config)
    arrays = {
        name: uniform(stream, shapes[name], deviations[name])
        for name, stream in zip(DIMENSIONS, streams, strict=True)
        if name in shapes
    }
    if config.skew:
        # The first feature is 1 or -1 and speaks for or against expert 0 alone, louder than all others together.
        arrays["gate"][0, :] = 0
        arrays["gate"][0, 0] = SKEW_LOGIT
    if config.precision == "bfloat16":
        for array in arrays.values():
            bfloat16.round_in_place(array)
    return Weights(**arrays, form=config.form)


def _deviations(config: MoEConfig) -> dict[str, float]:
    d, f, s, experts = config.d_model, config.d_ff, max(1, config.shared_d_ff), config.num_experts
    variance = INNER_VARIANCE_CLAMPED if config.expert == "swiglu-oai" else INNER_VARIANCE
    inner = (variance / d) ** 0.5
    # Where k weights don't add up to 1 they are made up for: by about E / 4 for a softmax, by nothing for sigmoids.
    made_up = max(1.0, experts / 4) if config.score == "softmax" and not config.renormalise else 1.0
    before, after = (made_up / config.scale, 1.0) if config.weight_on == "input" else (1.0, made_up / config.scale)
    return {
        "gate": d**-0.5,
        "w1": inner * before,
        "w2": f**-0.5 / HIDDEN[config.expert] * after,
        "w3": inner * before,
        # As far apart as scores are.
        "select_bias": 0.1 if config.score == "sigmoid" else 1 / experts,
        "gate_bias": 0.5,  # of 1 some experts would get hardly any token
        "b1": 1.0,
        "b2": after,
        "b3": 1.0,
        "shared_w1": inner,
        "shared_w2": s**-0.5 / HIDDEN[config.expert],
        "shared_w3": inner,
        "shared_gate": d**-0.5,
    }


def make_problem(config: MoEConfig) -> Problem:
    """Weights and input of `config`, seeded, the same on every machine."""
    return Problem(make_weights(config), make_inputs(config, 1)[0], config.top_k)
