"""The experiment behind `claims.ipynb`: a claims file, the source's protocol replayed, and the runs beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moe.analysis.verdicts import Trial
from moe.claims import CLAIMS, load_claims
from moe.implementations import names
from moe.measure import compare
from moe.measure.replay import replay
from moe.report.parameters import thread_counts
from moe.report.source import checked_python, run_file
from moe.run import load_run

EVIDENCE = ("comparison", "breakdown", "scaling")  # the experiments whose runs bear on claims


def arguments(*, claims: str, threads: str, budget_s: float) -> dict[str, Any]:
    """What `replay` is called with; raises ValueError for a parameter that makes no sense.

    In a report the runs beside it are measured already, and `budget_s` is not spent.
    """
    return {"claims": load_claims(claims_file(claims)), "threads": max(thread_counts(threads))}


def claims_file(name: str) -> Path:
    """A file of the folder `claims` by its name alone, or any other by its path."""
    path = CLAIMS / f"{name}.yaml"
    return path if path.exists() else Path(name)


def load(run: str | None, *, claims: str, threads: str, budget_s: float) -> Trial:
    """The trial by the replay at `run` and the runs beside it, or by what is measured now in `budget_s` seconds."""
    checked_python()
    if run is not None:
        return trial_of(Path(run).parent, claims)
    what = arguments(claims=claims, threads=threads, budget_s=budget_s)
    beside = compare(names(), what["claims"].config, thread_counts(threads), budget_s=budget_s)
    return Trial(what["claims"], [beside], replay(**what))


def trial_of(folder: Path, claims: str) -> Trial:
    """The trial by all runs of a report's folder; raises ValueError where there is none."""
    paths = [path for name in EVIDENCE if (path := run_file(folder, name)).exists()]
    if not paths:
        raise ValueError(f"{folder} has no run of {' or '.join(EVIDENCE)} to hold claims against")
    replayed = run_file(folder, "claims")
    return Trial(
        load_claims(claims_file(claims)),
        list(map(load_run, paths)),
        load_run(replayed) if replayed.exists() else None,
    )
