"""An input of its own for every forward, so that nothing is gained by remembering an answer or by guessing ahead."""

from functools import lru_cache
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from moe import bfloat16
from moe.config import MoEConfig
from moe.measure.protocol import Protocol
from moe.problem import Float32Array, skewed, uniform

PLACES = 2**16  # in the numbers at which an input may begin
READY_BYTES = 2**26  # of inputs that are made before they are timed
SHORTEST_S = 1e-6  # that a forward is taken to last
MOST_FORWARDS = 2_000  # of a turn: the middle of more is no truer
LONGEST = 10  # times a turn's time: what its forwards may take by another clock than their worker's
KNOWN = 0  # the secret of the inputs whose outputs are compared before anything is timed


class Inputs:
    """`count` inputs x (T, d) float32 by number, or the same ones again after the last.

    Each is a stretch of the same random numbers, from a place of its own and with every feature's sign drawn anew:
    those before tell nothing of it, and little has to be drawn. The same secret gives the same in every process.
    """

    def __init__(self, config: MoEConfig, secret: int, count: int = MOST_FORWARDS) -> None:
        self._config = config
        drawn = np.random.PCG64(np.random.SeedSequence([config.seed, 4, secret]))
        self._words = drawn.random_raw((count, 1 + ceil(config.d_model / 64))).astype("<u8")

    def __getitem__(self, number: int) -> Float32Array:
        config, words = self._config, self._words[number % len(self._words)]
        values, first = numbers_of(config)
        begin = int(words[0]) % PLACES
        x: Float32Array = values[begin : begin + config.tokens * config.d_model].reshape(-1, config.d_model).copy()
        x *= 2 * np.unpackbits(words[1:].view(np.uint8), count=config.d_model).astype(np.float32) - 1
        if first is not None:
            x[:, 0] = first[begin : begin + config.tokens]
        return x


@lru_cache(maxsize=1)
def numbers_of(config: MoEConfig) -> tuple[Float32Array, NDArray[np.intp] | None]:
    """What all inputs for a problem are taken from, and the first features of its tokens where those are skewed."""
    values, drawn = np.random.SeedSequence([config.seed, 3]).spawn(2)
    numbers = uniform(values, (PLACES + config.tokens * config.d_model,), 1.0)
    if config.precision == "bfloat16":
        bfloat16.round_in_place(numbers)
    return numbers, skewed(uniform(drawn, (PLACES + config.tokens,), 1.0), config.skew) if config.skew else None


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
