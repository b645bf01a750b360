"""Whether what workers computed agrees with the reference: before anything is timed, and after every turn."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from moe.config import FLOAT32_BYTES, MoEConfig
from moe.measure.child import WorkerFailedError
from moe.measure.inputs import KNOWN, Inputs, numbers_of
from moe.measure.loaded import require_files
from moe.measure.mapped import write_weights
from moe.parity import INPUT_CHANGED, UNJUDGED, WEIGHTS_CHANGED, Parity, compare_output, mark_of, worst
from moe.problem import Float32Array, Problem, Weights, make_weights
from moe.processor import require_memory
from moe.reference import NUMBERS_AT_ONCE, Reference, reference
from moe.run import OTHER, Measurement, NotRunError

MAKING = 3  # times the weights: what making them takes
A_NUMBER_BYTES = 44  # of each of an input's numbers: itself, its output, both in float64, and differences
EXPERT_BYTES = 8  # of each expert that a token takes
AT_ONCE_BYTES = 48  # of each number of the widest array for some tokens at a time
ROWS = 32  # of an output that was timed: half of the tokens left out would escape once in 4 thousand million turns

Ask = Callable[..., dict[str, Any]]  # has a worker do an operation with a measurement, by its arguments' names


@dataclass(frozen=True)
class Kept:
    """An output of a timed forward: which measurement's, for which input, and what it is at some of its tokens."""

    number: int
    m: Measurement
    x: Float32Array
    y: NDArray[np.generic]
    flaw: str = ""  # what is wrong with the whole of it


class Referee:
    """The problems in hand: their weights, made once and written for the workers, and what the reference says."""

    def __init__(self, folder: Path, inputs: int, given: Weights | None = None) -> None:
        self._folder = folder
        self._inputs = inputs
        self._given = given  # those of every problem, in place of a seed's
        self._weights: dict[MoEConfig, Weights] = {}
        self._references: dict[MoEConfig, list[Reference]] = {}

    def weights_at(self, config: MoEConfig) -> Path:
        """Where a problem's weights are, for workers to map; raises MemoryError where this process can't judge it."""
        key = _weights_of(config)
        if config not in self._references:
            _require_memory(config, self._inputs, made=self._given is not None or key in self._weights)
        path = self._path(key)
        if key not in self._weights:
            weights = make_weights(key) if self._given is None else self._given
            write_weights(weights, path)
            self._weights[key] = weights
        return path

    def _path(self, key: MoEConfig) -> Path:
        return self._folder / f"weights-{abs(hash(key)):x}"

    def keep_only(self, configs: Sequence[MoEConfig]) -> None:
        """Forget all other problems, and their files."""
        kept = set(map(_weights_of, configs))
        numbers_of.cache_clear()
        for key in set(self._weights) - kept:
            self._path(key).unlink()
            del self._weights[key]
        self._references = {c: found for c, found in self._references.items() if c in configs}

    def references(self, config: MoEConfig) -> list[Reference]:
        """The reference's answers for the inputs that a row's first worker is asked for."""
        if config not in self._references:
            self.weights_at(config)
            inputs = Inputs(config, KNOWN, self._inputs)
            self._references[config] = [
                reference(Problem(self._weights[_weights_of(config)], inputs[i], config.top_k))
                for i in range(self._inputs)
            ]
        return self._references[config]

    def prepare(self, ask: Ask, m: Measurement, inputs: int) -> dict[str, Any]:
        """Have a worker make a measurement's layer and so many inputs, and call it once; what it says of it.

        Raises NotRunError where it can't, and WorkerFailedError where it has imported other files than this process.
        """
        what = {"variant": m.variant, "threads": m.threads, "config": asdict(m.config)}
        reply = ask("prepare", weights=str(self.weights_at(m.config)), inputs=inputs, **what)
        if "not_run" in reply:
            raise NotRunError(reply["not_run"])
        m.details |= {key: reply[key] for key in ("note", "router_precision") if reply.get(key)}
        m.details["files"] = require_files(m.implementation, reply.get("files", {}))
        return reply

    def judge_first(self, ask: Ask, m: Measurement) -> list[Parity]:
        """What comparing a worker's outputs for the first inputs finds; their file is gone afterwards.

        Raises WorkerFailedError where it has changed an input, or gives something else than outputs.
        """
        path = self._folder / "outputs.npz"
        marks = ask("outputs", path=str(path))["marks"]
        references = self.references(m.config)
        try:
            with np.load(path, allow_pickle=False) as saved:
                outputs = [saved[name] for name in saved.files]
        except (OSError, ValueError, BadZipFile) as error:
            raise WorkerFailedError(f"gave what is no array ({error})") from error
        finally:
            path.unlink(missing_ok=True)
        if marks != [mark_of(first.problem.x) for first in references]:
            raise WorkerFailedError(INPUT_CHANGED)
        if len(outputs) != len(references):
            raise WorkerFailedError(f"gave {len(outputs)} outputs for {len(references)} inputs")
        expected = [first.for_router(m.router_precision) for first in references]
        return [compare_output(y, ref) for y, ref in zip(outputs, expected, strict=True)]

    def judge_kept(self, kept: Sequence[Kept]) -> dict[int, Parity]:
        """For each measurement the worst of its outputs, compared all at once: what they share is computed once."""
        found: dict[int, Parity] = {}
        for config in {k.m.config for k in kept}:
            own = [k for k in kept if k.m.config == config]
            weights = self._weights[_weights_of(config)]
            whole = reference(Problem(weights, np.concatenate([k.x for k in own]), config.top_k))
            ends = np.cumsum([len(k.x) for k in own]).tolist()
            for k, end in zip(own, ends, strict=True):
                verdict = compare_output(k.y, whole.part(end - len(k.x), end).for_router(k.m.router_precision))
                if k.flaw:
                    verdict = replace(verdict, passed=False, reason=k.flaw)
                found[k.number] = worst([found[k.number], verdict] if k.number in found else [verdict])
        return found


