"""The one comparison of an output with the reference.

Routing is judged apart from arithmetic: a token whose choice of experts hangs on less than the router's precision can
tell may go either way, and is then compared with the output of the choice that it took. The tolerance is the
precision's and never moves.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import comb, inf, isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe.form import ROUTER_PRECISION
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
# A token with more admissible sets of experts than this is not searched: by a router's precision. In float32 it has
# failed then; in bfloat16, where some tokens of every input are so, it is left out.
MOST_CHOICES = {ROUTER_PRECISION: 5_000, "bfloat16": 60}
MOST_LEFT_OUT = 0.5  # of the tokens of all outputs that were compared: those that are left out show nothing
UNJUDGED = "most of its tokens have too many choices of experts to be judged"
INPUT_CHANGED = "it changed its input"
WEIGHTS_CHANGED = "it changed the weights that it was given"


@dataclass(frozen=True)
class Parity:
    """Outcome of one comparison.

    max_rel_error is the largest |output − reference| over the largest |reference|, infinite where no such
    number exists. Of `tokens` that were compared tied_tokens could go either way by their router's precision;
    rerouted_tokens of them went the other way, and left_out_tokens could go too many ways to be held against any. One
    whose reason is UNJUDGED has neither passed nor shown anything wrong.
    """

    passed: bool
    max_rel_error: float
    tolerance: float
    tied_tokens: int
    rerouted_tokens: int
    reason: str
    tokens: int = 0
    left_out_tokens: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: an error without a number is null."""
        return asdict(self) | {"max_rel_error": self.max_rel_error if isfinite(self.max_rel_error) else None}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Parity":
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
    """The comparison that failed, if one did, or else that with the largest error; with the tokens of them all.

    Whether enough of them could be judged is asked of all together.
    """
    every = list(verdicts)
    found = max(every, key=lambda v: (not v.passed and v.reason != UNJUDGED, v.max_rel_error))
    counts = ((v.tied_tokens, v.rerouted_tokens, v.tokens, v.left_out_tokens) for v in every)
    tied, rerouted, tokens, left_out = map(sum, zip(*counts, strict=True))
    found = replace(found, tied_tokens=tied, rerouted_tokens=rerouted, tokens=tokens, left_out_tokens=left_out)
    return _judged(found) if found.passed or found.reason == UNJUDGED else found


def _judged(found: Parity) -> Parity:
    """A comparison that found nothing wrong: passed, unless too few of its tokens could be held against anything."""
    enough = found.left_out_tokens <= MOST_LEFT_OUT * found.tokens
    return replace(found, passed=enough, reason="" if enough else UNJUDGED)


def compare_output(output: object, ref: Reference) -> Parity:
    """Compare `output`, expected (T, d) float32, with the reference; anything but agreement fails.

    `ref.for_router(…)` is the reference for a layer whose router computes in another precision than float32.
    """
    allowed = TOLERANCES[ref.problem.weights.form.precision]
    tolerance = allowed.largest

    def verdict(error: float, tied: int, rerouted: int, reason: str, left_out: int = 0) -> Parity:
        passed = reason == "" and error <= tolerance
        if not passed and not reason:
            reason = f"error of {error:.2e} of the largest value, {tolerance:.0e} allowed"
        found = Parity(passed, error, tolerance, tied, rerouted, reason, len(ref.y), left_out)
        return _judged(found) if passed else found

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
    rerouted, left_out = [], []
    for token in tied:
        if row_error[token] > tolerance:
            other = _best_choice(ref, token, y[token], scale, tolerance)
            if other == inf and ref.router != ROUTER_PRECISION and row_error[token] < inf and _are_many(ref, token):
                row_error[token] = 0.0
                left_out.append(token)
            elif other <= tolerance:
                row_error[token] = other
                rerouted.append(token)
    worst_row = float(row_error.max(initial=0.0))
    reason = _not_finite(y, ref.y, row_error)
    if not reason and worst_row <= tolerance and (rms := _rms_error(y, ref.y, rerouted + left_out)) > allowed.rms:
        reason = f"root mean square of errors of {rms:.2e} of that of values, {allowed.rms:.0e} allowed"
    return verdict(worst_row, len(tied), len(rerouted), reason, len(left_out))


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


def _are_many(ref: Reference, token: int) -> bool:
    """Whether a token has too many admissible choices of experts to be searched."""
    possible, k = ref.contested[token], ref.problem.top_k
    count = sum(comb(len(choice.open), k - len(choice.certain)) for choice in possible)
    return not possible or count > MOST_CHOICES[ref.router]


def _best_choice(ref: Reference, token: int, y: NDArray[np.float64], scale: float, enough: float) -> float:
    """The smallest error of `y` (d,) over a token's admissible choices of experts, or the first that is `enough`."""
    possible, k = ref.contested[token], ref.problem.top_k
    if _are_many(ref, token):
        return inf
    outputs = (
        ref.output_for(token, (*choice.certain, *others))[None, :]
        for choice in possible
        for others in combinations(choice.open, k - len(choice.certain))
    )
    # Where the reference has nothing to go by, being NaN or 0 everywhere, an output is its own measure.
    errors = (float(_row_errors(y[None, :], other, scale or _largest(other))[0]) for other in outputs)
    least = inf
    for error in errors:
        least = min(least, error)
        if least <= enough:
            break
    return least
