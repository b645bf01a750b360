"""Claims files that are made for a test, and runs to hold them against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from moe.claims import CLAIMS, Claims, load_claims
from moe.run import Run

from .synthetic import PROTOCOL, synthetic_run

PUBLISHED = CLAIMS / "cross-language-moe.yaml"
RATIO = {"ratio": ["mojo", "numpy"]}


def claims_file(folder: Path, *entries: dict[str, Any], **more: Any) -> Path:
    path = folder / "claims.yaml"
    source = {"title": "A <script> of claims", "layer": "seed"}
    path.write_text(yaml.safe_dump({"source": source, "claims": list(entries), **more}, sort_keys=False))
    return path


def a_claim(name: str, quantity: dict[str, Any], claimed: float | list[float]) -> dict[str, Any]:
    return {"id": name, "quote": f"“{name}” <script>", "quantity": quantity, "claimed": claimed}


def a_comparison(noise: float = 0.01) -> Any:
    """1,024 tokens in 20, 10 and 5 ms on one thread, and half of it on two."""
    run = synthetic_run({"numpy": 0.02, "torch": 0.01, "mojo": 0.005}, (1, 2), noise=noise)
    probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
    run.limits = [{"threads": t, "by": "probes", "flops_per_s": t * 1e12, "bandwidth": probes} for t in (1, 2)]
    return run


def a_replay(not_here: dict[str, str]) -> Run:
    """A replay of no protocol, made where these variants could not run."""
    return Run({}, {}, {**PROTOCOL, "not_here": not_here}, [])


def a_protocol(folder: Path, *variants: str) -> Claims:
    rows = [{"name": v, "variant": v, "claim": "it", "fair": "numpy"} for v in variants]
    rows.append({**rows[0], "name": "divided", "divided_by": 4})
    path = claims_file(
        folder, a_claim("it", {"throughput": "numpy"}, 5.0), protocol={"warm_up": 1, "forwards": 3, "rows": rows}
    )
    data = yaml.safe_load(path.read_text())
    data["source"]["layer"] = "tokens=8,d_model=8,d_ff=16"
    path.write_text(yaml.safe_dump(data))
    return load_claims(path)
