"""An input of its own for every forward, so that nothing is gained by remembering an answer or by guessing ahead."""

from __future__ import annotations

import numpy as np

from moe.config import MoEConfig
from moe.problem import Float32Array, skewed, uniform

PLACES = 2**16  # at which an input may begin: more than a turn has forwards
STEP = 40_503  # from one input's place to the next one's: odd, so that all places come before the first again
KNOWN = 0  # the secret of the inputs whose outputs are compared before anything is timed


class Inputs:
    """Inputs x (T, d) float32 by number: copies of a stretch of random numbers, each from another place.

    The same `secret` and number give the same input in every process. Whoever does not know the secret yet can't
    know the inputs; numbers that differ by a multiple of PLACES are one.
    """

    def __init__(self, config: MoEConfig, secret: int) -> None:
        self._config = config
        values, drawn = np.random.SeedSequence([config.seed, 3, secret]).spawn(2)
        self._values = uniform(values, (PLACES + config.tokens * config.d_model,), 1.0)
        self._drawn = uniform(drawn, (PLACES + config.tokens,), 1.0) if config.skew else None

    def __getitem__(self, number: int) -> Float32Array:
        tokens, d_model = self._config.tokens, self._config.d_model
        place = number * STEP % PLACES
        x: Float32Array = self._values[place : place + tokens * d_model].reshape(tokens, d_model).copy()
        if self._drawn is not None:
            x[:, 0] = skewed(self._drawn[place : place + tokens], self._config.skew)
        return x
