"""Claims held against runs: what was measured of each, and whether it holds.

The rule, that of an equivalence test: a claim `holds` where the whole 95 % interval of its quantity lies within what
is claimed, give or take MARGIN, on the claimed layer and all threads. Where the interval lies wholly outside, it
`fails`; where it does so there but holds elsewhere, or a factor gives as much with only some of the others on, it
holds in a `region`. What was not measured, or so uncertainly that neither can be said, is `unmeasurable`.
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
from moe.analysis.limits import Bound, Limits, bound_of, limits_of
from moe.analysis.statistics import Interval, ratio_interval, spread_of
from moe.analysis.summary import Row, Summary, summarise, tokens_ratio
from moe.claims import Claim, Claims, Product, SourceRow, variants_of
from moe.config import MoEConfig
from moe.run import Measurement, Run
from moe.variant import Variant

MARGIN = 0.25  # what is published without an interval is not held to more than what a machine repeats
HOLDS, REGION, FAILS, UNMEASURABLE = VERDICTS = ("holds", "region", "fails", "unmeasurable")


@dataclass(frozen=True)
class Finding:
    """A quantity as it was measured, and where."""

    value: Interval
    config: MoEConfig
    threads: int


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
    found: Finding | None = None
    regions: tuple[Finding, ...] = ()
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
        parts = [self.claims.by_id[name].claimed for name in product.parts]
        whole = self.claims.by_id[product.whole].claimed
        return (prod(low for low, _ in parts), prod(high for _, high in parts)), whole

    def replayed(self) -> list[Replayed]:
        """The rows of the source's own protocol; empty where it was not replayed."""
        protocol = self.claims.protocol
        if protocol is None or self.replay is None:
            return []
        if [row.name for row in protocol.rows] != [m.label for m in self.replay.measurements]:
            return []  # of another claims file
        found = []
        for row, m in zip(protocol.rows, self.replay.measurements, strict=True):
            published, _ = self.claims.by_id[row.claim].claimed
            replayed = row.divided_by * m.config.tokens / fmean(m.samples_s[0]) if m.status == "ok" else None
            fair = self._where_claimed(self._findings({"throughput": row.fair}))
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
        findings = self._findings(quantity)
        found = self._where_claimed(findings)
        regions = tuple(f for f in findings if f is not found and _within(claim, f.value))
        missing = "" if found else self._why_missing(quantity)
        return Judgement(claim, _verdict(claim, found, region=bool(regions)), found, regions, missing=missing)

    def _judge_factor(self, claim: Claim) -> Judgement:
        found, factor, missing = self._factor(claim.quantity)
        if found is None or factor is None:
            return Judgement(claim, UNMEASURABLE, missing=missing)
        low, high = claim.claimed
        region = factor.least <= high and factor.most >= low
        return Judgement(claim, _verdict(claim, found, region=region), found, factor=factor)

    def _judge_order(self, claim: Claim) -> Judgement:
        """How many pairs are the other way round: at least those whose intervals lie apart."""
        gains = {name: self._value(quantity) for name, quantity in claim.quantity["order"].items()}
        missing = "; ".join(f"{name}: {why}" for name, (_, why) in gains.items() if why)
        known = [f for f, _ in gains.values() if f is not None and f.value.bounded]
        if len(known) < 2:
            return Judgement(claim, UNMEASURABLE, missing=missing)
        pairs = [(first.value, later.value) for first, later in combinations(known, 2)]
        reversed_ = Interval(
            sum(later.value > first.value for first, later in pairs),
            sum(later.low > first.high for first, later in pairs),
            sum(later.high > first.low for first, later in pairs),
        )
        found = Finding(reversed_, self.claims.config, max(f.threads for f in known))
        return Judgement(claim, _verdict(claim, found, region=False), found, missing=missing)

    def _value(self, quantity: Mapping[str, Any]) -> tuple[Finding | None, str]:
        """A quantity where it was claimed, or why there is none."""
        if "none" in quantity:
            return None, quantity["none"]
        if "factor" in quantity:
            found, _, missing = self._factor(quantity)
            return found, missing
        found = self._where_claimed(self._findings(quantity))
        return found, "" if found else self._why_missing(quantity)

    def _factor(self, quantity: Mapping[str, Any]) -> tuple[Finding | None, Factor | None, str]:
        missing = "no breakdown was measured"
        for breakdown in self.breakdowns:
            for experiment in (breakdown.mojo, breakdown.framework):
                if experiment.name != quantity["experiment"] or not breakdown.asked_for(experiment):
                    continue
                if lacking := breakdown.missing(experiment):
                    missing = lacking[0]
                    continue
                factors = {factor.name: factor for factor in breakdown.attribution(experiment).factors}
                if factor := factors.get(quantity["factor"]):
                    size = breakdown.run.measurements[0].config
                    return Finding(factor.times, size, breakdown.threads[-1]), factor, ""
                missing = f"{quantity['factor']} is no factor of the breakdown that was measured"
        return None, None, missing

    def _findings(self, quantity: Mapping[str, Any]) -> list[Finding]:
        """A quantity of one or two variants, everywhere that it was measured."""
        first, *others = variants_of(quantity)
        found = []
        for summary in self.summaries:
            for row in (row for row in summary.rows if row.label == first and row.latency):
                beside = [_beside(summary, row, other) for other in others]
                value = _measured(quantity, row, *(other for other in beside if other))
                # A throughput elsewhere is that of another layer; only its number of tokens may differ.
                same = _layer(row.measurement.config) == _layer(self.claims.config)
                if value is not None and (same or "throughput" not in quantity):
                    found.append(Finding(value, row.measurement.config, row.threads))
        return found

    def _where_claimed(self, findings: Sequence[Finding]) -> Finding | None:
        """Of these, the one on the claimed layer and the most threads."""
        size = replace(self.claims.config, seed=0)
        there = [f for f in findings if replace(f.config, seed=0) == size]
        return max(there, key=lambda f: f.threads, default=None)

    def _why_missing(self, quantity: Mapping[str, Any]) -> str:
        for variant in variants_of(quantity):
            if not self._where_claimed(self._findings({"throughput": variant})):
                reasons = (m.reason for s in self.summaries for m in s.run.measurements if m.variant == variant)
                return f"{variant}: {next((r for r in reasons if r), 'not measured on the claimed layer')}"
        return "no rounds in common"

    def _implied(self, claim: Claim) -> Implied | None:
        """What a claim about throughput asks of the processor, by the limits and the baseline measured here."""
        kind, *_ = claim.quantity
        if kind not in ("throughput", "ratio"):
            return None
        first, *others = variants_of(claim.quantity)
        row = next((r for name in others or [first] if (r := self._row_where_claimed(name))), None)
        if row is None or Variant.read(first).device != "cpu":
            return None
        summary, base = row
        limits = limits_of(summary.run, base.threads)
        if limits is None or base.throughput is None:
            return None
        low, _ = claim.claimed
        m = base.measurement
        seconds = m.config.tokens / (low * (base.throughput.value if others else 1.0))
        size = m.details.get("bytes_moved", m.config.expected_bytes)
        bound: Bound = bound_of(m, limits)
        return Implied(
            m.config.flops / seconds, size / seconds, limits, limits.bandwidth(size), bound.seconds / seconds
        )

    def _row_where_claimed(self, variant: str) -> tuple[Summary, Row] | None:
        found = self._where_claimed(self._findings({"throughput": variant}))
        if found is None:
            return None
        rows = ((s, s.row(variant, found.threads)) for s in self.summaries)
        return next(((s, row) for s, row in rows if row and row.measurement.config == found.config), None)


