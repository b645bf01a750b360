"""Claims about this layer's speed, as a file states them: a source, quotations, and what each says as a quantity."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import yaml

from moe.config import MoEConfig, parse_config, unknown_name
from moe.implementations import parse_variant

CLAIMS = Path(__file__).resolve().parent.parent / "claims"
SCHEMA = Path(__file__).resolve().with_name("claims.schema.json")


@dataclass(frozen=True)
class Claim:
    """One claim: `claimed` holds the ends of what the quantity is said to be, twice the same for a single number.

    It is None where the source gives no number, `config` the layer where that is not the source's.

    A quantity has one key, which says what it is: the throughput of a variant, in tokens a second; the ratio of two
    variants' throughputs; the ratio of their variations; what a factor of an experiment gives; an order of quantities
    by what each gives; or none, with the reason why it can't be measured anywhere.
    """

    id: str
    quote: str
    quantity: Mapping[str, Any]
    claimed: tuple[float, float] | None = None
    note: str = ""
    config: MoEConfig | None = None


@dataclass(frozen=True)
class Product:
    """Claims that are said, or said of the same things, to multiply to another one."""

    parts: tuple[str, ...]
    whole: str


@dataclass(frozen=True)
class SourceRow:
    """One row of a source's own measurement: which variant is timed, and what its time is then divided by.

    `claim` is the throughput that the source gives for it, `fair` the variant that is measured beside it.
    """

    name: str
    variant: str
    claim: str
    fair: str
    divided_by: float = 1.0


@dataclass(frozen=True)
class SourceProtocol:
    """How a source measured: the mean of some forwards after others, one row after the other in one process."""

    warm_up: int
    forwards: int
    rows: tuple[SourceRow, ...]


@dataclass(frozen=True)
class Claims:
    """A claims file."""

    title: str
    url: str
    conditions: str
    config: MoEConfig
    claims: tuple[Claim, ...]
    products: tuple[Product, ...] = ()
    protocol: SourceProtocol | None = None
    by_id: Mapping[str, Claim] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {claim.id: claim for claim in self.claims})

    def variants(self) -> list[str]:
        """Every variant that a claim is about, or that a row of the protocol is compared with."""
        rows = self.protocol.rows if self.protocol else ()
        named = [variant for claim in self.claims for variant in named_variants(claim.quantity)]
        return list(dict.fromkeys([*named, *(row.fair for row in rows)]))


def load_claims(path: str | Path) -> Claims:
    """Read a claims file; raises ValueError naming the file, the place in it and what was expected there."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} can't be read as claims: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path} can't be read as claims: {' '.join(str(error).split())}") from error
    _check(data, path)
    source, protocol = data["source"], data.get("protocol")
    try:
        claims = Claims(
            source["title"],
            source.get("url", ""),
            source.get("conditions", ""),
            parse_config(source["layer"]),
            tuple(_claim(entry) for entry in data["claims"]),
            tuple(Product(tuple(p["parts"]), p["whole"]) for p in data.get("products", [])),
            protocol and SourceProtocol(**protocol | {"rows": tuple(SourceRow(**row) for row in protocol["rows"])}),
        )
        _check_names(claims)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return claims


def _check(data: Any, path: Path) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).iter_errors(data))
    if error is not None:
        raise ValueError(f"{path}: {error.json_path}: {error.message}")


def _claim(entry: dict[str, Any]) -> Claim:
    given = entry.get("claimed")
    claimed: tuple[float, float] | None = None
    if given is not None:
        low, high = given if isinstance(given, list) else (given, given)
        claimed = low, high
        if not low <= high < inf:
            raise ValueError(f"claim {entry['id']}: claimed must be a number or a rising range, got {given}")
    elif "none" not in entry["quantity"]:
        raise ValueError(f"claim {entry['id']}: claimed must be given for what can be measured")
    layer = entry.pop("layer", None)
    return Claim(**entry | {"claimed": claimed, "config": parse_config(layer) if layer else None})


def _check_names(claims: Claims) -> None:
    """Raise ValueError for a claim named twice or not there, and for a variant that does not exist."""
    twice = [name for name, count in Counter(claim.id for claim in claims.claims).items() if count > 1]
    if twice:
        raise ValueError(f"claims must have different ids, got {twice[0]!r} twice")
    rows = claims.protocol.rows if claims.protocol else ()
    named = [name for product in claims.products for name in (*product.parts, product.whole)]
    for name in [*named, *(row.claim for row in rows)]:
        if name not in claims.by_id:
            raise ValueError(unknown_name("claim", name, list(claims.by_id)))
    for variant in claims.variants():
        parse_variant(variant)
    for row in rows:
        parse_variant(row.variant)
        if "throughput" not in claims.by_id[row.claim].quantity:
            raise ValueError(f"row {row.name!r} must name a claim about a throughput, got {row.claim!r}")
    for name in named:
        low, _ = claims.by_id[name].claimed or (0, 0)
        if low <= 0:
            raise ValueError(f"a product's claims must be greater than 0, {name!r} is not")


def named_variants(quantity: Mapping[str, Any]) -> Iterator[str]:
    """The variants that a quantity names."""
    ((kind, what),) = ((k, v) for k, v in quantity.items() if k != "experiment")
    if kind == "throughput":
        yield what
    elif kind in ("ratio", "variation"):
        yield from what
    elif kind == "order":
        for part in what.values():
            yield from named_variants(part)
