"""An input of its own for every forward, so that nothing is gained by remembering an answer."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from moe.config import MoEConfig
from moe.problem import Float32Array, skewed, uniform

PLACES = 2**18  # at which an input may begin: more than a worker has forwards
STEP = 648_055  # from one input's place to the next one's: odd, so that all places come before the first again


class Inputs:
    """Inputs x (T, d) float32 by number: copies of a stretch of random numbers, each from another place.

    The same number gives the same input in every process. Numbers that differ by a multiple of PLACES are one.
    """

    def __init__(self, config: MoEConfig) -> None:
        self._config = config
        self._values = _random(config.seed, 0, PLACES + config.tokens * config.d_model)

    def __getitem__(self, number: int) -> Float32Array:
        tokens, d_model = self._config.tokens, self._config.d_model
        place = number * STEP % PLACES
        x: Float32Array = self._values[place : place + tokens * d_model].reshape(tokens, d_model).copy()
        if self._config.skew:
            x[:, 0] = skewed(
                _random(self._config.seed, 1, PLACES + tokens)[place : place + tokens], self._config.skew
            )
        return x


@lru_cache(maxsize=4)
def _random(seed: int, stream: int, count: int) -> Float32Array:
    return uniform(np.random.SeedSequence([seed, 3, stream]), (count,), 1.0)