def agree(m: Measurement, found: Sequence[Parity], release: Callable[[], bool]) -> None:
    """Keep the worst of every process in a measurement: a later one's agreement hides nothing.

    Where that has not passed the row ends, after `release`, which says whether its weights were changed: NotRunError
    for one whose tokens can't be judged, WorkerFailedError for all others.
    """
    before = [Parity.from_dict(m.parity)] if m.parity else []
    parity = worst([*before, *found])
    m.parity = parity.to_dict()
    if parity.passed:
        return
    if release():
        raise WorkerFailedError(WEIGHTS_CHANGED)
    if parity.reason == UNJUDGED:
        m.status, m.reason, m.code = "not_run", parity.reason, OTHER
        raise NotRunError(parity.reason)
    raise WorkerFailedError(f"disagrees with the reference: {parity.reason}")


def keep(number: int, m: Measurement, x: Float32Array, path: Path, random: Random) -> Kept:
    """Some rows of an output that a worker saved at `path`, which is gone then, and of the input x that it is for."""
    try:
        y = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise WorkerFailedError(f"gave what is no array ({error})") from error
    finally:
        path.unlink(missing_ok=True)
    flaw = ""
    if y.shape != x.shape or y.dtype != x.dtype:
        flaw = f"an output of a timed forward has shape {y.shape} and is {y.dtype}, expected {x.shape} and float32"
        return Kept(number, m, x[:1], x[:1], flaw)
    if not np.isfinite(y).all():
        flaw = "an output of a timed forward is not finite"
    tokens = sorted(random.sample(range(len(x)), min(ROWS, len(x))))
    return Kept(number, m, x[tokens], y[tokens], flaw)


def _require_memory(config: MoEConfig, inputs: int, *, made: bool) -> None:
    """Raise MemoryError where the weights, the reference and what is compared with it would not fit what is free."""
    weights = 0 if made else FLOAT32_BYTES * config.weights  # what is free lacks them already
    of_a_token = A_NUMBER_BYTES * config.d_model + EXPERT_BYTES * config.top_k
    widest = config.tokens * max(config.num_experts, config.d_model, config.d_ff, config.shared_d_ff)
    needed = MAKING * weights + inputs * config.tokens * of_a_token + AT_ONCE_BYTES * min(widest, NUMBERS_AT_ONCE)
    require_memory(needed, "comparing")


def _weights_of(config: MoEConfig) -> MoEConfig:
    """The config without what its weights do not depend on."""
    return replace(config, tokens=1, top_k=1)
