"""A source's own way of measuring, replayed: one process, one row after the other, a fixed number of forwards.

Nothing is shuffled, repeated in another process or paired: what the source did is what is done. Outputs are compared
with the reference first, as everywhere; the forwards that this takes count as warm-up.
"""

from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from moe.claims import Claims
from moe.implementations import availability, parse_variant
from moe.measure.agreement import Referee, agree
from moe.measure.bench import NOT_REACHED_REASON
from moe.measure.child import Child, WorkerFailedError
from moe.measure.inputs import KNOWN, Inputs
from moe.measure.machine import describe_machine, describe_versions
from moe.measure.protocol import Protocol
from moe.measure.saving import Saving
from moe.measure.start import run_to_measure
from moe.parity import INPUT_CHANGED, WEIGHTS_CHANGED, mark_of
from moe.progress import Progress
from moe.run import NO_ROOM, NOT_HERE, NOT_REACHED, OTHER, Measurement, NotRunError, Run

REPLAY_S = 10.0  # about what the four rows of the published comparison take


def replay(claims: Claims, threads: int, path: Path | None = None) -> Run:
    """Measure the rows of the source's protocol as it did, on `threads` threads, and save the run at `path`.

    A row's samples are its forwards after the warm-up. A file without a protocol gives a run without measurements;
    what can't run or goes wrong costs its own row. Raises RunFileError where `path` exists.
    """
    protocol = claims.protocol or {"warm_up": 0, "forwards": Protocol.turn_forwards, "rows": []}
    at_once: dict[str, Any] = {"turn_s": 0.0, "turn_most_s": None, "warm_up_s": 0.0, "warm_up_most_s": 0.0}
    settings = Protocol(processes=1, turn_forwards=protocol["forwards"], **at_once)
    asked = {variant: availability(variant) for variant in claims.variants()}
    not_here = {variant: reason for variant, (available, reason) in asked.items() if not available}
    run = Run(describe_machine(), describe_versions(), {**asdict(settings), "threads": [threads], NOT_HERE: not_here})
    for row in protocol["rows"]:
        variant = parse_variant(row["variant"])
        m = Measurement(row["name"], variant.name, variant.options, claims.config, threads, variant.device)
        m.reason, m.code = NOT_REACHED_REASON, NOT_REACHED
        run.measurements.append(m)
    with Saving(run_to_measure(run, path), path).lasting():
        _measure_all(run, threads, protocol["warm_up"], settings)
    return run


def _measure_all(run: Run, threads: int, warm_up: int, settings: Protocol) -> None:
    progress = Progress("replaying", REPLAY_S)
    child = Child(threads)
    try:
        for number, m in enumerate(run.measurements):
            progress.note(m.label)
            if child.ended:
                child.kill()
                child = Child(threads)
            _measure(child, number, m, warm_up, settings)
        run.complete = True
    finally:
        child.kill()
        progress.close()


def _measure(child: Child, number: int, m: Measurement, warm_up: int, settings: Protocol) -> None:
    ask = partial(child.ask, timeout=settings.timeout_s, number=number)

    def release() -> bool:
        return bool(ask("release")["changed"])

    try:
        available, reason = availability(m.variant)
        if not available:
            raise NotRunError(reason)
        with TemporaryDirectory() as folder:
            referee = Referee(Path(folder), settings.inputs)
            referee.prepare(ask, m, settings.inputs)
            agree(m, referee.judge_first(ask, m), release)
            more = max(0, warm_up - 1 - settings.inputs)  # the first call and the checked outputs were before
            reply = ask("forwards", secret=KNOWN, count=more + settings.turn_forwards)
            if reply["mark"] != mark_of(Inputs(m.config, KNOWN, 1)[0]):
                raise WorkerFailedError(INPUT_CHANGED)
            if release():
                raise WorkerFailedError(WEIGHTS_CHANGED)
    except NotRunError as error:
        m.reason, m.code = str(error), error.code
    except WorkerFailedError as error:
        m.status, m.reason, m.code = "failed", str(error), OTHER
    except (OSError, MemoryError) as error:
        m.reason, m.code = f"no room for it here: {error}", NO_ROOM
    else:
        samples = reply["samples"]
        m.status, m.reason, m.code = "ok", "", ""
        m.warm_up_s, m.samples_s, m.processes = sum(samples[:more]), [samples[more:]], [0]
        m.others_cores, m.stolen_cores, m.waited = [0.0], [0.0], [None]
