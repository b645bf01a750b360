"""What numbers may be: every option, parameter and field that is one is held to a range, and says which."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Numbers from `least`, or with `above` from anything greater, to `most`: neither infinite nor NaN."""

    least: float
    most: float
    whole: bool = False
    above: bool = False

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        return self.least <= value <= self.most and not (self.above and value == self.least)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} {'greater than' if self.above else 'of at least'} {self.least:g}, at most {self.most:.10g}"

    def check(self, name: str, value: object) -> None:
        """Raise ValueError, naming what it is and what was expected, for a value outside."""
        if value not in self:
            raise ValueError(f"{name} must be {self}, got {value!r}")


SIZE = Range(1, 2**31 - 1, whole=True)
SIZE_OR_NONE = Range(0, SIZE.most, whole=True)
SEED = Range(0, 2**63 - 1, whole=True)
THREADS = Range(1, 4096, whole=True)
COUNT = Range(1, 10_000, whole=True)
RUNS = Range(2, 1000, whole=True)
SECONDS = Range(0, 1e8, above=True)  # three years
SHARE = Range(0, 1e6, above=True)
PAUSE = Range(0, 1e8)
