"""Claims about this layer's speed, as a file states them: a source, quotations, and what each says as a quantity."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import yaml

from moe.config import MoEConfig, parse_config, require_known
from moe.implementations import parse_variant

CLAIMS = Path(__file__).resolve().parent.parent / "claims"
SCHEMA = Path(__file__).resolve().with_name("claims.schema.json")


@dataclass(frozen=True)
class Claims:
    """A claims file: every entry as claims.schema.json has it.

    But a claim's `claimed` is always two ends, equal for a single number, or None where its source gives no number;
    its `layer` is a MoEConfig, the source's own where the claim names none. `rows` are the protocol's, each with what
    its time is divided by.

    A quantity has one key, which says what it is: the throughput of a variant, in tokens a second; the ratio of two
    variants' throughputs; the ratio of their variations; what a factor of an experiment gives; an order of quantities
    by what each gives; or none, with the reason why it can't be measured anywhere.
    """

    source: Mapping[str, str]
    config: MoEConfig
    by_id: Mapping[str, Mapping[str, Any]]
    products: Sequence[Mapping[str, Any]]
    protocol: Mapping[str, Any] | None
    rows: Sequence[Mapping[str, Any]]

    def variants(self) -> list[str]:
        """Every variant that a claim is about, or that a row of the protocol is compared with."""
        named = [variant for claim in self.by_id.values() for variant in named_variants(claim["quantity"])]
        return list(dict.fromkeys([*named, *(row["fair"] for row in self.rows)]))


def load_claims(path: str | Path) -> Claims:
    """Read a claims file; raises ValueError naming the file, the place in it and what was expected there."""
    path = Path(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} can't be read as claims: {' '.join(str(error).split())}") from error
    try:
        _check_form(data)
        config = parse_config(data["source"]["layer"])
        entries = [_claim(entry, config) for entry in data["claims"]]
        twice = [name for name, count in Counter(entry["id"] for entry in entries).items() if count > 1]
        if twice:
            raise ValueError(f"claims must have different ids, got {twice[0]!r} twice")
        protocol = data.get("protocol")
        rows = [{"divided_by": 1.0, **row} for row in protocol["rows"]] if protocol else []
        by_id = {entry["id"]: entry for entry in entries}
        claims = Claims(data["source"], config, by_id, data.get("products", []), protocol, rows)
        _check_names(claims)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return claims


def _check_form(data: Any) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8"))).iter_errors(data))
    if error is not None:
        raise ValueError(f"{error.json_path}: {error.message}")


def _claim(entry: Mapping[str, Any], config: MoEConfig) -> dict[str, Any]:
    given, layer = entry.get("claimed"), entry.get("layer")
    if given is None and "none" not in entry["quantity"]:
        raise ValueError(f"claim {entry['id']}: claimed must be given for what can be measured")
    ends = given if given is None or isinstance(given, list) else [given, given]
    if ends and not ends[0] <= ends[1] < inf:
        raise ValueError(f"claim {entry['id']}: claimed must be a number or a rising range, got {given}")
    return {"note": "", **entry, "claimed": ends, "layer": parse_config(layer) if layer else config}


def _check_names(claims: Claims) -> None:
    """Raise ValueError for a claim that is not there or of no use where it is named, and for an unknown variant."""
    multiplied = [name for product in claims.products for name in (*product["parts"], product["whole"])]
    require_known("claim", [*multiplied, *(row["claim"] for row in claims.rows)], claims.by_id)
    for variant in [*claims.variants(), *(row["variant"] for row in claims.rows)]:
        parse_variant(variant)
    for row in claims.rows:
        if "throughput" not in claims.by_id[row["claim"]]["quantity"]:
            raise ValueError(f"row {row['name']!r} must name a claim about a throughput, got {row['claim']!r}")
    for name in multiplied:
        ends = claims.by_id[name]["claimed"]
        if not ends or ends[0] <= 0:
            raise ValueError(f"a product's claims must be greater than 0, {name!r} is not")


def kind_of(quantity: Mapping[str, Any]) -> str:
    """What a quantity is: throughput, ratio, variation, factor, order or none."""
    return next(key for key in quantity if key != "experiment")


def named_variants(quantity: Mapping[str, Any]) -> list[str]:
    """The variants that a quantity names."""
    match quantity:
        case {"throughput": variant}:
            return [variant]
        case {"ratio": pair} | {"variation": pair}:
            return list(pair)
        case {"order": parts}:
            return [variant for part in parts.values() for variant in named_variants(part)]
    return []
