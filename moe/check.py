"""Checking implementations against the reference on every edge, form and preset, without timing them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from moe.checkpoint import Checkpoint
from moe.config import PRESETS
from moe.edges import FORMS, PLAIN, edge_problems, form_problems
from moe.implementations import Layer, NotAvailableError, availability, create, entry_of, parse_variant
from moe.implementations.foreign import contained, words_of
from moe.parity import INPUT_CHANGED, WEIGHTS_CHANGED, Parity, compare_output, mark_of, worst
from moe.problem import Problem, Weights, make_inputs, make_problem
from moe.processor import MEMORY_SHARE, usable_cores, usable_memory
from moe.reference import reference

LONGEST_FORWARD_S = 10.0
TOKENS = (0, 1, 16)  # of a checkpoint's layer


@dataclass(frozen=True)
class Check:
    """One implementation on one problem: `ok`, `failed` or `not_run`, and what there is to say about it.

    `error` is the comparison's largest, where it agrees.
    """

    implementation: str
    problem: str
    threads: int
    status: str
    note: str
    error: float = 0.0


def check_layer(layer: Layer, problem: Problem) -> Parity:
    """Compare a layer's output on the problem, and on its tokens in reverse, with the reference.

    Both are computed before the first is looked at, so that an output which a later call overwrites fails. So does a
    layer that writes to its input.
    """
    both = (problem, Problem(problem.weights, problem.x[::-1], problem.top_k))
    inputs = [p.x.copy() for p in both]
    outputs = [layer(x) for x in inputs]
    references = (reference(p).for_router(layer.router_precision) for p in both)
    found = worst(compare_output(y, ref) for y, ref in zip(outputs, references, strict=True))
    if any(mark_of(x) != mark_of(p.x) for x, p in zip(inputs, both, strict=True)):
        return replace(found, passed=False, reason=INPUT_CHANGED)
    return found


def check(
    names: Sequence[str], threads: Sequence[int] | None = None, checkpoint: Checkpoint | None = None
) -> Iterator[Check]:
    """Check each implementation on every edge, form and preset, on one thread and on all (or on `threads`).

    Of a form's own edges one result is made. The preset `large` is left out where a forward would take longer than
    LONGEST_FORWARD_S. With a `checkpoint` its layer is checked alone, on inputs of several lengths.
    """
    threads = threads or sorted({1, usable_cores()})
    for name in names:
        available, reason = availability(name)
        if not available:
            yield Check(name, "everything", 1, "not_run", reason)
            continue
        most = entry_of(parse_variant(name)).most_threads
        usable = [t for t in threads if most is None or t <= most]
        if not usable:
            yield Check(name, "everything", max(threads), "not_run", f"it runs on at most {most} thread")
        for count in usable:
            if checkpoint is not None:
                yield from _check_checkpoint(name, checkpoint, count)
                continue
            for title, problem in edge_problems().items():
                yield _checked(name, title, count, problem)[0]
            yield from (_check_form(name, form, count) for form in FORMS)
            yield from _check_presets(name, count)


def _check_checkpoint(name: str, found: Checkpoint, threads: int) -> Iterator[Check]:
    """A checkpoint's layer; raises MemoryError where there is no room for a second copy of its weights."""
    needed, free = sum(array.nbytes for array in found.weights.arrays().values()), MEMORY_SHARE * usable_memory()
    if needed > free:
        raise MemoryError(
            f"an implementation's own copy takes {needed / 2**30:.1f} GiB, of {free / 2**30:.1f} GiB free"
        )
    for tokens in TOKENS:
        config = entry_of(parse_variant(name)).affordable(found.config(tokens))
        problem = Problem(found.weights, make_inputs(config, 1)[0], found.top_k)
        yield _checked(name, f"layer {found.layer}, T={config.tokens}", threads, problem)[0]


def _check_form(name: str, form: str, threads: int) -> Check:
    """One form's edges: the first that failed, or what they have in common."""
    errors, refused = [], ""
    for title, problem in form_problems(form).items():
        found, _ = _checked(name, title, threads, problem)
        if found.status == "failed":
            return replace(found, problem=form, note=found.note if title == PLAIN else f"{title}: {found.note}")
        if found.status == "ok":
            errors.append(found.error)
        elif title == PLAIN:
            return replace(found, problem=form)
        else:
            refused = f"; {title} not run: {found.note}"
    note = f"{len(errors)} edges, error {max(errors):.1e} at most{refused}"
    return Check(name, form, threads, "ok", note, max(errors))


def _check_presets(name: str, threads: int) -> Iterator[Check]:
    """The presets from small to large; each forward's time foretells the next one's."""
    entry = entry_of(parse_variant(name))
    s_per_flop = 0.0
    for title, preset in sorted(PRESETS.items(), key=lambda item: item[1].flops):
        config = entry.affordable(preset)
        note = "" if config == preset else f", on the first {config.tokens} tokens"
        expected_s = config.flops * s_per_flop
        if expected_s > LONGEST_FORWARD_S:
            yield Check(name, title, threads, "not_run", f"a forward would take about {expected_s:.0f} s")
            continue
        result, forward_s = _checked(name, title, threads, make_problem(config), note)
        s_per_flop = forward_s / config.flops
        yield result


def _checked(name: str, title: str, threads: int, problem: Problem, note: str = "") -> tuple[Check, float]:
    """One check with the seconds of a forward; an implementation that raises has failed it."""
    arrays = problem.weights.arrays()
    given = {key: array.copy() for key, array in arrays.items()}  # the reference's, and other problems', stay
    try:
        with contained():
            layer = create(name, Weights(**given, form=problem.weights.form), top_k=problem.top_k, threads=threads)
            parity = check_layer(layer, problem)
            x = problem.x.copy()
            native = layer.to_native(x)
            started = time.perf_counter()
            layer.forward(native)
            forward_s = time.perf_counter() - started
        if mark_of(x) != mark_of(problem.x):
            parity = replace(parity, passed=False, reason=INPUT_CHANGED)
        if mark_of(*given.values()) != mark_of(*arrays.values()):
            parity = replace(parity, passed=False, reason=WEIGHTS_CHANGED)
    except NotAvailableError as error:
        return Check(name, title, threads, "not_run", str(error)), 0.0
    except Exception as error:
        return Check(name, title, threads, "failed", words_of(error) + note), 0.0
    outcome = f"error {parity.max_rel_error:.1e}" if parity.passed else parity.reason
    status = "ok" if parity.passed else "failed"
    return Check(name, title, threads, status, outcome + note, parity.max_rel_error), forward_s