def _layer(config: MoEConfig) -> MoEConfig:
    return replace(config, tokens=1, seed=0)


def _beside(summary: Summary, row: Row, variant: str) -> Row | None:
    """A variant on the problem and threads of another row; another device's runs beside the most threads."""
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
    return ratio_interval([ours[p] for p in common], [theirs[p] for p in common], common)


def _variations(m: Measurement) -> dict[int, float]:
    samples: dict[int, list[float]] = {}
    for process, turn in zip(m.processes, m.samples_s, strict=True):
        samples.setdefault(process, []).extend(turn)
    return {process: spread_of(values).variation for process, values in samples.items()}


def _widened(claim: Claim) -> tuple[float, float]:
    low, high = claim.claimed
    return low / (1 + MARGIN), high * (1 + MARGIN)


def _within(claim: Claim, measured: Interval) -> bool:
    low, high = _widened(claim)
    return measured.bounded and low <= measured.low and measured.high <= high


def _outside(claim: Claim, measured: Interval) -> bool:
    low, high = _widened(claim)
    return measured.bounded and (measured.high < low or measured.low > high)


def _verdict(claim: Claim, found: Finding | None, *, region: bool) -> str:
    if found is not None and _within(claim, found.value):
        return HOLDS
    if found is not None and not _outside(claim, found.value):
        return UNMEASURABLE
    if region:
        return REGION
    return FAILS if found is not None else UNMEASURABLE
