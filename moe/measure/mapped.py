"""Weights made once and mapped by every worker: what one of them writes there nobody else sees."""

import mmap
import weakref
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moe.config import MoEConfig
from moe.problem import Weights
from moe.weights import shapes_of

PAGE = 4096  # each array begins on a page


def write_weights(weights: Weights, path: Path) -> None:
    """Write a problem's weights for `MappedWeights`; where there is no room for all of them, nothing stays."""
    try:
        with path.open("wb") as file:
            for array in weights.arrays().values():
                file.write(array.data)
                file.write(bytes(-array.nbytes % PAGE))
    except OSError:
        path.unlink(missing_ok=True)
        raise


class MappedWeights:
    """The weights of `config` at `path`, on pages that are copied where somebody writes.

    It keeps no reference to them: memory that no layer holds is given back.
    """

    def __init__(self, path: Path, config: MoEConfig) -> None:
        self._path = path
        self._config = config
        with path.open("rb") as file:
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._pages = weakref.ref(pages)
        self._unread: list[mmap.mmap] = [pages]

    def take(self) -> Weights:
        """The weights, once: from then on they belong to whoever holds them."""
        pages = self._unread.pop()
        arrays, place = {}, 0
        for name, shape in shapes_of(self._config).items():
            arrays[name] = array = np.frombuffer(pages, np.float32, prod(shape), place).reshape(shape)
            place += array.nbytes + -array.nbytes % PAGE
        return Weights(**arrays, form=self._config.form)

    @property
    def is_held(self) -> bool:
        """Whether somebody still has them."""
        return self._pages() is not None

    @property
    def changed(self) -> bool:
        """Whether whoever holds the weights has written to them."""
        pages = self._pages()
        if pages is None:
            return False
        # Whole pages: eight bytes at a time are all of them.
        now: NDArray[np.uint64] = np.frombuffer(pages, np.uint64)
        return not np.array_equal(now, np.memmap(self._path, np.uint64, "r"))
