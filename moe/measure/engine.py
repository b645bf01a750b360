"""The one loop that measures: processes, rounds, turns."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from moe.config import MoEConfig
from moe.implementations import Variant, availability, parse_variant
from moe.implementations.registry import BASELINE
from moe.measure.child import Child, WorkerFailedError
from moe.measure.machine import describe_machine, describe_versions
from moe.parity import compare_output
from moe.problem import Problem, make_inputs, make_weights
from moe.progress import Progress
from moe.reference import Reference, reference
from moe.run import Measurement, Run, RunFileError, load_run

CHECKED_INPUTS = 2  # one could be right by accident, or be yesterday's


@dataclass(frozen=True)
class Protocol:
    """How a run measures; it is part of the run's file.

    A turn times single forwards for turn_s, at least turn_forwards of them, after untimed ones for warm_up_s.
    A round gives every variant one turn, in an order shuffled by `seed`. Rounds go on in each of `processes`
    generations of workers until its share of budget_s is spent.
    """

    budget_s: float = 60.0
    timeout_s: float = 120.0
    processes: int = 3
    turn_s: float = 0.02
    turn_forwards: int = 3
    # Forwards right after another process's turn were seen to be slower for some 60 ms (NumPy's by 15 %).
    warm_up_s: float = 0.1
    inputs: int = 4
    # OpenBLAS's threads spin for some 30 ms after a product, GNU OpenMP's for less.
    pause_s: float = 0.05
    seed: int = 0
    save_every_s: float = field(default=5.0, repr=False)

    def __post_init__(self) -> None:
        if self.inputs < CHECKED_INPUTS:
            raise ValueError(f"inputs must be at least {CHECKED_INPUTS}, got {self.inputs!r}")
        for name in ("budget_s", "timeout_s", "processes", "turn_forwards"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ValueError(f"{name} must be greater than 0, got {value!r}")


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
    run = Run(describe_machine(), describe_versions(), {**asdict(settings), "threads": list(threads)}, planned)
    target = Path(path) if path is not None else None
    if target is not None and target.exists() and not force:
        if not resume:
            raise RunFileError(f"{target} exists: --resume continues it, --force replaces it")
        run = _continued(load_run(target), run, target)
    if not run.complete:
        _Session(run, settings, target, progress).measure()
    return run


def plan(variants: Sequence[Variant], config: MoEConfig, threads: Sequence[int]) -> list[Measurement]:
    """The measurements to make, among them the control; raises ValueError for a bad list."""
    if not variants:
        raise ValueError("implementations must name at least one implementation")
    for count in threads:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"threads must be whole numbers of at least 1, got {count!r}")
    if len(set(map(str, variants))) < len(variants) or len(set(threads)) < len(threads):
        raise ValueError("implementations and threads must not repeat: a control is measured anyway")
    planned = [
        _planned(variant, config, count)
        for count in threads
        for variant in variants
        # Another device does not care how many threads the CPU has.
        if count <= (variant.entry.most_threads or count) and (variant.device == "cpu" or count == max(threads))
    ]
    names = [str(variant) for variant in variants]
    twice = BASELINE if BASELINE in names else names[0]
    for first in [m for m in planned if m.label == twice]:
        control = _planned(parse_variant(twice), config, first.threads)
        control.label, control.control = f"{twice} (control)", True
        planned.append(control)
    return planned


def _planned(variant: Variant, config: MoEConfig, threads: int) -> Measurement:
    affordable = variant.entry.affordable_tokens
    if affordable is not None and affordable < config.tokens:
        config = config.with_tokens(affordable)
    return Measurement(str(variant), variant.name, variant.options, config, threads, variant.device)


def _continued(old: Run, new: Run, path: Path) -> Run:
    """The old run with room for what is missing; raises RunFileError if it measured something else."""

    def identity(run: Run) -> list[Any]:
        return [(m.label, m.config, m.threads) for m in run.measurements]

    if identity(old) != identity(new):
        raise RunFileError(f"{path} holds other measurements than those asked for: --force replaces it")
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

    def measure(self) -> None:
        """Measure until the budget is spent; whatever happens, what was measured is saved."""
        generation = 1 + max((p for m in self.run.measurements for p in m.processes), default=-1)
        end = time.monotonic() + self.settings.budget_s
        left = max(1, self.settings.processes - generation)
        try:
            self._mark_unavailable()
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

    def _mark_unavailable(self) -> None:
        for m in self.run.measurements:
            available, reason = availability(m.variant)
            if not available:
                m.status, m.reason = "not_run", reason
            elif m.status == "not_run":
                # Until something goes wrong.
                m.status, m.reason = "ok", ""

    def _generation(self, generation: int, deadline: float) -> float:
        """Start fresh workers, check them, and give them rounds until the deadline, at least one.

        Returns the seconds that a generation of one round takes.
        """
        started = time.monotonic()
        with ExitStack() as workers, TemporaryDirectory() as folder:
            children: dict[int, Child] = {}
            # They load their libraries side by side: nothing is timed yet.
            for number, m in enumerate(self.run.measurements):
                if m.status == "ok":
                    children[number] = Child(m.threads)
                    workers.callback(children[number].kill)
                    children[number].send("load", variant=m.variant, threads=m.threads)
            for number, child in children.items():
                self._load(self.run.measurements[number], child)
            for number, child in children.items():
                self._prepare(number, child, Path(folder))
            self._limits()
            first_round_s = 0.0
            ready = time.monotonic()
            while True:
                round_started = time.monotonic()
                order = [n for n in children if self.run.measurements[n].status == "ok"]
                if not order:
                    return max(time.monotonic() - started, 1e-3)
                self.random.shuffle(order)
                for number in order:
                    self._turn(number, children[number], generation)
                self._save()
                now = time.monotonic()
                first_round_s = first_round_s or now - ready
                if now + (now - round_started) > deadline:
                    return ready - started + first_round_s

    def _limits(self) -> None:
        """Measure what the machine can do on each number of threads; without the probes there are no limits."""
        for threads in self.run.protocol["threads"]:
            self.progress.note(f"the machine's limits on {threads} threads")
            child = Child(threads)
            try:
                self.run.limits.append(child.ask("limits", timeout=self.settings.timeout_s, threads=threads))
            except WorkerFailedError as error:
                self.run.machine["limits_not_measured"] = str(error)
            finally:
                child.kill()

    def _load(self, m: Measurement, child: Child) -> None:
        self.progress.note(f"loading {m.label}")
        try:
            reply = child.receive(self.settings.timeout_s)
        except WorkerFailedError as error:
            m.status, m.reason = "failed", str(error)
            return
        if "not_run" in reply:
            m.status, m.reason = "not_run", reply["not_run"]
        else:
            m.details["load_s"] = reply["load_s"]

    def _prepare(self, number: int, child: Child, folder: Path) -> None:
        m = self.run.measurements[number]
        if m.status != "ok":
            return
        self.progress.note(f"preparing {m.label} on {m.threads} {'thread' if m.threads == 1 else 'threads'}")
        try:
            reply = child.ask(
                "prepare",
                timeout=self.settings.timeout_s,
                number=number,
                variant=m.variant,
                config=asdict(m.config),
                threads=m.threads,
                inputs=self.settings.inputs,
            )
            m.prepare_s, m.first_call_s = reply["prepare_s"], reply["first_call_s"]
            m.details |= {key: reply[key] for key in ("pools", "library") if reply[key]}
            if wrong := [p for p in reply["pools"] if p["threads"] != m.threads]:
                raise WorkerFailedError(
                    f"asked for {m.threads} threads, but {wrong[0]['name']} uses {wrong[0]['threads']}"
                )
            path = folder / f"{number}.npz"
            child.ask("outputs", timeout=self.settings.timeout_s, number=number, count=CHECKED_INPUTS, path=str(path))
            self._judge(m, path)
        except WorkerFailedError as error:
            m.status, m.reason = "failed", str(error)

    def _judge(self, m: Measurement, path: Path) -> None:
        """Compare a worker's outputs with the reference; only agreement on every input is agreement."""
        with np.load(path, allow_pickle=False) as saved:
            outputs = [saved[name] for name in saved.files]
        references = self._references(m.config)
        if len(outputs) != len(references):
            raise WorkerFailedError(f"gave {len(outputs)} outputs for {len(references)} inputs")
        verdicts = [compare_output(y, ref) for y, ref in zip(outputs, references, strict=True)]
        worst = max(verdicts, key=lambda v: (not v.passed, v.max_rel_error))
        m.parity = worst.to_dict()
        if not worst.passed:
            m.status, m.reason = "failed", f"disagrees with the reference: {worst.reason}"

    def _references(self, config: MoEConfig) -> list[Reference]:
        if config not in self.references:
            weights = make_weights(config)
            inputs = make_inputs(config, CHECKED_INPUTS)
            self.references[config] = [reference(Problem(weights, x, config.top_k)) for x in inputs]
        return self.references[config]

    def _turn(self, number: int, child: Child, generation: int) -> None:
        m = self.run.measurements[number]
        settings = self.settings
        self.progress.note(f"{m.label} on {m.threads} {'thread' if m.threads == 1 else 'threads'}")
        try:
            reply = child.ask(
                "turn",
                timeout=settings.timeout_s,
                number=number,
                seconds=settings.turn_s,
                least=settings.turn_forwards,
                warm_up=settings.warm_up_s,
            )
        except WorkerFailedError as error:
            m.status, m.reason = "failed", str(error)
            return
        m.samples_s.append(reply["samples"])
        m.processes.append(generation)
        m.peak_rss_bytes = max(m.peak_rss_bytes or 0, reply["peak_rss_bytes"])
        if m.threads > 1:
            time.sleep(settings.pause_s)

    def _save(self, *, now: bool = False) -> None:
        if self.path is not None and (now or time.monotonic() - self.saved_at > self.settings.save_every_s):
            self.run.save(self.path, force=True)
            self.saved_at = time.monotonic()
