"""Claims held against runs: what was measured of each, and whether it holds.

The rule, that of an equivalence test: a claim `holds` where the whole 95 % interval of its quantity lies within what
is claimed (a single number is taken as that number times or divided by MARGIN), on the claimed layer and all threads.
Where the interval lies wholly outside, it `fails`; where it does so there but holds at another place that was
measured, or with one set of the other factors on, it holds in a `region`. What was not measured, or so uncertainly
that neither can be said, is `unmeasurable`. Factors are measured on fewer tokens of the claimed layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import prod
from statistics import fmean
from typing import Any

from moe.analysis.attribution import Factor
from moe.analysis.breakdown import Breakdown
from moe.analysis.limits import Limits, limits_of
from moe.analysis.pairing import forwards_of
from moe.analysis.statistics import Interval, ratio_interval, spread_of
from moe.analysis.summary import Row, Summary, summarise, tokens_ratio
from moe.claims import Claim, Claims, Product, SourceRow, named_variants
from moe.config import MoEConfig
from moe.implementations import availability
from moe.run import Measurement, Run
from moe.variant import Variant

MARGIN = 1.25  # what is published without an interval is not held to more than what a machine repeats
HOLDS, REGION, FAILS, UNMEASURABLE = VERDICTS = ("holds", "region", "fails", "unmeasurable")


@dataclass(frozen=True)
class Found:
    """A quantity as it was measured, and where; `on_all` if that is on the most threads that its run has."""

    value: Interval
    config: MoEConfig
    threads: int
    on_all: bool = True


@dataclass(frozen=True)
class Implied:
    """What a claim would have this machine do, a second, and the machine's limits on as many threads."""

    flops_per_s: float
    bytes_per_s: float
    limits: Limits
    bandwidth: float
    share_of_limit: float


@dataclass(frozen=True)
class Judgement:
    """A claim's verdict.

    found is what was measured where it was claimed; regions are where else it holds; factor is the whole finding of
    one that is about a factor; missing says why something, or everything, was not measured.
    """

    claim: Claim
    verdict: str
    found: Found | None = None
    regions: tuple[Found, ...] = ()
    factor: Factor | None = None
    missing: str = ""
    implied: Implied | None = None


@dataclass(frozen=True)
class Replayed:
    """A row of the source's own measurement, in tokens a second: published, replayed here, and measured fairly."""

    row: SourceRow
    published: float
    replayed: float | None
    fair: Interval | None
    reason: str

    @property
    def hollow(self) -> bool:
        """Whether it is arithmetic on another row, and no measurement."""
        return self.row.divided_by != 1.0


