"""A run: everything that one command measured, and its file.

The file is JSON, read without executing anything, replaced atomically, always whole.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from html import escape
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from moe.config import MoEConfig
from moe.form import ROUTER_PRECISION
from moe.variant import Variant

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
STATUSES = ("ok", "failed", "not_run")
CHECKPOINT = "checkpoint"  # where a run's protocol says whose weights it measured, if not a seed's
NOT_HERE = "not_here"  # and where that of a replay says which of its claims' variants could not run, and why
MOST_SHOWN = 40  # rows of a run that a notebook shows
FEWEST_UNDISTURBED = 3  # turns; with fewer, all of them count and none of them gives an interval

# Why a measurement has not been made yet, in `Measurement.code`: another command may make it.
NOT_REACHED = "not_reached"
OVER_BUDGET = "over_budget"
OVER_MEMORY = "over_memory"
TOO_LONG = "too_long"
NO_ROOM = "no_room"  # the system refused something: room on a disk, memory, a process
OPEN = ("", NOT_REACHED, OVER_BUDGET, OVER_MEMORY, TOO_LONG, NO_ROOM)
OTHER = "other"  # any other reason, which the measurement's own words give
# What runs written before codes said instead.
BEGINNINGS = {
    "the run ended before its first turn": NOT_REACHED,
    "left out for want of time": OVER_BUDGET,
    "left out for want of memory": OVER_MEMORY,
    "a turn would take": TOO_LONG,
}
# What is another minute's, or its twin's, makes no other machine.
VOLATILE = ("load_average", "frequency_mhz", "key", "unknown", "not_passed_on")

Place = tuple[int, int]  # a process's number, and a round's


class NotRunError(Exception):
    """A measurement that can't be made here; the message says why, `code` in one word."""

    def __init__(self, reason: str, code: str = OTHER) -> None:
        super().__init__(reason)
        self.code = code


class RunFileError(ValueError):
    """A run's file can't be read or may not be written; the message names it and says why."""


@dataclass
class Measurement:
    """One variant on one problem and thread count.

    samples_s holds one list a turn, of the seconds of single forwards, every one. Beside it, a value a turn:
    processes and rounds, the numbers of the process and the round that it was in (no rounds: 0, 1, 2 …);
    others_cores and stolen_cores, how many cores' worth of time went to other processes and other systems meanwhile;
    capacities, what probes on as many threads reached right before and after it, in FLOP/s (null, or none: not
    known); waited, for which share of its timed forwards a thread waited for a core (null, or none: not known); and
    disturbed, whether the machine was short of what it can (none: no turn was). A disturbed turn may have been
    repeated in its round.

    warm_up_s are the seconds of untimed forwards. `control` marks the second measurement of one implementation, by
    which a run finds out what difference it can resolve. `code` says in one word why something was not run.
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
    parity: dict[str, Any] | None = field(default=None, repr=False)
    prepare_s: float | None = None
    first_call_s: float | None = None
    peak_rss_bytes: int | None = None
    details: dict[str, Any] = field(default_factory=dict, repr=False)
    processes: list[int] = field(default_factory=list, repr=False)
    samples_s: list[list[float]] = field(default_factory=list, repr=False)
    others_cores: list[float] = field(default_factory=list, repr=False)
    stolen_cores: list[float] = field(default_factory=list, repr=False)
    warm_up_s: float = 0.0
    code: str = ""
    rounds: list[int] = field(default_factory=list, repr=False)
    capacities: list[list[float | None] | None] = field(default_factory=list, repr=False)
    disturbed: list[bool] = field(default_factory=list, repr=False)
    waited: list[float | None] = field(default_factory=list, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether it is still to be made, by this command or by one that has more to give."""
        return self.status == "not_run" and self.code in OPEN

    @property
    def variant(self) -> str:
        """The implementation with its options, as names are written everywhere."""
        return str(Variant(self.implementation, self.options))

    @property
    def note(self) -> str:
        """What a reader of its row has to know about how it was computed; empty where that is nothing."""
        note, tokens = str(self.details.get("note", "")), self.parity.get("tokens", 0) if self.parity else 0
        if self.router_precision == ROUTER_PRECISION or not self.parity or not tokens:
            return note
        other, left_out = (self.parity.get(f"{name}_tokens", 0) for name in ("rerouted", "left_out"))
        said = f"in {self.router_precision}, {100 * other / tokens:.2g} % of tokens with other experts"
        said += f", {100 * left_out / tokens:.2g} % not judged" if left_out else ""
        return f"{note} {said}".lstrip()

    @property
    def router_precision(self) -> str:
        """The precision that its router computes in."""
        return str(self.details.get("router_precision", ROUTER_PRECISION))

    @property
    def probed_threads(self) -> int:
        """Threads of the probes beside its turns: for another device one, which drives it."""
        return self.threads if self.device == "cpu" else 1

    @property
    def is_disturbed(self) -> bool:
        """Whether too few turns were undisturbed to count those alone."""
        return any(self.disturbed) and len(self.samples_s) - sum(self.disturbed) < FEWEST_UNDISTURBED

    @property
    def counted(self) -> list[tuple[Place, list[float]]]:
        """The samples of each turn with its place: disturbed turns are left out, unless too few others are left."""
        left_out = self.disturbed if self.disturbed and not self.is_disturbed else [False] * len(self.samples_s)
        turns = zip(self._places(), self.samples_s, left_out, strict=True)
        return [(place, samples) for place, samples, out in turns if not out]

    @property
    def values_s(self) -> dict[Place, float]:
        """Each round's value in seconds, by its process and number: the median of its turn's samples."""
        return {place: median(samples) for place, samples in self.counted}

    def keep_whole_turns(self) -> None:
        """Drop what an interruption left of half a turn, and let a row without turns be one that was not reached."""
        first = (self.samples_s, self.processes, self.rounds, self.capacities, self.disturbed)
        turns: list[list[Any]] = [*first, self.others_cores, self.stolen_cores, self.waited]
        whole = min(len(values) for values in turns)
        if self.rounds:
            for values in turns:
                del values[whole:]
        if self.status == "ok" and not self.samples_s:
            self.status, self.code = "not_run", NOT_REACHED
            self.reason = "the run ended within its first turn"

    def number_turns(self) -> None:
        """Give the turns of a run that did not number its rounds what later turns have, so that it can go on."""
        if not self.rounds:
            self.rounds = [number for _, number in self._places()]
            self.capacities = [None] * len(self.samples_s)
            self.disturbed = [False] * len(self.samples_s)
        if not self.waited:
            self.waited = [None] * len(self.samples_s)

    def _places(self) -> list[Place]:
        """Each turn's process and round; a run without numbers of rounds counts them in each process."""
        if self.rounds:
            return list(zip(self.processes, self.rounds, strict=True))
        counted = Counter[int]()
        places = []
        for process in self.processes:
            places.append((process, counted[process]))
            counted[process] += 1
        return places

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Measurement":
        """A measurement as a run's file has it; raises RunFileError for what no measurement has."""
        known = {f.name for f in fields(cls)}
        if unknown := set(data) - known:
            raise RunFileError(f"a measurement has unknown fields: {', '.join(sorted(unknown))}")
        try:
            measurement = cls(**{**data, "config": MoEConfig(**data["config"])})
        except (KeyError, TypeError, ValueError) as error:
            raise RunFileError(f"a measurement is malformed: {error}") from error
        if measurement.reason and "code" not in data:
            found = (code for beginning, code in BEGINNINGS.items() if measurement.reason.startswith(beginning))
            measurement.code = next(found, OTHER)
        if measurement.status not in STATUSES:
            raise RunFileError(f"status must be one of {', '.join(STATUSES)}, got {measurement.status!r}")
        return measurement


