"""A run: everything that one command measured, and its file.

The file is JSON, read without executing anything, replaced atomically, always whole.
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from moe.config import MoEConfig
from moe.variant import Variant

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
STATUSES = ("ok", "failed", "not_run")


class RunFileError(ValueError):
    """A run's file can't be read or may not be written; the message names it and says why."""


@dataclass
class Measurement:
    """One variant on one problem and thread count.

    samples_s holds one list a round, of the seconds of single forwards, every one; processes holds the number
    of the process that each round ran in, others_cores and stolen_cores how many cores' worth of time went to other
    processes and other systems meanwhile. warm_up_s are the seconds of untimed forwards. `control` marks the second
    measurement of one implementation, by which a run finds out what difference it can resolve.
    """

    label: str
    implementation: str
    options: dict[str, str]
    config: MoEConfig
    threads: int
    device: str = "cpu"
    status: str = "not_run"
    reason: str = ""
    control: bool = False
    cache: str = "warm"
    parity: dict[str, Any] | None = None
    prepare_s: float | None = None
    first_call_s: float | None = None
    peak_rss_bytes: int | None = None
    details: dict[str, Any] = field(default_factory=dict)
    processes: list[int] = field(default_factory=list)
    samples_s: list[list[float]] = field(default_factory=list)
    others_cores: list[float] = field(default_factory=list)
    stolen_cores: list[float] = field(default_factory=list)
    warm_up_s: float = 0.0

    @property
    def variant(self) -> str:
        """The implementation with its options, as names are written everywhere."""
        return str(Variant(self.implementation, self.options))

    @property
    def rounds_s(self) -> list[float]:
        """A round's value: the median of its samples, in seconds."""
        return [median(samples) for samples in self.samples_s]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Measurement:
        """The inverse of `dataclasses.asdict`; raises RunFileError for what no measurement has."""
        known = {f.name for f in fields(cls)}
        if unknown := set(data) - known:
            raise RunFileError(f"a measurement has unknown fields: {', '.join(sorted(unknown))}")
        try:
            measurement = cls(**{**data, "config": MoEConfig(**data["config"])})
        except (KeyError, TypeError, ValueError) as error:
            raise RunFileError(f"a measurement is malformed: {error}") from error
        if measurement.status not in STATUSES:
            raise RunFileError(f"status must be one of {', '.join(STATUSES)}, got {measurement.status!r}")
        return measurement


@dataclass
class Run:
    """Measurements with the machine, versions and protocol behind them; `complete` once nothing was cut short.

    limits holds what the machine itself can do on each number of threads, measured every few seconds; elapsed_s is
    how long all of it took. Where runs of several machines were joined, `machines` has the machine and versions of
    each by its key, which the `machine` in a measurement's details and in each entry of limits names.
    """

    machine: dict[str, Any]
    versions: dict[str, Any]
    protocol: dict[str, Any]
    measurements: list[Measurement] = field(default_factory=list)
    limits: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = False
    elapsed_s: float = 0.0
    schema: int = SCHEMA
    machines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def by_machine(self) -> dict[str, Run]:
        """A run for each machine by its key, or this one alone, without a key, where none were joined.

        What no machine has finished stands with the first.
        """
        if not self.machines:
            return {"": self}
        first = next(iter(self.machines))
        return {
            key: replace(
                self,
                **described,
                measurements=[m for m in self.measurements if m.details.get("machine", first) == key],
                limits=[entry for entry in self.limits if entry.get("machine", first) == key],
                machines={},
            )
            for key, described in self.machines.items()
        }

    def to_json(self) -> str:
        """The text of the run's file."""
        return json.dumps(asdict(self), allow_nan=False) + "\n"

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the file; raises RunFileError if there is one and `force` is not given."""
        path = Path(path)
        if path.exists() and not force:
            raise RunFileError(f"{path} exists: --resume continues it, --force replaces it")
        write_atomically(path, self.to_json())

    def to_frame(self) -> pd.DataFrame:
        """One row a measurement: what it was, how it ended, and the median of its rounds in seconds.

        Intervals and ratios come from `moe.analysis.summarise`.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "label": m.label,
                "implementation": m.implementation,
                "threads": m.threads,
                "device": m.device,
                "tokens": m.config.tokens,
                "status": m.status,
                "reason": m.reason,
                "rounds": len(m.samples_s),
                "samples": sum(map(len, m.samples_s)),
                "median_s": median(m.rounds_s) if m.samples_s else float("nan"),
            }
            for m in self.measurements
        )


def load_run(path: str | Path) -> Run:
    """Read a run's file; raises RunFileError for another schema or a malformed file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunFileError(f"{path} can't be read as a run: {error}") from error
    return read_run(text, str(path))


def read_run(text: str, source: str) -> Run:
    """A run from a file's text; raises RunFileError, naming the `source`, as `load_run` does."""
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise RunFileError(f"{source} can't be read as a run: {error}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise RunFileError(
            f"{source} has schema {found!r}, expected {SCHEMA}: measure again, or use its version of moe"
        )
    try:
        return Run(**{**data, "measurements": [Measurement.from_dict(m) for m in data["measurements"]]})
    except (KeyError, TypeError) as error:
        raise RunFileError(f"{source} is not a run's file: {error}") from error


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step: a reader finds the old file or the new one, both whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