class Trial:
    """A claims file before the runs that bear on it."""

    def __init__(self, claims: Claims, runs: Sequence[Run], replay: Run | None = None) -> None:
        self.claims = claims
        self.summaries = [summarise(run) for run in runs]
        self.breakdowns = [Breakdown(run) for run in runs]
        self.replay = replay

    @cached_property
    def judgements(self) -> list[Judgement]:
        """One for every claim of the file, in its order."""
        return [replace(self._judge(claim), implied=self._implied(claim)) for claim in self.claims.claims]

    def product(self, product: Product) -> tuple[tuple[float, float], tuple[float, float]]:
        """The ends of what the parts multiply to, and of what is claimed of the whole."""
        parts = [claimed_of(self.claims.by_id[name]) for name in product.parts]
        whole = claimed_of(self.claims.by_id[product.whole])
        return (prod(low for low, _ in parts), prod(high for _, high in parts)), whole

    def fair_ratio(self, first: str, last: str) -> Interval | None:
        """How many times as fast the last is as the first on the claimed layer, by paired rounds."""
        found = self._where_claimed(self._found({"ratio": [last, first]}), self.claims.config)
        return found.value if found else None

    def replayed(self) -> list[Replayed]:
        """The rows of the source's own protocol; empty where it was not replayed."""
        protocol = self.claims.protocol
        if protocol is None or self.replay is None:
            return []
        if [row.name for row in protocol.rows] != [m.label for m in self.replay.measurements]:
            return []  # of another claims file
        found = []
        for row, m in zip(protocol.rows, self.replay.measurements, strict=True):
            published, _ = claimed_of(self.claims.by_id[row.claim])
            replayed = row.divided_by * m.config.tokens / fmean(m.samples_s[0]) if m.status == "ok" else None
            fair = self._where_claimed(self._found({"throughput": row.fair}), self.claims.config)
            found.append(Replayed(row, published, replayed, fair.value if fair else None, m.reason))
        return found

    def _judge(self, claim: Claim) -> Judgement:
        quantity = claim.quantity
        if "none" in quantity:
            return Judgement(claim, UNMEASURABLE, missing=quantity["none"])
        if "factor" in quantity:
            return self._judge_factor(claim)
        if "order" in quantity:
            return self._judge_order(claim)
        config = claim.config or self.claims.config
        everywhere = self._found(quantity)
        found = self._where_claimed(everywhere, config)
        elsewhere = [f for f in everywhere if not (_same_size(f.config, config) and f.on_all)]
        regions = tuple(f for f in elsewhere if _within(claim, f.value))
        missing = "" if found else self._why_missing(quantity, config)
        return Judgement(claim, _verdict(claim, found, region=bool(regions)), found, regions, missing=missing)

    def _judge_factor(self, claim: Claim) -> Judgement:
        found, factor, missing = self._factor(claim.quantity)
        if found is None or factor is None:
            return Judgement(claim, UNMEASURABLE, missing=missing)
        region = any(_within(claim, ratio) for ratio in factor.alone)
        return Judgement(claim, _verdict(claim, found, region=region), found, factor=factor)

    def _judge_order(self, claim: Claim) -> Judgement:
        """How many pairs are the other way round, at least and at most; all must be known for it to hold."""
        gains = {name: self._value(quantity) for name, quantity in claim.quantity["order"].items()}
        known = [f for f, _ in gains.values() if f is not None and f.value.bounded]
        lacking = [f"{name}: {why or 'too few rounds'}" for name, (f, why) in gains.items() if f not in known]
        missing = "; ".join(lacking)
        if len(known) < 2:
            return Judgement(claim, UNMEASURABLE, missing=missing)
        pairs = [(first.value, later.value) for first, later in combinations(known, 2)]
        reversed_ = Interval(
            sum(later.value > first.value for first, later in pairs),
            sum(later.low > first.high for first, later in pairs),
            sum(later.high > first.low for first, later in pairs),
        )
        found = Found(reversed_, self.claims.config, max(f.threads for f in known))
        verdict = _verdict(claim, found, region=False)
        return Judgement(claim, UNMEASURABLE if verdict == HOLDS and lacking else verdict, found, missing=missing)

    def _value(self, quantity: Mapping[str, Any]) -> tuple[Found | None, str]:
        """A quantity where it was claimed, or why there is none."""
        if "none" in quantity:
            return None, quantity["none"]
        if "factor" in quantity:
            found, _, missing = self._factor(quantity)
            return found, missing
        found = self._where_claimed(self._found(quantity), self.claims.config)
        return found, "" if found else self._why_missing(quantity, self.claims.config)

    def _factor(self, quantity: Mapping[str, Any]) -> tuple[Found | None, Factor | None, str]:
        """What a factor gives in the first breakdown of the claimed layer, whatever its tokens, or why none."""
        missing = "no breakdown was measured"
        for breakdown in self.breakdowns:
            experiment = next(e for e in (breakdown.mojo, breakdown.framework) if e.name == quantity["experiment"])
            if not breakdown.asked_for(experiment):
                continue
            size = breakdown.run.measurements[0].config
            lacking = breakdown.missing(experiment)
            if _layer(size) != _layer(self.claims.config):
                missing = f"the breakdown was measured at {size.label}"
            elif quantity["factor"] not in experiment.factors:
                missing = f"{quantity['factor']} is no factor of the breakdown that was measured"
            elif lacking:
                missing = lacking[0]
            else:
                factors = breakdown.attribution(experiment).factors
                factor = next(f for f in factors if f.name == quantity["factor"])
                return Found(factor.times, size, breakdown.threads[-1]), factor, ""
        return None, None, missing

    def _found(self, quantity: Mapping[str, Any]) -> list[Found]:
        """A quantity of one or two variants, everywhere that it was measured."""
        first, *others = named_variants(quantity)
        found = []
        for summary in self.summaries:
            most = max(summary.run.protocol["threads"])
            for row in (row for row in summary.rows if row.label == first and row.latency):
                beside = [_beside(summary, row, other) for other in others]
                value = _measured(quantity, row, *(other for other in beside if other))
                # A throughput elsewhere is that of another layer; only its number of tokens may differ.
                same = _layer(row.measurement.config) == _layer(self.claims.config)
                if value is not None and (same or "throughput" not in quantity):
                    found.append(Found(value, row.measurement.config, row.threads, row.threads == most))
        return found

    def _where_claimed(self, found: Sequence[Found], config: MoEConfig) -> Found | None:
        """Of these, the first on that layer and on all threads of its run."""
        return next((f for f in found if _same_size(f.config, config) and f.on_all), None)

    def _why_missing(self, quantity: Mapping[str, Any], config: MoEConfig) -> str:
        for variant in named_variants(quantity):
            planned = [m for s in self.summaries for m in s.run.measurements if m.variant == variant]
            there = [m for m in planned if _same_size(m.config, config)]
            if any(m.status == "ok" for m in there):
                continue
            _, unavailable = availability(variant)
            reason = next((m.reason for m in there if m.reason), unavailable)
            return f"{variant}: {reason or f'not measured at {config.label}'}"
        return "they were not measured there together, on all threads"

    def _implied(self, claim: Claim) -> Implied | None:
        """What a claim about throughput asks of the processor, by the limits and the baseline measured here."""
        kind = next(iter(claim.quantity))
        if kind not in ("throughput", "ratio") or claim.claimed is None or claim.claimed[0] <= 0:
            return None
        config = claim.config or self.claims.config
        first, *others = named_variants(claim.quantity)
        base = [self._where_claimed(self._found({"throughput": other}), config) for other in others]
        if Variant.read(first).device != "cpu" or None in base:
            return None
        limits = next((found for s in self.summaries if (found := _limits_on_all(s.run))), None)
        if limits is None:
            return None
        seconds = config.tokens / (claim.claimed[0] * prod(f.value.value for f in base if f))
        size = config.expected_bytes
        bandwidth = limits.bandwidth(size)
        share = max(config.flops / limits.flops_per_s, size / bandwidth) / seconds
        return Implied(config.flops / seconds, size / seconds, limits, bandwidth, share)


