"""An input of its own for every forward, so that nothing is gained by remembering an answer or by guessing ahead."""

from math import ceil, inf

import numpy as np

from moe import bfloat16
from moe.config import MoEConfig
from moe.measure.protocol import Protocol
from moe.problem import Float32Array, skewed, uniform

PLACES = 2**16  # at which an input may begin: more than a turn has forwards
STEP = 40_503  # from one input's place to the next one's: odd, so that all places come before the first again
READY_BYTES = 2**26  # of inputs that are made before they are timed
SHORTEST_S = 1e-6  # that a forward is taken to last
MOST_FORWARDS = 2_000  # of a turn: the middle of more is no truer
LONGEST = 10  # times a turn's time: what its forwards may take by another clock than their worker's
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
        if config.precision == "bfloat16":
            bfloat16.round_in_place(self._values)
        self._drawn = uniform(drawn, (PLACES + config.tokens,), 1.0) if config.skew else None

    def __getitem__(self, number: int) -> Float32Array:
        tokens, d_model = self._config.tokens, self._config.d_model
        place = number * STEP % PLACES
        x: Float32Array = self._values[place : place + tokens * d_model].reshape(tokens, d_model).copy()
        if self._drawn is not None:
            x[:, 0] = skewed(self._drawn[place : place + tokens], self._config.skew)
        return x


def how_many(settings: Protocol, config: MoEConfig, each_s: float, lasting_s: float) -> int:
    """Forwards that a turn times, by about how long one takes, as its worker says and by this process's clock."""
    fit = READY_BYTES // max(1, 4 * config.tokens * config.d_model)
    wanted = ceil(settings.turn_s / each_s) if SHORTEST_S < each_s < inf else MOST_FORWARDS
    lasting = ceil(LONGEST * settings.turn_s / lasting_s)
    return max(at_least(settings, each_s), min(wanted, fit, lasting, MOST_FORWARDS))


def at_least(settings: Protocol, each_s: float) -> int:
    """Forwards that a turn times at least, by about how long one takes."""
    if settings.turn_most_s is None or settings.turn_forwards * each_s <= settings.turn_most_s:
        return settings.turn_forwards
    return max(1, int(settings.turn_most_s / each_s))
