"""Claims held against runs: what was measured of each, and whether it holds.

The rule, that of an equivalence test: a claim `holds` where the whole 95 % interval of its quantity lies within what
is claimed (a single number is taken as that number times or divided by MARGIN), on the claimed layer and all threads.
Where the interval lies wholly outside, it `fails`; where it does so there but holds at another place that was
measured, or with one set of the other factors on, it holds in a `region`. What was not measured, or so uncertainly
that neither can be said, is `unmeasurable`; why it was not judged says which. Factors are measured on fewer tokens of
the claimed layer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import combinations
from math import inf, nan, prod
from statistics import fmean
from typing import Any, NamedTuple

import pandas as pd

from moe.analysis.breakdown import Breakdown
from moe.analysis.frames import interval_columns
from moe.analysis.limits import limits_of
from moe.analysis.pairing import forwards_of, latency_of
from moe.analysis.statistics import Interval, ratio_interval, spread_of
from moe.analysis.summary import tokens_ratio
from moe.claims import Claims, kind_of, named_variants
from moe.config import MoEConfig
from moe.run import NOT_HERE, Measurement, Run
from moe.variant import Variant

MARGIN = 1.25  # what is published without an interval is not held to more than what a machine repeats
HOLDS, REGION, FAILS, UNMEASURABLE = VERDICTS = ("holds", "region", "fails", "unmeasurable")
# Why a claim was not judged; of several reasons the first of these.
NO_GPU = "no gpu"
NOT_INSTALLED = "not installed"
FAILED = "failed"
NOT_MEASURED = "not measured"  # though it could have been
NO_QUANTITY = "no quantity"  # it says nothing that could be measured anywhere
REASONS = (NO_GPU, NOT_INSTALLED, FAILED, NOT_MEASURED, NO_QUANTITY)
UNDECIDED = "undecided"  # measured, but not surely enough
ASKED = ("flops_per_s", "bytes_per_s", "of_peak", "of_bandwidth", "share_of_limit", "limits_threads", "limits_by")


class Found(NamedTuple):
    """A quantity as it was measured, and where; `on_all` if that is on the most threads that its run has."""

    value: Interval
    config: MoEConfig
    threads: int
    on_all: bool = True


class Evidence(NamedTuple):
    """What was measured of a quantity where it is claimed, what is missing of that and why, and what elsewhere.

    For a factor, elsewhere is what it gives with each set of the others on.
    """

    found: Found | None
    missing: str = ""
    why: str = ""  # one of REASONS
    elsewhere: tuple[Found, ...] = ()


class Trial:
    """A claims file before the runs that bear on it, and beside a replay of its source's protocol."""

    def __init__(self, claims: Claims, runs: Sequence[Run], replay: Run | None = None) -> None:
        self.claims = claims
        self.runs = runs
        self.replay = replay
        self._measurements = [m for run in runs for m in run.measurements]

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """One row a claim, in the file's order; what is not known is NaN, as both ends of no interval are.

        claimed is what the source says: a number, the two ends of a range, or None; claimed_low and _high are those
        ends. measured (_low, _high) is what was found, at `layer` (of so many tokens) on `threads`, and off how many
        times what is claimed that is. unjudged is the kind of reason why a claim is unmeasurable, or empty. elsewhere
        is each `Found` that is as claimed, least and most what a factor gives with any set of the others on, missing
        why something, or everything, was not measured. The columns of ASKED are what a throughput or a ratio would
        have this machine do, a second, and how many times its limits that is.
        """
        frame = pd.DataFrame([self._judge(claim) for claim in self.claims.by_id.values()])
        nearest = frame.measured.clip(frame.claimed_low, frame.claimed_high)
        is_off = (frame.measured > 0) & (nearest > 0) & (frame.measured != nearest) & (frame.kind != "order")
        return frame.assign(off=(frame.measured / nearest).where(is_off))

    @cached_property
    def replayed(self) -> pd.DataFrame:
        """One row for each of the source's own protocol, in tokens a second; none where it was not replayed.

        replayed is what its protocol gives here, measured (_low, _high) the variant `fair`, and over_first (_low,
        _high) how many times as fast that is as the first row's. A `hollow` row is arithmetic on another one, and no
        measurement.
        """
        rows = [self._replayed(row, m) for row, m in self._replays]
        numbers = ["replayed", *interval_columns("measured", None), *interval_columns("over_first", None)]
        words = ["name", "variant", "fair", "divided_by", "hollow", "published", "reason"]
        return pd.DataFrame(rows, columns=[*words, *numbers])

    @property
    def _replays(self) -> list[tuple[Mapping[str, Any], Measurement]]:
        """Each row of the source's protocol with its measurement, or none where the replay is of another file."""
        replayed = self.replay.measurements if self.replay else []
        if [row["name"] for row in self.claims.rows] != [m.label for m in replayed]:
            return []
        return list(zip(self.claims.rows, replayed, strict=True))

    def _replayed(self, row: Mapping[str, Any], m: Measurement) -> dict[str, Any]:
        pair = [row["fair"], self.claims.rows[0]["fair"]]
        fair = self._evidence({"throughput": row["fair"]}, self.claims.config).found
        over_first = self._evidence({"ratio": pair}, self.claims.config).found
        return {
            **row,
            "hollow": row["divided_by"] != 1.0,
            "published": self.claims.by_id[row["claim"]]["claimed"][0],
            "reason": m.reason,
            "replayed": row["divided_by"] * m.config.tokens / fmean(m.samples_s[0]) if m.status == "ok" else nan,
            **interval_columns("measured", fair and fair.value),
            **interval_columns("over_first", over_first and over_first.value),
        }

    def _judge(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        kind, (low, high) = kind_of(claim["quantity"]), claim["claimed"] or (nan, nan)
        found, missing, why, elsewhere = self._evidence(claim["quantity"], claim["layer"])
        alike = tuple(other for other in elsewhere if _verdict(low, high, other.value) == HOLDS)
        verdict, unjudged = (_verdict(low, high, found.value), UNDECIDED) if found else (UNMEASURABLE, why)
        if verdict == FAILS and alike:
            verdict = REGION
        if verdict == HOLDS and missing:  # of an order, all parts must be known
            verdict, unjudged = UNMEASURABLE, why
        gains = [other.value.value for other in elsewhere] if kind == "factor" else []
        return {
            **{key: claim[key] for key in ("id", "quote", "note")},
            "kind": kind,
            "claimed": low if low == high else claim["claimed"],
            "claimed_low": low,
            "claimed_high": high,
            **interval_columns("measured", found and found.value),
            "verdict": verdict,
            "unjudged": unjudged if verdict == UNMEASURABLE else "",
            "layer": found.config.label if found else "",
            "threads": found.threads if found else 0,
            "tokens": found.config.tokens if found else 0,
            "least": min(gains, default=nan),
            "most": max(gains, default=nan),
            "elsewhere": () if kind == "factor" else alike,
            "missing": missing,
            **dict.fromkeys(ASKED, nan),
            **self._asked(claim),
        }

    def _evidence(self, quantity: Mapping[str, Any], config: MoEConfig) -> Evidence:
        match quantity:
            case {"none": reason}:
                return Evidence(None, reason, NO_QUANTITY)
            case {"factor": factor, "experiment": experiment}:
                return self._of_factor(factor, experiment)
            case {"order": parts}:
                return self._of_order(parts)
        everywhere = list(self._everywhere(quantity))
        there = [f for f in everywhere if f.on_all and _same(f.config, config)]
        elsewhere = tuple(f for f in everywhere if f not in there)
        if there:
            return Evidence(there[0], elsewhere=elsewhere)
        missing, why = self._lacking(quantity, config)
        found = self._by_its_protocol(quantity, config)
        if found:
            missing = "an interval: timed in one process, by the source's own protocol"
        return Evidence(found, missing, why, elsewhere)

    def _by_its_protocol(self, quantity: Mapping[str, Any], config: MoEConfig) -> Found | None:
        """A throughput that only the replay has: from one process, so without an interval."""
        for row, m in self._replays:
            wanted = row["divided_by"] == 1.0 and m.variant == quantity.get("throughput")
            if wanted and m.status == "ok" and _same(m.config, config):
                return Found(Interval(m.config.tokens / fmean(m.samples_s[0]), 0.0, inf), m.config, m.threads)
        return None

    def _of_order(self, parts: Mapping[str, Mapping[str, Any]]) -> Evidence:
        """How many pairs of parts are the other way round, at least and at most."""
        gains = {name: self._evidence(part, self.claims.config) for name, part in parts.items()}
        known = [gain.found for gain in gains.values() if gain.found and gain.found.value.bounded]
        lacking = {name: gain for name, gain in gains.items() if gain.found not in known}
        missing = "; ".join(f"{name}: {gain.missing or 'too few rounds'}" for name, gain in lacking.items())
        why = min((gain.why or NOT_MEASURED for gain in lacking.values()), key=REASONS.index, default="")
        if len(known) < 2:
            return Evidence(None, missing, why)
        pairs = [(first.value, later.value) for first, later in combinations(known, 2)]
        reversed_ = Interval(
            sum(later.value > first.value for first, later in pairs),
            sum(later.low > first.high for first, later in pairs),
            sum(later.high > first.low for first, later in pairs),
        )
        return Evidence(Found(reversed_, self.claims.config, max(f.threads for f in known)), missing, why)

    def _of_factor(self, name: str, experiment_name: str) -> Evidence:
        """What a factor gives in the first breakdown of the claimed layer, whatever its tokens."""
        missing = "no breakdown was measured"
        for breakdown in map(Breakdown, self.runs):
            experiment = next(e for e in (breakdown.mojo, breakdown.framework) if e.name == experiment_name)
            if not breakdown.asked_for(experiment):
                continue
            size = breakdown.run.measurements[0].config
            lacking = breakdown.missing(experiment)
            if not _same(size, self.claims.config, tokens=1):
                missing = f"the breakdown was measured at {size.label}"
            elif name not in experiment.factors:
                missing = f"{name} is no factor of the breakdown that was measured"
            elif lacking:
                missing = lacking[0]
            else:
                factor = next(f for f in breakdown.attribution(experiment).factors if f.name == name)
                whole, *alone = (Found(times, size, breakdown.threads[-1]) for times in (factor.times, *factor.alone))
                return Evidence(whole, elsewhere=tuple(alone))
        return Evidence(None, missing, NOT_MEASURED)

    def _everywhere(self, quantity: Mapping[str, Any]) -> Iterator[Found]:
        """A quantity of one or two variants, at every place where it was measured."""
        first, *second = named_variants(quantity)
        compare = _variation_ratio if "variation" in quantity else tokens_ratio
        for run in self.runs:
            measured = [m for m in run.measurements if m.status == "ok" and m.samples_s and not m.control]
            for m in (m for m in measured if m.label == first):
                beside = (other for other in measured if [other.label] == second)
                there = next((o for o in beside if (o.config, o.threads) == (m.config, m.threads)), None)
                value = compare(m, there) if there else None
                # Elsewhere a throughput is that of another layer; only its number of tokens may differ.
                if not second and _same(m.config, self.claims.config, tokens=1):
                    value = latency_of(m).inverse(m.config.tokens)
                if value:
                    yield Found(value, m.config, m.threads, m.threads == max(run.protocol["threads"]))

    def _lacking(self, quantity: Mapping[str, Any], config: MoEConfig) -> tuple[str, str]:
        """Which of a quantity's variants has no numbers on a layer, and the kind of reason."""
        reasons = [reason for variant in named_variants(quantity) if (reason := self._lack(variant, config))]
        together = "they were not measured there together, on all threads", NOT_MEASURED
        return min(reasons, key=lambda reason: REASONS.index(reason[1]), default=together)

    def _lack(self, variant: str, config: MoEConfig) -> tuple[str, str] | None:
        """Why a variant has no numbers on a layer, and the kind of reason; None where it has some.

        What the runs do not say is not known: the machine that reads them may be another one.
        """
        there = [m for m in self._measurements if m.variant == variant and _same(m.config, config)]
        if any(m.status == "ok" for m in there):
            return None
        reason, kind = next((m.reason for m in there if m.reason), f"not measured at {config.label}"), NOT_MEASURED
        if any(m.status == "failed" for m in there):
            kind = FAILED
        elif variant in self._absent:
            reason = self._absent[variant]
            kind = NOT_INSTALLED if Variant.read(variant).device == "cpu" else NO_GPU
        return f"{variant}: {reason}", kind

    @cached_property
    def _absent(self) -> dict[str, str]:
        """Variants that could not run where the runs were made, and why."""
        found: dict[str, str] = dict(self.replay.protocol.get(NOT_HERE, {})) if self.replay else {}
        found |= {m.variant: m.reason for m in self._measurements if m.status == "not_run" and not m.is_open}
        ran = {m.variant for m in self._measurements if m.status == "ok"}
        return {variant: why for variant, why in found.items() if variant not in ran}

    def _asked(self, claim: Mapping[str, Any]) -> dict[str, Any]:
        """What a claim about throughput asks of the processor, by the limits and the baseline measured here."""
        quantity, config = claim["quantity"], claim["layer"]
        if not {"throughput", "ratio"} & set(quantity) or claim["claimed"][0] <= 0:
            return {}
        first, *others = named_variants(quantity)
        base = [self._evidence({"throughput": other}, config).found for other in others]
        limits = [limits_of(run, max(run.protocol["threads"])) for run in self.runs]
        here = next(filter(None, limits), None)
        if here is None or None in base or Variant.read(first).device != "cpu":
            return {}
        seconds = config.tokens / (claim["claimed"][0] * prod(f.value.value for f in base if f))
        flops, size = config.flops, config.expected_bytes
        arithmetic, memory = here.arithmetic_s(config), size / here.bandwidth(size)
        each = (flops, size, arithmetic, memory, max(arithmetic, memory))
        return dict(zip(ASKED, (*(part / seconds for part in each), here.threads, here.by), strict=True))


def _same(config: MoEConfig, other: MoEConfig, **but: Any) -> bool:
    """Whether two layers have the same sizes, `but` for those that are given."""
    return replace(config, seed=0, **but) == replace(other, seed=0, **but)


def _variation_ratio(above: Measurement, below: Measurement) -> Interval | None:
    """How much more the single forwards of one vary than those of another, process by process."""
    ours, theirs = _variations(above), _variations(below)
    common = [p for p in ours if p in theirs and ours[p] > 0 and theirs[p] > 0]
    if not common:
        return None
    sure = not (above.is_disturbed or below.is_disturbed)
    return ratio_interval([ours[p] for p in common], [theirs[p] for p in common], common, sure=sure)


def _variations(m: Measurement) -> dict[int, float]:
    samples: dict[int, list[float]] = {}
    for process, seconds in forwards_of(m):
        samples.setdefault(process, []).append(seconds)
    return {process: spread_of(values).variation for process, values in samples.items()}


def _verdict(low: float, high: float, measured: Interval) -> str:
    """By what was measured where it was claimed alone; the ends of a range are bounds, and stay."""
    least, most = (low / MARGIN, high * MARGIN) if low == high else (low, high)
    if not measured.bounded:
        return UNMEASURABLE
    if least <= measured.low and measured.high <= most:
        return HOLDS
    return FAILS if measured.high < least or measured.low > most else UNMEASURABLE
