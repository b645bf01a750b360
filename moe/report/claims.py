"""The experiment behind `claims.ipynb`: a claims file, the source's protocol replayed, and the runs beside it."""

import shutil
from pathlib import Path
from typing import Any

from moe.analysis.frames import records
from moe.analysis.verdicts import UNMEASURABLE, Trial
from moe.claims import CLAIMS, Claims, load_claims
from moe.implementations import installed_names
from moe.measure.compare import compare
from moe.measure.protocol import Protocol
from moe.measure.replay import replay
from moe.report.findings import claims as found
from moe.report.index import Findings
from moe.report.parameters import thread_counts
from moe.report.source import FEWEST_PROCESSES, run_file, shown_file
from moe.run import Run, load_run

KEPT = "claims.yaml"
EVIDENCE = ("comparison", "breakdown", "scaling")  # the experiments whose runs bear on claims


def arguments(*, claims: str, threads: str, budget_s: float) -> dict[str, Any]:
    """What `measure` is called with; raises ValueError for a parameter that makes no sense.

    In a report the runs beside it are measured already, and `budget_s` is not spent.
    """
    source = claims_file(claims)
    load_claims(source)
    Protocol(budget_s=budget_s)
    return {"source": source, "threads": max(thread_counts(threads))}


def claims_file(name: str) -> Path:
    """A file of the folder `claims` by its name alone, or any other by its path."""
    path = CLAIMS / f"{name}.yaml"
    return path if path.exists() else Path(name).resolve()


def measure(source: Path, threads: int, path: Path | None = None) -> Run:
    """Replay what a claims file says of its source's protocol; the file is kept beside the run."""
    claims = load_claims(source)
    if path is not None:
        shutil.copyfile(source, path.with_name(KEPT))
    return replay(claims, threads, path)


def load(run: str | None, *, claims: str, threads: str, budget_s: float) -> Trial:
    """The trial by the replay at `run` and the runs beside it, or by what is measured now in `budget_s` seconds."""
    if path := shown_file(run, "claims"):
        return trial_of(path.parent)
    what = arguments(claims=claims, threads=threads, budget_s=budget_s)
    on_trial = load_claims(what["source"])
    beside = compare(
        implementations_for(on_trial),
        on_trial.config,
        thread_counts(threads),
        budget_s=budget_s,
        processes=FEWEST_PROCESSES,
    )
    return Trial(on_trial, [beside], measure(**what))


def implementations_for(claims: Claims) -> list[str]:
    """What a report measures anyway, and every other variant that a claim names."""
    return list(dict.fromkeys([*installed_names(), *claims.variants()]))


def trial_of(folder: Path, source: Path | None = None) -> Trial:
    """The trial of `source`, or of the folder's own claims file, by all runs of a report's folder.

    Raises ValueError where there is no run.
    """
    paths = [path for name in EVIDENCE if (path := run_file(folder, name)).exists()]
    if not paths:
        raise ValueError(f"{folder} has no run of {' or '.join(EVIDENCE)} to hold claims against")
    replayed = run_file(folder, "claims")
    runs = list(map(load_run, paths))
    return Trial(load_claims(source or folder / KEPT), runs, load_run(replayed) if replayed.exists() else None)


def findings(path: Path) -> Findings:
    """What the replay at `path` and the runs beside it say, with the figure and the table of verdicts."""
    trial = trial_of(path.parent)
    rows = records(found.verdicts(trial))
    without = [row for row in rows if row["verdict"] == UNMEASURABLE and not row["measured_text"]]
    missing = [f"{row['quoted']}: {row['reason']}" for row in without]
    return Findings(found.headline(trial), found.ratios_sentence(trial), found.verdicts_table(trial), missing)
