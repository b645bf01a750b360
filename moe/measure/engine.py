"""The one loop that measures: processes, rounds, turns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from moe.analysis import summarise
from moe.config import MoEConfig
from moe.implementations import availability, parse_variant
from moe.implementations.registry import entry_of, load
from moe.measure.agreement import parity_of, references_of
from moe.measure.child import Child, WorkerFailedError
from moe.measure.conditions import Watch
from moe.measure.lines import lines_of
from moe.measure.machine import VOLATILE, describe_machine, describe_versions
from moe.measure.plan import Protocol, plan
from moe.measure.workers import Workers
from moe.parity import Parity
from moe.processor import usable_memory
from moe.progress import Progress
from moe.reference import Reference
from moe.run import Measurement, Run, RunFileError, load_run
from moe.variant import Variant

LOAD_TIMEOUT_S = 360.0  # longer than the Mojo compiler gets, so that it is stopped first and says so
TOO_LONG = "too long for this run"
NOT_REACHED = "the run ended before its first turn"
LIMITS_EVERY_S = 5.0  # the clock, and others' use of the memory, change within a run
LIMITS_SHARE = 0.05  # of the time, at most: past a last cache of hundreds of MiB, reading takes long
MEMORY_SHARE = 0.8  # of what is free at the start: what a worker may hold unless another limit is given


def compare(
    implementations: Sequence[str],
    config: MoEConfig,
    threads: Sequence[int] = (1,),
    *,
    path: str | Path | None = None,
    further: Sequence[tuple[str, MoEConfig]] = (),
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    **protocol: Any,
) -> Run:
    """Measure implementations side by side on one problem; `protocol` takes the fields of `Protocol`.

    One of them is measured a second time, as a control; `further` ones, each with a config of its own, are measured
    beside them on the fewest threads. What disagrees with the reference is `failed` and not
    timed; what can't run is `not_run`. With `path` the run is saved as it grows, and after Ctrl-C as far as it
    got; `resume` adds to the run found there. Raises ValueError for a bad argument and RunFileError for a file
    that may not be written.
    """
    settings = Protocol(**protocol)
    more = [(parse_variant(name), size) for name, size in further]
    planned = plan([parse_variant(name) for name in implementations], config, threads, more)
    for measurement in planned:
        measurement.cache = settings.cache
    run = Run(describe_machine(), describe_versions(), {**asdict(settings), "threads": list(threads)}, planned)
    target = Path(path) if path is not None else None
    run = run_to_measure(run, target, resume=resume, force=force)
    if not run.complete:
        Session(run, settings, target, progress).measure()
    return run


def run_to_measure(run: Run, path: Path | None, *, resume: bool, force: bool) -> Run:
    """A new run, or with `resume` the one at `path`; raises RunFileError where that may not be."""
    if path is None or force or not path.exists():
        return run
    if not resume:
        raise RunFileError(f"{path} exists: --resume continues it, --force replaces it")
    return _continued(load_run(path), run, path)


def _continued(old: Run, new: Run, path: Path) -> Run:
    """The old run, to be continued; raises RunFileError unless the new one measures the same in the same way."""

    def conditions(run: Run) -> dict[str, Any]:
        protocol = {key: value for key, value in run.protocol.items() if key not in Protocol.MAY_CHANGE}
        machine = {key: value for key, value in run.machine.items() if key not in VOLATILE}
        measured = [(m.label, m.config, m.threads) for m in run.measurements]
        return {**protocol, **machine, **run.versions, "measurements": measured}

    before, now = conditions(old), conditions(new)
    if changed := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        raise RunFileError(f"{path} can't be continued, since {', '.join(changed)} changed: --force replaces it")
    old.protocol = new.protocol
    return old


class _NotRunError(Exception):
    """A measurement that can't be made here; the message says why."""


