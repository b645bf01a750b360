"""The one loop that measures: processes, rounds, turns."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from moe.config import MoEConfig
from moe.implementations import availability, parse_variant
from moe.measure.child import Child, WorkerFailedError
from moe.measure.machine import describe_machine, describe_versions
from moe.measure.plan import Protocol, plan
from moe.parity import Parity, compare_output
from moe.problem import Problem, make_inputs, make_weights
from moe.progress import Progress
from moe.reference import Reference, reference
from moe.run import Measurement, Run, RunFileError, load_run

LOAD_TIMEOUT_S = 360.0  # longer than the Mojo compiler gets, so that it is stopped first and says so
NOT_REACHED = "the run ended before its first turn"


def compare(
    implementations: Sequence[str],
    config: MoEConfig,
    threads: Sequence[int] = (1,),
    *,
    path: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    **protocol: Any,
) -> Run:
    """Measure implementations side by side on one problem; `protocol` takes the fields of `Protocol`.

    One of them is measured a second time, as a control. What disagrees with the reference is `failed` and not
    timed; what can't run is `not_run`. With `path` the run is saved as it grows, and after Ctrl-C as far as it
    got; `resume` adds to the run found there. Raises ValueError for a bad argument and RunFileError for a file
    that may not be written.
    """
    settings = Protocol(**protocol)
    planned = plan([parse_variant(name) for name in implementations], config, threads)
    for measurement in planned:
        measurement.cache = settings.cache
    run = Run(describe_machine(), describe_versions(), {**asdict(settings), "threads": list(threads)}, planned)
    target = Path(path) if path is not None else None
    if target is not None and target.exists() and not force:
        if not resume:
            raise RunFileError(f"{target} exists: --resume continues it, --force replaces it")
        run = _continued(load_run(target), run, target)
    if not run.complete:
        _Session(run, settings, target, progress).measure()
    return run


def _continued(old: Run, new: Run, path: Path) -> Run:
    """The old run, to be continued; raises RunFileError unless the new one measures the same in the same way."""

    def conditions(run: Run) -> dict[str, Any]:
        protocol = {key: value for key, value in run.protocol.items() if key not in Protocol.MAY_CHANGE}
        machine = {key: value for key, value in run.machine.items() if key != "load_average"}
        measured = [(m.label, m.config, m.threads) for m in run.measurements]
        return {**protocol, **machine, **run.versions, "measurements": measured}

    before, now = conditions(old), conditions(new)
    if changed := sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key)):
        raise RunFileError(f"{path} can't be continued, since {', '.join(changed)} changed: --force replaces it")
    old.protocol = new.protocol
    return old


class _Session:
    """One run being measured."""

    def __init__(self, run: Run, settings: Protocol, path: Path | None, progress: bool) -> None:
        self.run = run
        self.settings = settings
        self.path = path
        self.random = random.Random(settings.seed)
        self.progress = Progress("measuring", settings.budget_s, enabled=progress)
        self.references: dict[MoEConfig, list[Reference]] = {}
        self.saved_at = 0.0
        self.alive: dict[int, Measurement] = {}  # what nothing has gone wrong with, by its number

    def measure(self) -> None:
        """Measure until the budget is spent; whatever happens, what was measured is saved."""
        generation = 1 + max((p for m in self.run.measurements for p in m.processes), default=-1)
        end = time.monotonic() + self.settings.budget_s
        left = max(1, self.settings.processes - generation)
        self._find_available()
        self._save(now=True)  # a file that can't be written is found out before anything is measured
        try:
            while left > 0:
                started = time.monotonic()
                least_s = self._generation(generation, started + (end - started) / left)
                # A generation too many would break the budget before it has its first round.
                left = min(left - 1, int((end - time.monotonic()) / least_s))
                generation += 1
            self.run.complete = True
        finally:
            self.progress.close()
            self._save(now=True)

    def _find_available(self) -> None:
        for number, m in enumerate(self.run.measurements):
            if m.status == "failed" or (m.status == "not_run" and m.reason not in ("", NOT_REACHED)):
                continue  # the plan, or the run that this one continues, has said why
            available, reason = availability(m.variant)
            if available:
                self.alive[number] = m
            if not m.samples_s:
                m.status, m.reason = "not_run", reason or NOT_REACHED

    def _end(self, number: int, status: str, reason: str) -> None:
        """A measurement goes no further; what else is measured goes on."""
        m = self.alive.pop(number)
        m.status, m.reason = status, reason

    def _generation(self, generation: int, deadline: float) -> float:
        """Start fresh workers, check them, and give them rounds until the deadline, at least one.

        Returns the seconds that a generation of one round takes.
        """
        started = time.monotonic()
        with ExitStack() as workers, TemporaryDirectory() as folder:
            # They load their libraries side by side: nothing is timed yet.
            children: dict[int, Child] = {}
            for number, m in self.alive.items():
                children[number] = Child(m.threads)
                workers.callback(children[number].kill)
                children[number].send("load", variant=m.variant, threads=m.threads)
            for number in list(self.alive):
                self._load(number, children[number])
            for number in list(self.alive):
                self._prepare(number, children[number], Path(folder))
            self._limits()
            ready = time.monotonic()
            first_round_s = 0.0
            while self.alive:
                round_started = time.monotonic()
                order = list(self.alive)
                self.random.shuffle(order)
                for number in order:
                    self._turn(number, children[number], generation)
                self._save()
                now = time.monotonic()
                first_round_s = first_round_s or now - ready
                if now + (now - round_started) > deadline:
                    break
        return max(ready - started + first_round_s, 1e-3)

    def _limits(self) -> None:
        """Measure what the machine can do on each number of threads, or keep why that was not possible."""
        for threads in self.run.protocol["threads"]:
            self.progress.note(f"the machine's limits (threads: {threads})")
            child = Child(threads)
            try:
                self.run.limits.append(child.ask("limits", timeout=LOAD_TIMEOUT_S, threads=threads))
            except WorkerFailedError as error:
                self.run.limits.append({"threads": threads, "reason": str(error)})
            finally:
                child.kill()

    def _load(self, number: int, child: Child) -> None:
        m = self.alive[number]
        self.progress.note(f"loading {m.label}")
        try:
            reply = child.receive(LOAD_TIMEOUT_S)
        except WorkerFailedError as error:
            self._end(number, "failed", str(error))
            return
        if "not_run" in reply:
            self._end(number, "not_run", reply["not_run"])
        else:
            # The first generation's: it compiles what the later ones find compiled.
            m.details.setdefault("load_s", reply["load_s"])

    def _prepare(self, number: int, child: Child, folder: Path) -> None:
        m, settings = self.alive[number], self.settings
        self.progress.note(f"preparing {m.label} (threads: {m.threads})")
        try:
            reply = child.ask(
                "prepare",
                timeout=settings.timeout_s,
                number=number,
                variant=m.variant,
                config=asdict(m.config),
                threads=m.threads,
                inputs=settings.inputs,
            )
            m.prepare_s, m.first_call_s = reply["prepare_s"], reply["first_call_s"]
            m.details |= {key: reply[key] for key in ("pools", "library") if reply[key]}
            require_threads(reply["pools"], m.threads)
            turn_s = reply["first_call_s"] * (settings.turn_forwards + 1)
            if turn_s > min(settings.timeout_s, settings.budget_s):
                self._end(number, "not_run", f"a turn would take about {turn_s:.0f} s, too long for this run")
                return
            path = folder / f"{number}.npz"
            child.ask("outputs", timeout=settings.timeout_s, number=number, count=settings.inputs, path=str(path))
            self._judge(number, path)
        except WorkerFailedError as error:
            self._end(number, "failed", str(error))

    def _judge(self, number: int, path: Path) -> None:
        """Compare a worker's outputs with the reference; only agreement on every input is agreement."""
        m = self.alive[number]
        with np.load(path, allow_pickle=False) as saved:
            outputs = [saved[name] for name in saved.files]
        references = self._references(m.config)
        if len(outputs) != len(references):
            raise WorkerFailedError(f"gave {len(outputs)} outputs for {len(references)} inputs")
        verdicts = [compare_output(y, ref) for y, ref in zip(outputs, references, strict=True)]
        # The worst of every process: a later one's agreement hides nothing.
        before = [Parity.from_dict(m.parity)] if m.parity else []
        worst = max([*before, *verdicts], key=lambda v: (not v.passed, v.max_rel_error))
        m.parity = worst.to_dict()
        m.details["bytes_moved"] = references[0].problem.bytes_moved(references[0].experts)
        if not worst.passed:
            self._end(number, "failed", f"disagrees with the reference: {worst.reason}")

    def _references(self, config: MoEConfig) -> list[Reference]:
        if config not in self.references:
            weights = make_weights(config)
            inputs = make_inputs(config, self.settings.inputs)
            self.references[config] = [reference(Problem(weights, x, config.top_k)) for x in inputs]
        return self.references[config]

    def _turn(self, number: int, child: Child, generation: int) -> None:
        m, settings = self.alive[number], self.settings
        self.progress.note(f"{m.label} (threads: {m.threads})")
        try:
            reply = child.ask(
                "turn",
                timeout=settings.timeout_s,
                number=number,
                seconds=settings.turn_s,
                least=settings.turn_forwards,
                warm_up=settings.warm_up_s,
                cache=settings.cache,
                threads=m.threads,
            )
        except WorkerFailedError as error:
            self._end(number, "failed", str(error))
            return
        m.status, m.reason = "ok", ""
        m.samples_s.append(reply["samples"])
        m.processes.append(generation)
        m.peak_rss_bytes = max(m.peak_rss_bytes or 0, reply["peak_rss_bytes"])
        if m.threads > 1:
            time.sleep(settings.pause_s)

    def _save(self, *, now: bool = False) -> None:
        if self.path is not None and (now or time.monotonic() - self.saved_at > self.settings.save_every_s):
            self.run.save(self.path, force=True)
            self.saved_at = time.monotonic()


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
