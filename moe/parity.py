"""The one comparison of an output with the reference.

Routing is judged apart from arithmetic: a token whose choice of experts hangs on less than float32 can tell
may go either way, and is then compared with the output of the choice that it took. The tolerance is the precision's
and never moves.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from math import comb, inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe.reference import Reference


@dataclass(frozen=True)
class Tolerance:
    """How far an output may be from the reference.

    `largest` is of its largest error, over the reference's largest value; `rms` of the root mean square of all errors
    over that of all values.
    """

    largest: float
    rms: float


# float32: a sum of n products is off by some √n roundings of 2⁻²⁴, and layers of every library tried were by 2e-7 to
# 5e-6; one with a knob wrong shows errors from 6e-2 on.
# bfloat16: weights and x are held exactly, but what stands between the products, and an output, is rounded to 8 bits,
# a few times over where a library rounds after every step. One rounding costs at most u = 2⁻⁸ = 3.9e-3 of a value:
# 2e-2 is five of them, nearly twice the worst of some 1,100 layers of eight libraries (1.1e-2), and a third of the
# smallest error of a layer with one knob wrong. The root mean square is steadier (at worst 6.1e-3 there), so
# that half the room will do.
TOLERANCES = {"float32": Tolerance(1e-5, inf), "bfloat16": Tolerance(2e-2, 1e-2)}
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


def compare_output(output: object, ref: Reference) -> Parity:
    """Compare `output`, expected (T, d) float32, with the reference; anything but agreement fails."""
    allowed = TOLERANCES[ref.problem.weights.form.precision]
    tolerance = allowed.largest

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
    rerouted = []
    for token in tied:
        if row_error[token] > tolerance:
            other = _best_choice(ref, token, y[token], scale)
            if other <= tolerance:
                row_error[token] = other
                rerouted.append(token)
    worst_row = float(row_error.max(initial=0.0))
    reason = _not_finite(y, ref.y, row_error)
    if worst_row <= tolerance and (rms := _rms_error(y, ref.y, rerouted)) > allowed.rms:
        reason = f"root mean square of errors of {rms:.2e} of that of values, {allowed.rms:.0e} allowed"
    return verdict(worst_row, len(tied), len(rerouted), reason)


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


def _rms_error(y: NDArray[np.float64], expected: NDArray[np.float64], left_out: Sequence[int]) -> float:
    """Root mean square of the errors over that of the values, both where these are finite; 0 where none is."""
    counted = np.isfinite(expected)
    counted[list(left_out)] = False
    values = expected[counted]
    square = float(values @ values)
    errors = y[counted] - values
    return float(errors @ errors / square) ** 0.5 if square else 0.0


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
    possible = ref.contested[token]
    k = ref.problem.top_k
    if sum(comb(len(choice.open), k - len(choice.certain)) for choice in possible) > MOST_CHOICES:
        return inf
    outputs = (
        ref.output_for(token, (*choice.certain, *others))[None, :]
        for choice in possible
        for others in combinations(choice.open, k - len(choice.certain))
    )
    # Where the reference has nothing to go by, being NaN or 0 everywhere, an output is its own measure.
    errors = (_row_errors(y[None, :], other, scale or _largest(other))[0] for other in outputs)
    return min((float(error) for error in errors), default=inf)