@dataclass(repr=False)
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

    def __repr__(self) -> str:
        """A line: all of it would be hundreds of thousands of characters."""
        counted = Counter(m.status.replace("_", " ") for m in self.measurements)
        statuses = ", ".join(f"{count} {status}" for status, count in counted.items()) or "nothing measured"
        return (
            f"<Run of {self.elapsed_s:.0f} s on {self.machine.get('processor', 'an unknown processor')}: {statuses}>"
        )

    def _repr_html_(self) -> str:
        from moe.analysis.frames import short

        return f"<p>{escape(repr(self))}</p>" + short(self).to_html(
            index=False, float_format="{:.3g}".format, na_rep="", max_rows=MOST_SHOWN
        )

    @property
    def went_wrong(self) -> bool:
        """Whether something failed, or the system had no room for it."""
        return any(m.status == "failed" or m.code == NO_ROOM for m in self.measurements)

    def by_machine(self) -> dict[str, "Run"]:
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

    def differences(self, other: "Run") -> list[str]:
        """What two runs' machines and versions differ in: nothing, and their numbers may stand side by side."""

        def lasting(run: Run) -> dict[str, Any]:
            return {key: value for key, value in run.machine.items() if key not in VOLATILE} | run.versions

        ours, theirs = lasting(self), lasting(other)
        return sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))

    def to_json(self) -> str:
        """The text of the run's file."""
        # Not asdict, which copies every sample first.
        return json.dumps(self, default=plain, allow_nan=False) + "\n"

    def save(self, path: str | Path, *, force: bool = False) -> None:
        """Write the file; raises RunFileError if there is one and `force` is not given."""
        path = Path(path)
        if path.exists() and not force:
            raise RunFileError(f"{path} exists: --resume continues it, --force replaces it")
        write_atomically(path, self.to_json())

    def to_frame(self) -> "pd.DataFrame":
        """One row a measurement: what it was, how it ended, and what it says; `moe.rows` describes the columns."""
        from moe.analysis.frames import rows

        return rows(self)


def plain(value: Any) -> dict[str, Any]:
    """What JSON takes for a dataclass: its fields, and of a config those that a reader needs."""
    return value.to_dict() if isinstance(value, MoEConfig) else vars(value)


def measured(rows: Iterable[Measurement]) -> int:
    """How many of some measurements have numbers."""
    return sum(m.status == "ok" for m in rows)


def whose_weights(run: Run) -> list[str]:
    """The checkpoint and the layer that a run measured, in one text; none where a seed made its weights."""
    origin = run.protocol.get(CHECKPOINT)
    return [f"layer {origin['layer']} of {origin['folder']} ({origin['model_type']})"] if origin else []


def load_run(path: str | Path) -> Run:
    """Read a run's file; raises RunFileError for another schema or a malformed file."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
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
        # Of a file's name that is no text, which UTF-8 can't hold, the bytes are written out.
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
