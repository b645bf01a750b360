"""Plain words for first sentences: names as people write them, and numbers no finer than their intervals."""

import re
from collections.abc import Sequence
from math import floor, isfinite, log10
from textwrap import shorten

from moe.analysis import Interval
from moe.report.text import significant

TITLES = {
    "python": "pure Python",
    "numpy": "NumPy",
    "torch-naive": "PyTorch token by token",
    "torch": "PyTorch",
    "mojo": "Mojo",
    "numpy[dtype=float64]": "NumPy in float64",
    "torch[device=cuda,transfer=on]": "PyTorch on a GPU",
}
FACTORS = {
    "simd": "vector instructions",
    "tile": "tiles in registers",
    "batch": "batching by expert",
    "specialize": "sizes compiled in",
    "pool": "kept workspace",
    "framework": "the framework itself",
}
FEWEST_DIGITS, MOST_DIGITS = 2, 3  # with one a number would seem another than the figure's
MOST_WORDS = 80
REMARK = re.compile(r" \([^()]*\)(?=[,;:.]| and )")
LONGEST_REASON = 60  # characters in the first screen


def title_of(label: str) -> str:
    """An implementation's name in a sentence: that of a third party's is as it was given."""
    return TITLES.get(label, label)


def factor_of(name: str) -> str:
    """A factor in words, or its name where that says it."""
    return FACTORS.get(name, name)


def begin(sentence: str) -> str:
    """A sentence with a capital at its beginning."""
    return sentence[:1].upper() + sentence[1:]


def joined(sentences: Sequence[str]) -> str:
    """Sentences as one, the later ones as its last parts."""
    first, *others = (sentence.removesuffix(".") for sentence in sentences)
    return "; ".join([first, *(other[:1].lower() + other[1:] for other in others)]) + "."


def rounded(interval: Interval) -> str:
    """An estimate of two digits or more, the last no coarser than half its interval: `1.4` of 1.41 [1.21–1.54]."""
    return significant(interval.value, _digits(interval))


def with_ends(interval: Interval) -> str:
    """A ratio as `rounded` has it, and the ends of its interval no finer: `1.4 × [1.2–1.5]`."""
    low, high = (significant(end, _digits(interval)) for end in (interval.low, interval.high))
    return f"{rounded(interval)} × [{low}–{high}]"


def _digits(interval: Interval) -> int:
    value = interval.value
    if not interval.bounded or value <= 0 or not isfinite(value):
        return FEWEST_DIGITS
    half = (interval.high - interval.low) / 2
    digits = floor(log10(value)) - floor(log10(half)) + 1 if half > 0 else MOST_DIGITS
    return max(FEWEST_DIGITS, min(MOST_DIGITS, digits))


def brief(reason: str) -> str:
    """A reason for the first screen, without remarks in parentheses: all of it stands in a table."""
    return shorten(re.sub(r" \([^()]*\)", "", reason), LONGEST_REASON, placeholder=" …")


def words_in(sentences: list[str]) -> int:
    """How many words sentences have together."""
    return sum(len(sentence.split()) for sentence in sentences)


def fitting(sentences: list[str]) -> list[str]:
    """Sentences, of which those with the longest remarks in parentheses lose them where MOST_WORDS words need it.

    Of two that are as long the later goes first.
    """
    lines, shorter = list(sentences), [REMARK.sub("", line) for line in sentences]
    for place in sorted(range(len(lines)), key=lambda n: (words_in([shorter[n]]) - words_in([lines[n]]), -n)):
        if words_in(lines) > MOST_WORDS:
            lines[place] = shorter[place]
    return lines


def counted(count: int, one: str, several: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count:,} {one if count == 1 else several}"


def listed(parts: list[str]) -> str:
    """`a, b and c`."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
