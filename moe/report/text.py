"""Numbers as text: units, significant digits, intervals; the same in terminal, table and sentence."""

import math

from moe.analysis import Interval
from moe.analysis.statistics import FEWEST_PROCESSES, FEWEST_ROUNDS
from moe.run import Measurement, Run

UNSURE_LIMIT = "limit not measured well"
SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


class Shown(str):
    """A number as text that still has the number: for tables, whose cells carry both.

    `number` is an Interval in which the ends are those of the text, or only a value without ends; `unit` is the one
    that it is in where the text may name another; `remark` is what was added to the text, which leaves both.
    """

    number: Interval
    unit: str
    remark: str

    def __new__(cls, text: str, number: Interval | float, unit: str = "", remark: str = "") -> "Shown":
        """The text of a number, at whose end may be a remark."""
        shown = super().__new__(cls, text)
        shown.number = number if isinstance(number, Interval) else Interval(number, -math.inf, math.inf)
        shown.unit, shown.remark = unit, remark
        return shown

    def __add__(self, remark: str) -> "Shown":
        return Shown(super().__add__(remark), self.number, self.unit, self.remark + remark)


def significant(value: float, digits: int = 3) -> Shown:
    """A number with `digits` significant digits, no exponent, and commas between thousands."""
    if value == 0 or not math.isfinite(value):
        return Shown(f"{value:g}", value)
    # Rounded first: 9.996 has one digit before the point, 10.0 two.
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return Shown(f"{rounded:,.{decimals}f}", value)


def seconds(value: float) -> Shown:
    """A duration in the unit that leaves the fewest zeros."""
    factor, unit = next((f, u) for f, u in (*SECONDS, (0.0, "ns")) if value >= f)
    return Shown(f"{significant(value / (factor or 1e-9))} {unit}", value, "s")


def span(interval: Interval, factor: float = 1.0) -> Shown:
    """An estimate with its interval: `20.3 [19.9–20.8]`, or `20.3 [?]` where too few rounds bound it."""
    i = interval.scaled(factor)
    return Shown(f"{significant(i.value)} {_ends(i)}", i)


def signed_span(interval: Interval, factor: float = 1.0, digits: int = 3) -> Shown:
    """The same of what may be less than nothing: `−2.1 [−8.0 to 3.9]`."""
    i = interval.scaled(factor)
    return Shown(f"{significant(i.value, digits)} {_ends(i, digits, ' to ')}".replace("-", "−"), i)


def times(interval: Interval) -> Shown:
    """A ratio with its interval: `1.31 × [1.27–1.35]`."""
    return Shown(f"{significant(interval.value)} × {_ends(interval)}", interval)


def _ends(interval: Interval, digits: int = 3, between: str = "–") -> str:
    if not interval.bounded:
        return "[?]"
    return f"[{significant(interval.low, digits)}{between}{significant(interval.high, digits)}]"


def power_of_ten(value: float) -> Shown:
    """A small number in scientific notation, without the padding of its exponent: `3.9e-7`."""
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return Shown(f"{mantissa.removesuffix('.0')}e{int(exponent)}" if value else "0", value)


def rate(value: float, unit: str) -> str:
    """A number of units, each written with its prefix, as 117 GFLOP/s."""
    prefix, factor = next(((p, f) for p, f in (("T", 1e12), ("G", 1e9)) if value >= f), ("M", 1e6))
    return f"{significant(value / factor)} {prefix}{unit}"


def percent(share: float) -> Shown:
    """A share as a percentage of two significant digits."""
    return Shown(f"{significant(100 * share, 2)} %", 100 * share, "%")


def printable(name: str) -> str:
    """A name as text: that of a file may be none."""
    return name.encode(errors="backslashreplace").decode()


def threads_text(count: int) -> str:
    """`1 thread`, `2 threads`."""
    return f"{count} thread" if count == 1 else f"{count} threads"


def label_text(label: str, tokens: int, whole: int, *, note: str = "", disturbed: bool = False) -> str:
    """A variant's name, with its `tokens` where it got fewer than the `whole` problem's.

    What the layer notes about itself, and that too few of its turns were undisturbed, stands beside the name.
    """
    few = f" ({tokens} of {whole:,} tokens)" if tokens != whole else ""
    noted = f" ({note})" if note else ""
    return label + few + noted + (" (disturbed)" if disturbed else "")


def bound_text(share: Interval, by: str) -> str:
    """A share of the limit and which limit that is, `by` arithmetic or memory; a share above 100 % is marked."""
    return span(share, 100) + f" % of {by}" + (f" ({UNSURE_LIMIT})" if share.value > 1 else "")


def share_text(share: Interval) -> str:
    """A share of the limit in percent, for a table; one above 100 is marked."""
    return span(share, 100) + (f" ({UNSURE_LIMIT})" if share.value > 1 else "")


def signed_percent(share: Interval) -> Shown:
    """A share that may be less than nothing, in percent: `53 [49 to 56]`."""
    return signed_span(share, 100, 2)


def speedup_text(speedup: Interval, resolved: bool) -> str:
    """A speedup for a table; says where it is not resolved."""
    return times(speedup) + ("" if resolved else " (not resolved)")


def lacking(m: Measurement, run: Run) -> str:
    """Why a measurement has no interval, and what would give it one."""
    if m.is_disturbed:
        return f"the machine gave too few undisturbed turns on {threads_text(m.probed_threads)}"
    rounds, processes = len(m.values_s), len(set(m.processes))
    if rounds >= FEWEST_ROUNDS and processes >= FEWEST_PROCESSES:
        return "too few rounds in common with what it is compared with"
    if rounds and processes >= FEWEST_PROCESSES:
        budget = 10 * math.ceil(run.protocol["budget_s"] * FEWEST_ROUNDS / rounds / 10)
        return f"{rounds} rounds, {FEWEST_ROUNDS} needed: --budget {budget}"
    return f"{processes} {'process' if processes == 1 else 'processes'}, {FEWEST_PROCESSES} needed"


def ratio_text(ratio: Interval, resolved: bool, *, why: str = "") -> str:
    """A ratio in a sentence: `1.31 × [1.27–1.35]`, whether it is resolved, and `why` it has no interval."""
    if not ratio.bounded:
        return f"about {significant(ratio.value, 2)} ×{f' ({why})' if why else ', without an interval'}"
    return times(ratio) + ("" if resolved else ", not resolved")
