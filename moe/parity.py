"""The one comparison of an output with the reference.

Routing is judged apart from arithmetic: a token whose choice of experts hangs on less than float32 can tell
may go either way, and is then compared with the output of the choice that it took. The tolerance never moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from math import comb, inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe.reference import Reference

TOLERANCE = 1e-5  # of the largest reference value
MOST_CHOICES = 5_000  # a token with more admissible sets of experts than this is not searched
INPUT_CHANGED = "it changed its input"
WEIGHTS_CHANGED = "it changed the weights that it was given"


@dataclass(frozen=True)
class Parity:
    """Outcome of one comparison.

    max_rel_error is the largest |output − reference| over the largest |reference|, infinite where no such
    number exists. tied_tokens could go either way in float32; rerouted_tokens of them went the other way.
    """

    passed: bool
    max_rel_error: float
    tolerance: float
    tied_tokens: int
    rerouted_tokens: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: an error without a number is null."""
        return asdict(self) | {"max_rel_error": self.max_rel_error if isfinite(self.max_rel_error) else None}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Parity:
        """The inverse of `to_dict`."""
        error = data["max_rel_error"]
        return cls(**{**data, "max_rel_error": inf if error is None else error})


def mark_of(*arrays: NDArray[np.float32]) -> int:
    """A number that tells whether somebody has written to arrays: that of their bits, NaN's among them."""
    mark = 0
    for array in arrays:
        mark = zlib.crc32(array.data, mark)
    return mark


def worst(verdicts: Iterable[Parity]) -> Parity:
    """The comparison that failed, if one did, or else that with the largest error."""
    return max(verdicts, key=lambda v: (not v.passed, v.max_rel_error))


def compare_output(output: object, ref: Reference, tolerance: float = TOLERANCE) -> Parity:
    """Compare `output`, expected (T, d) float32, with the reference; anything but agreement fails."""

    def verdict(error: float, tied: int, rerouted: int, reason: str) -> Parity:
        passed = reason == "" and error <= tolerance
        if not passed and not reason:
            reason = f"error of {error:.2e} of the largest value, {tolerance:.0e} allowed"
        return Parity(passed, error, tolerance, tied, rerouted, reason)

    if not isinstance(output, np.ndarray):
        return verdict(inf, 0, 0, f"output is a {type(output).__name__}, expected a NumPy array")
    if output.shape != ref.y.shape:
        return verdict(inf, 0, 0, f"output has shape {output.shape}, expected {ref.y.shape}")
    if output.dtype != np.float32:
        return verdict(inf, 0, 0, f"output is {output.dtype}, expected float32")

    y = output.astype(np.float64)
    scale = _largest(ref.y)
    row_error = _row_errors(y, ref.y, scale)
    tied = ref.contested
    rerouted = 0
    for token in tied:
        if row_error[token] > tolerance:
            other = _best_choice(ref, token, y[token], scale)
            if other <= tolerance:
                row_error[token] = other
                rerouted += 1
    return verdict(float(row_error.max(initial=0.0)), len(tied), rerouted, _not_finite(y, ref.y, row_error))


def _largest(y: NDArray[np.float64]) -> float:
    """The largest of the values that are finite; 0 where none is."""
    return float(np.abs(y[np.isfinite(y)]).max(initial=0.0))


@np.errstate(invalid="ignore")
def _row_errors(y: NDArray[np.float64], expected: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Largest error of each row over `scale`; where the reference is all zeros, only zeros are right.

    Infinite where NaN, which only NaN is, or another value that is not finite is expected or found alone.
    """
    finite = np.isfinite(expected)
    alike = np.where(np.isnan(expected), np.isnan(y), np.isfinite(y) == finite)
    difference = y - expected
    np.abs(difference, out=difference)
    difference[~(alike & finite)] = 0.0
    largest = difference.max(axis=1)
    errors = largest / scale if scale > 0 else np.where(largest > 0, inf, 0.0)
    return np.where(alike.all(axis=1), errors, inf)


def _not_finite(y: NDArray[np.float64], expected: NDArray[np.float64], row_error: NDArray[np.float64]) -> str:
    """What is wrong with the first row that has NaN or Inf where it should not, or lacks it where it should."""
    for token in np.flatnonzero(row_error == inf).tolist():
        if not np.isfinite(y[token][np.isfinite(expected[token])]).all():
            return f"output of token {token} is not finite, the reference is"
        if np.isnan(expected[token]).all():
            return "a token with NaN or Inf must give a row of NaN"
        if not np.isfinite(expected[token]).all():
            return f"output of token {token} lacks NaN or Inf that the reference has"
    return ""


def _best_choice(ref: Reference, token: int, y: NDArray[np.float64], scale: float) -> float:
    """The smallest error of `y` (d,) over all admissible choices of experts for one token."""
    candidates = ref.contested[token]
    certain = set(ref.experts[token].tolist()) - set(candidates)
    open_slots = ref.problem.top_k - len(certain)
    if comb(len(candidates), open_slots) > MOST_CHOICES:
        return inf
    choices = combinations(candidates, open_slots)
    outputs = (ref.output_for(token, (*sorted(certain), *choice))[None, :] for choice in choices)
    # Where the reference has nothing to go by, being NaN or 0 everywhere, an output is its own measure.
    return min(float(_row_errors(y[None, :], other, scale or _largest(other))[0]) for other in outputs)
