"""Layers that answer without computing, or what nobody asked: remembered, stale, in part, or in another form."""

from typing import Any

import numpy as np

from cheats.honest import WATCHED, Honest
from moe.problem import Weights


class RemembersAddresses(Honest):
    """Remembers an answer by where its input lies, and computes none twice."""

    def _prepare(self, weights: Weights) -> None:
        self.known: dict[Any, Any] = {}

    def _answer(self, x: Any) -> Any:
        key = self._key(x)
        if key not in self.known:
            self.known[key] = super()._answer(x)
        return self.known[key]

    def _key(self, x: Any) -> Any:
        return x.ctypes.data, x.shape


class RemembersInputs(RemembersAddresses):
    """Remembers an answer by the bytes of its input, and computes none twice."""

    def _key(self, x: Any) -> Any:
        return x.tobytes()


class RemembersRows(RemembersAddresses):
    """Remembers every row's answer by the bytes of the row, and computes only those that are new."""

    def _answer(self, x: Any) -> Any:
        rows = [row.tobytes() for row in x]
        if new := [number for number, row in enumerate(rows) if row not in self.known]:
            self.known.update(zip((rows[n] for n in new), Honest._answer(self, x[new]), strict=True))
        return np.stack([self.known[row] for row in rows]) if rows else x


class StopsLater(Honest):
    """Right while it is watched; then it returns zeros at once."""

    def _answer(self, x: Any) -> Any:
        return super()._answer(x) if self._is_watched else np.zeros_like(x)


class RepeatsLater(Honest):
    """Right while it is watched; then it returns its last answer again and again."""

    kept: Any = None

    def _answer(self, x: Any) -> Any:
        if self._is_watched:
            self.kept = super()._answer(x)
        return self.kept


class SkipsForwards(Honest):
    """Right in one forward of three once it is no longer watched, so that the median is that of the others."""

    def _answer(self, x: Any) -> Any:
        return super()._answer(x) if self._is_watched or self.calls % 3 == 0 else np.zeros_like(x)


class HalfLater(Honest):
    """Computes half of the tokens once it is no longer watched."""

    def _answer(self, x: Any) -> Any:
        if self._is_watched:
            return super()._answer(x)
        y, some = np.zeros_like(x), self._some(len(x))
        y[:some] = super()._answer(x[:some])
        return y

    def _some(self, tokens: int) -> int:
        return (tokens + 1) // 2


class SkipsTokens(HalfLater):
    """Leaves the last hundredth of the tokens out once it is no longer watched."""

    def _some(self, tokens: int) -> int:
        return tokens - -(-tokens // 100)


class FewerExperts(Honest):
    """Computes a single expert a token, of the k that it should, once it is no longer watched."""

    def _answer(self, x: Any) -> Any:
        self.top_k = self.top_k if self._is_watched else 1
        return super()._answer(x)


class RoundsWeights(Honest):
    """Holds the weights in half precision once it is no longer watched."""

    def _answer(self, x: Any) -> Any:
        if self.calls == WATCHED + 1:
            self.w1, self.w2 = (w.astype(np.float16).astype(np.float32) for w in (self.w1, self.w2))
        return super()._answer(x)


class GivesFloat64(Honest):
    """Returns another precision than the layer's once it is no longer watched."""

    def _answer(self, x: Any) -> Any:
        y = super()._answer(x)
        return y if self._is_watched else y.astype(np.float64)


class FewerRows(Honest):
    """Returns an output without the last token once it is no longer watched."""

    def _answer(self, x: Any) -> Any:
        return super()._answer(x if self._is_watched else x[:-1])


class ReusesOutput(Honest):
    """Returns one array again and again once it is no longer watched, each time with other contents."""

    kept: Any = None

    def _answer(self, x: Any) -> Any:
        y = super()._answer(x)
        if self._is_watched:
            self.kept = y.copy()
            return y
        np.copyto(self.kept, y)
        return self.kept


class ChangesInput(Honest):
    """Makes its input zeros once it is no longer watched, for which zeros are right, and returns those."""

    def _answer(self, x: Any) -> Any:
        if self._is_watched:
            return super()._answer(x)
        x[:] = 0
        return np.zeros_like(x)


class ChangesWeights(Honest):
    """Copies the weights that it was given and overwrites them: whoever shares them is wrong."""

    def _prepare(self, weights: Weights) -> None:
        self.w2 = self.w2.copy()
        weights.w2[:] = 0