def claimed_of(claim: Claim) -> tuple[float, float]:
    """The ends of what is claimed; raises ValueError where a source gives no number."""
    if claim.claimed is None:
        raise ValueError(f"claim {claim.id} has no number")
    return claim.claimed


def _limits_on_all(run: Run) -> Limits | None:
    return limits_of(run, max(run.protocol["threads"]))


def _same_size(config: MoEConfig, other: MoEConfig) -> bool:
    return replace(config, seed=0) == replace(other, seed=0)


def _layer(config: MoEConfig) -> MoEConfig:
    return replace(config, tokens=1, seed=0)


def _beside(summary: Summary, row: Row, variant: str) -> Row | None:
    """A variant on the problem and threads of another row."""
    m = row.measurement
    found = (
        r
        for r in summary.rows
        if r.label == variant and r.latency and (r.measurement.config, r.threads) == (m.config, m.threads)
    )
    return next(found, None)


def _measured(quantity: Mapping[str, Any], row: Row, *others: Row) -> Interval | None:
    """The quantity of a row, or of it and another; None where the other is missing or has nothing in common."""
    if "throughput" in quantity:
        return row.throughput
    if not others:
        return None
    ours, theirs = row.measurement, others[0].measurement
    return tokens_ratio(ours, theirs) if "ratio" in quantity else _variation_ratio(ours, theirs)


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


def _widened(claim: Claim) -> tuple[float, float]:
    """What is claimed, give or take; the ends of a range are bounds, and stay."""
    low, high = claimed_of(claim)
    return (low / MARGIN, high * MARGIN) if low == high else (low, high)


def _within(claim: Claim, measured: Interval) -> bool:
    low, high = _widened(claim)
    return measured.bounded and low <= measured.low and measured.high <= high


def _outside(claim: Claim, measured: Interval) -> bool:
    low, high = _widened(claim)
    return measured.bounded and (measured.high < low or measured.low > high)


def _verdict(claim: Claim, found: Found | None, *, region: bool) -> str:
    if found is not None and _within(claim, found.value):
        return HOLDS
    if found is not None and not _outside(claim, found.value):
        return UNMEASURABLE
    if found is None:
        return UNMEASURABLE
    return REGION if region else FAILS
