"""From a command's arguments to a run that is ready to be measured: a new one, or one that goes on."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from moe.checkpoint import Checkpoint
from moe.measure.environment import say_what_is_not_passed_on
from moe.measure.machine import describe_machine, describe_versions
from moe.measure.protocol import Protocol
from moe.run import CHECKPOINT, Measurement, Run, RunFileError, load_run


def new_run(
    planned: list[Measurement], settings: Protocol, threads: Sequence[int], checkpoint: Checkpoint | None = None
) -> Run:
    """A run of this machine without samples; raises ValueError for a layer that is not the checkpoint's, if given."""
    say_what_is_not_passed_on()
    protocol = {**asdict(settings), "threads": list(threads)}
    for m in planned:
        m.cache = settings.cache
        if checkpoint is not None:
            checkpoint.require(m.config)
    if checkpoint is not None:
        protocol[CHECKPOINT] = checkpoint.origin
    return Run(describe_machine(), describe_versions(), protocol, planned)


def run_to_measure(run: Run, path: Path | None, *, resume: bool = False, force: bool = False) -> Run:
    """A new run, or with `resume` the one at `path`; raises RunFileError where that may not be."""
    require_free(path, resume=resume, force=force)
    if path is None or force or not path.exists():
        return run
    return _continued(load_run(path), run, path)


def require_free(path: Path | None, *, resume: bool, force: bool) -> None:
    """Raise RunFileError where there is a file that is neither to be continued nor to be replaced."""
    if path is not None and path.exists() and not (resume or force):
        raise RunFileError(f"{path} exists: --resume continues it, --force replaces it")


def _continued(old: Run, new: Run, path: Path) -> Run:
    """The old run, to be continued; raises RunFileError unless the new one measures the same in the same way."""

    def asked(run: Run) -> dict[str, Any]:
        protocol = {key: value for key, value in run.protocol.items() if key not in Protocol.MAY_CHANGE}
        return {**protocol, "measurements": [(m.label, m.config, m.threads) for m in run.measurements]}

    before, now = asked(old), asked(new)
    differ = [key for key in before.keys() | now.keys() if before.get(key) != now.get(key)]
    if changed := sorted(differ + old.differences(new)):
        raise RunFileError(f"{path} can't be continued, since {', '.join(changed)} changed: --force replaces it")
    old.protocol = new.protocol
    for m in old.measurements:
        m.number_turns()
    return old