class Session:
    """One run being measured."""

    def __init__(self, run: Run, settings: Protocol, path: Path | None, progress: bool) -> None:
        self.run = run
        self.settings = settings
        self.path = path
        self.random = random.Random(settings.seed)
        self.progress = Progress("measuring", settings.budget_s, enabled=progress)
        self.memory_bytes = settings.memory_bytes or MEMORY_SHARE * usable_memory()
        self.references: dict[MoEConfig, list[Reference]] = {}
        self.begun = time.monotonic()
        self.elapsed_before_s = run.elapsed_s
        self.saved_at = 0.0
        self.probes: dict[int, Child] = {}
        self.limits_due_at = -inf
        self.turn_most_s = settings.budget_s
        self.cut_short = False
        self.alive: dict[int, Measurement] = {}  # what nothing has gone wrong with, by its number

    def measure(self) -> None:
        """Measure until the budget is spent; whatever happens, what was measured is saved."""
        self._find_available()
        self._save(now=True)  # a file that can't be written is found out before anything is measured
        try:
            with ExitStack() as children:
                self._start_probes(children)
                self._generations(self.begun + self.settings.budget_s)
            self.run.complete = not self.cut_short
        finally:
            self.progress.close()
            self._save(now=True)

    def _generations(self, end: float) -> None:
        """As many generations of workers as are asked for, or as the target needs and the budget allows."""
        generation = 1 + max((p for m in self.run.measurements for p in m.processes), default=-1)
        left = max(1, self.settings.processes - generation)
        while True:
            started = time.monotonic()
            least_s = self._generation(generation, started + (end - started) / max(1, left))
            generation += 1
            # A generation too many would break the budget before it has its first round.
            affordable = int((end - time.monotonic()) / least_s)
            left = min(left - 1, affordable)
            if left < 1 and (self.settings.target is None or affordable < 1 or self._is_narrow(self.settings.target)):
                return

    def _is_narrow(self, target: float) -> bool:
        rows = summarise(self.run).measured
        return all(i.half_width <= target for row in rows for i in (row.latency, row.speedup) if i)

    def _find_available(self) -> None:
        lines = {name: _lines(name) for name in {m.implementation for m in self.run.measurements}}
        for number, m in enumerate(self.run.measurements):
            if m.status == "failed" or (m.status == "not_run" and m.reason not in ("", NOT_REACHED)):
                continue  # the plan, or the run that this one continues, has said why
            available, reason = availability(m.variant)
            if available:
                self.alive[number] = m
                m.details.setdefault("lines", lines[m.implementation])
            if not m.samples_s:
                m.status, m.reason = "not_run", reason or NOT_REACHED

    def _generation(self, generation: int, deadline: float) -> float:
        """Start fresh workers, check them, and give them rounds until the deadline, at least one.

        Returns the seconds that a generation of one round takes.
        """
        started = time.monotonic()
        with Workers(self.memory_bytes) as self.workers, TemporaryDirectory() as folder:
            self.folder = Path(folder)
            self._all_ready()
            ready = time.monotonic()
            if self.settings.target is not None:
                deadline = min(deadline, ready + (ready - started))
            first_round_s = self._rounds(generation, deadline)
        return max(ready - started + first_round_s, 1e-3)

    def _all_ready(self) -> None:
        """Have every measurement loaded, prepared and checked in the workers that are there now."""
        # They load their libraries side by side: nothing is timed yet.
        loading = [number for number, m in self.alive.items() if self.workers.start(m)]
        for number in loading:
            m = self.alive[number]
            self.workers.send(m, "load", implementation=m.implementation, threads=m.threads)
        for number in loading:
            self._attempt(number, self._note_load)
        for number in list(self.alive):
            self._attempt(number, self._make_ready)

    def _start_probes(self, children: ExitStack) -> None:
        """Probes of the machine's limits on each number of threads, loaded and asked once."""
        for threads in self.run.protocol["threads"]:
            self.probes[threads] = Child(threads)
            children.callback(self.probes[threads].kill)
        self._limits()
        self.limits_due_at = time.monotonic() + LIMITS_EVERY_S  # what loading took is no measure of the next time

    def _rounds(self, generation: int, deadline: float) -> float:
        """Rounds until the deadline, at least one; returns the seconds of the first."""
        first_round_s = 0.0
        while self.alive:
            started = time.monotonic()
            order = list(self.alive)
            self.random.shuffle(order)
            for number in order:
                self._attempt(number, lambda n, m: self._turn(n, m, generation))
            self._limits()
            self._save()
            now = time.monotonic()
            first_round_s = first_round_s or now - started
            if now + (now - started) > deadline:
                break
        return first_round_s

    def _limits(self) -> None:
        """Measure what the machine can do, if that was some time ago, or keep why that is not possible."""
        started = time.monotonic()
        if started < self.limits_due_at:
            return
        for threads, child in list(self.probes.items()):
            self.progress.note(f"the machine's limits (threads: {threads})")
            try:
                self.run.limits.append(child.ask("limits", timeout=LOAD_TIMEOUT_S, threads=threads))
            except WorkerFailedError as error:
                self.run.limits.append({"threads": threads, "reason": str(error)})
                del self.probes[threads]
            if threads > 1:
                child.rest(self.settings.rest_most_s)
        now = time.monotonic()
        self.limits_due_at = now + max(LIMITS_EVERY_S, (now - started) / LIMITS_SHARE)

    def _attempt(self, number: int, step: Callable[[int, Measurement], None]) -> None:
        """Take a step with a measurement; what goes wrong ends it, and what else is measured goes on."""
        m = self.alive[number]
        try:
            step(number, m)
        except (WorkerFailedError, _NotRunError) as error:
            m.status = "failed" if isinstance(error, WorkerFailedError) else "not_run"
            m.reason = str(error) or "it gave no reason"
            del self.alive[number]

    def _note_load(self, number: int, m: Measurement) -> None:
        """Take the answer to a worker's request to load a variant."""
        self.progress.note(f"loading {m.label}")
        reply = self.workers.receive(m, LOAD_TIMEOUT_S)
        # The first generation's: it compiles what the later ones find compiled.
        m.details.setdefault("load_s", reply["load_s"])
        self.workers.note_done(m, "load")

    def _make_ready(self, number: int, m: Measurement) -> None:
        """Load, prepare and check a measurement, unless that has been done in the worker that is there now."""
        if self.workers.has_done(m, "ready", number):
            return
        settings = self.settings
        if not self.workers.has_done(m, "load"):
            self.workers.send(m, "load", implementation=m.implementation, threads=m.threads)
            self._note_load(number, m)
        self.progress.note(f"preparing {m.label} (threads: {m.threads})")
        what = {"variant": m.variant, "threads": m.threads, "config": asdict(m.config), "inputs": settings.inputs}
        reply = self.workers.ask(m, "prepare", timeout=settings.timeout_s, number=number, **what)
        if "not_run" in reply:
            raise _NotRunError(reply["not_run"])
        m.prepare_s, m.first_call_s = reply["prepare_s"], reply["first_call_s"]
        m.details |= {key: reply[key] for key in ("pools", "library") if reply[key]}
        require_threads(reply["pools"], m.threads)
        turn_s = reply["first_call_s"] * (settings.turn_forwards + 1)
        if turn_s > min(settings.timeout_s, self.turn_most_s):
            raise _NotRunError(f"a turn would take about {turn_s:.0f} s, {TOO_LONG}")
        path = self.folder / f"{number}.npz"
        checked = {"number": number, "count": settings.inputs, "path": str(path)}
        self.workers.ask(m, "outputs", timeout=settings.timeout_s, **checked)
        self._judge(m, path)
        self._calls(m)
        self.workers.note_done(m, "ready", number)

    def _calls(self, m: Measurement) -> None:
        """Measure what calls into a worker's library cost, once for all variants of its implementation."""
        library = entry_of(Variant(m.implementation)).library
        known = (o for o in self.run.measurements if (o.implementation, o.threads) == (m.implementation, m.threads))
        if library and not any("calls" in other.details for other in known):
            reply = self.workers.ask(m, "calls", timeout=self.settings.timeout_s, library=library)
            m.details["calls"] = reply["calls"]

    def _judge(self, m: Measurement, path: Path) -> None:
        """Compare a worker's outputs with the reference; only agreement on every input is agreement."""
        if m.config not in self.references:
            self.references[m.config] = references_of(m.config, self.settings.inputs)
        references = self.references[m.config]
        # The worst of every process: a later one's agreement hides nothing.
        worst = parity_of(path, references, [Parity.from_dict(m.parity)] if m.parity else [])
        m.parity = worst.to_dict()
        m.details["bytes_moved"] = references[0].problem.bytes_moved(references[0].experts)
        if not worst.passed:
            raise WorkerFailedError(f"disagrees with the reference: {worst.reason}")

    def _turn(self, number: int, m: Measurement, generation: int) -> None:
        """Give a measurement its turn, in a fresh worker where another one's turn has ended the last."""
        self._make_ready(number, m)
        settings = self.settings
        self.progress.note(f"{m.label} (threads: {m.threads})")
        watch = Watch()
        reply = self.workers.ask(
            m,
            "turn",
            timeout=settings.timeout_s,
            number=number,
            seconds=settings.turn_s,
            least=settings.turn_forwards,
            warm_up=settings.warm_up_s,
            warm_up_most=settings.warm_up_most_s,
            cache=settings.cache,
            threads=m.threads,
        )
        elsewhere = watch.stop(reply["cpu_s"])
        m.status, m.reason = "ok", ""
        m.samples_s.append(reply["samples"])
        m.processes.append(generation)
        m.warm_up_s += reply["warm_up_s"]
        m.others_cores.append(elsewhere.others_cores)
        m.stolen_cores.append(elsewhere.stolen_cores)
        m.peak_rss_bytes = max(m.peak_rss_bytes or 0, reply["peak_rss_bytes"])
        if m.threads > 1:
            self.workers.rest(m, settings.rest_most_s)

    def _save(self, *, now: bool = False) -> None:
        self.run.elapsed_s = self.elapsed_before_s + time.monotonic() - self.begun
        if self.path is not None and (now or time.monotonic() - self.saved_at > self.settings.save_every_s):
            self.run.save(self.path, force=True)
            self.saved_at = time.monotonic()


def _lines(implementation: str) -> dict[str, int]:
    """Lines of code by language; none where a source can't be read, which is no reason not to measure it."""
    try:
        return lines_of(load(implementation))
    except Exception:
        return {}


def require_threads(pools: Sequence[dict[str, Any]], threads: int) -> None:
    """Raise WorkerFailedError unless what a worker found inside itself is what it was given.

    No pool may have more threads, and one must have as many: an idle BLAS beside a kernel with threads of its
    own may have fewer, since it takes no more than there are cores.
    """
    for pool in pools:
        if pool["threads"] > threads:
            raise WorkerFailedError(f"asked for {threads} threads, but {pool['name']} uses {pool['threads']}")
    if pools and max(pool["threads"] for pool in pools) < threads:
        found = ", ".join(f"{pool['name']}: {pool['threads']}" for pool in pools)
        raise WorkerFailedError(f"asked for {threads} threads, but got fewer ({found})")
