"""Whether what a worker computed agrees with the reference: asked before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moe.config import MoEConfig
from moe.measure.child import WorkerFailedError
from moe.parity import Parity, compare_output
from moe.problem import Problem, make_inputs, make_weights
from moe.reference import Reference, reference


def references_of(config: MoEConfig, inputs: int) -> list[Reference]:
    """The reference's answers for as many inputs as a worker cycles through."""
    weights = make_weights(config)
    return [reference(Problem(weights, x, config.top_k)) for x in make_inputs(config, inputs)]


def parity_of(path: Path, references: Sequence[Reference], before: Sequence[Parity] = ()) -> Parity:
    """The worst of the outputs that a worker saved at `path`, and of what was found `before`.

    Raises WorkerFailedError where their number is wrong.
    """
    with np.load(path, allow_pickle=False) as saved:
        outputs = [saved[name] for name in saved.files]
    if len(outputs) != len(references):
        raise WorkerFailedError(f"gave {len(outputs)} outputs for {len(references)} inputs")
    verdicts = [compare_output(y, ref) for y, ref in zip(outputs, references, strict=True)]
    return max([*before, *verdicts], key=lambda v: (not v.passed, v.max_rel_error))
