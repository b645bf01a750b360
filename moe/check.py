"""Checking implementations against the reference on every edge, form and preset, without timing them."""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np

from moe.checkpoint import Checkpoint
from moe.config import PRESETS
from moe.edges import FORMS, PLAIN, edge_problems, form_problems
from moe.implementations import Layer, NotAvailableError, availability, create, entry_of, parse_variant
from moe.implementations.foreign import contained, words_of
from moe.implementations.own_files import own_file
from moe.measure.child import LOAD_TIMEOUT_S, Child, WorkerFailedError
from moe.parity import INPUT_CHANGED, UNJUDGED, WEIGHTS_CHANGED, Parity, compare_output, worst
from moe.problem import Float32Array, Problem, Weights, make_inputs, make_problem
from moe.processor import require_memory, usable_cores
from moe.reference import Reference, reference

LONGEST_FORWARD_S = 10.0
TOKENS = (0, 1, 16)  # of a checkpoint's layer


@dataclass(frozen=True)
class Check:
    """One implementation on one problem: `ok`, `failed` or `not_run`, and what there is to say about it."""

    implementation: str
    problem: str
    threads: int
    status: str
    note: str
    error: float = 0.0  # the comparison's largest, where it agrees


class References:
    """References that every implementation is held against on every number of threads, each computed once.

    Problems that are made again are not kept, with weights that may be large.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Callable[[Problem], Reference]] = {}

    def of(self, key: Hashable, problem: Problem) -> Reference:
        """That of a problem, which is the same whenever `key` is."""
        if key not in self._known:
            found = reference(problem)
            self._known[key] = partial(Reference, experts=found.experts, y=found.y, contested=found.contested)
        return self._known[key](problem)


def check_layer(layer: Layer, problem: Problem, known: Callable[[Problem], Reference] = reference) -> Parity:
    """Compare a layer's output on the problem, and on its tokens in reverse, with the reference, which `known` gives.

    Both are computed before the first is looked at, so that an output which a later call overwrites fails. So does a
    layer that writes to its input.
    """
    both = (problem.x, problem.x[::-1])
    inputs = [np.array(x, order="C") for x in both]
    outputs = [layer(x) for x in inputs]
    forth = known(problem).for_router(layer.router_precision)
    found = worst(compare_output(y, ref) for y, ref in zip(outputs, (forth, forth.reversed()), strict=True))
    if not all(map(same_bits, inputs, both)):
        return replace(found, passed=False, reason=INPUT_CHANGED)
    return found


def same_bits(one: Float32Array, other: Float32Array) -> bool:
    """Whether arrays of one shape hold the same numbers bit by bit, NaN's among them."""
    return np.array_equal(one.view(np.uint32), other.view(np.uint32))


def check(
    names: Sequence[str], threads: Sequence[int] | None = None, checkpoint: Checkpoint | None = None
) -> Iterator[Check]:
    """Check each implementation on every edge, form and preset, on one thread and on all (or on `threads`).

    Of a form's own edges one result is made. The preset `large` is left out where a forward would take longer than
    LONGEST_FORWARD_S. With a `checkpoint` its layer is checked alone, on inputs of several lengths.
    """
    threads = threads or sorted({1, usable_cores()})
    references = References()
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
            one = OneCheck(name, count, references)
            yield from one.whole() if checkpoint is None else one.of_checkpoint(checkpoint)


def wrong_on_edges(names: Sequence[str]) -> dict[str, str]:
    """What layers from files get wrong on the published layer's edges, on one thread: the first, the others counted.

    Each is tried in a process of its own, which it may end. Of what can't run here a run says why, and of others than
    layers from files nothing is said. Raises ValueError for a name that is none.
    """
    own = [name for name in names if own_file(parse_variant(name).name) and availability(name)[0]]
    return {name: reason for name in own if (reason := _wrong_apart(name))}


def _wrong_apart(name: str) -> str:
    child = Child(1)
    try:
        wrong = child.ask("edges", timeout=LOAD_TIMEOUT_S, implementation=name)["wrong"]
    except WorkerFailedError as error:
        return f"wrong on an edge: {error}"
    finally:
        child.kill()
    return f"wrong on {len(wrong)} of {len(_problems())} edges, first {wrong[0]}" if wrong else ""


@cache
def _problems(form: str = "") -> dict[str, Problem]:
    """The edges of a form, or the published layer's."""
    return form_problems(form) if form else edge_problems()


@dataclass(frozen=True)
class OneCheck:
    """The check of one implementation on one number of threads."""

    name: str
    threads: int
    references: References

    def edges(self) -> Iterator[Check]:
        """On every edge of the published layer."""
        for title, problem in _problems().items():
            yield self.checked(title, problem, title)[0]

    def whole(self) -> Iterator[Check]:
        """On every edge, form and preset."""
        yield from self.edges()
        yield from map(self._form, FORMS)
        yield from self._presets()

    def of_checkpoint(self, found: Checkpoint) -> Iterator[Check]:
        """On a checkpoint's layer; raises MemoryError where there is no room for a second copy of its weights."""
        require_memory(sum(a.nbytes for a in found.weights.arrays().values()), "an implementation's own copy")
        for tokens in TOKENS:
            config = entry_of(parse_variant(self.name)).affordable(found.config(tokens))
            problem = Problem(found.weights, make_inputs(config, 1)[0], found.top_k)
            yield self.checked(f"layer {found.layer}, T={config.tokens}", problem, config)[0]

    def _form(self, form: str) -> Check:
        """One form's edges: the first that failed, or what they have in common."""
        errors, refused = [], ""
        for title, problem in _problems(form).items():
            found, _ = self.checked(title, problem, (form, title))
            if found.status == "failed":
                return replace(found, problem=form, note=found.note if title == PLAIN else f"{title}: {found.note}")
            if found.status == "ok":
                errors.append(found.error)
            elif title == PLAIN:
                return replace(found, problem=form)
            else:
                refused = f"; {title} not run: {found.note}"
        note = f"{len(errors)} edges, error {max(errors):.1e} at most{refused}"
        return Check(self.name, form, self.threads, "ok", note, max(errors))

    def _presets(self) -> Iterator[Check]:
        """The presets from small to large; each forward's time foretells the next one's."""
        entry = entry_of(parse_variant(self.name))
        s_per_flop = 0.0
        for title, preset in sorted(PRESETS.items(), key=lambda item: item[1].flops):
            config = entry.affordable(preset)
            note = "" if config == preset else f", on the first {config.tokens} tokens"
            expected_s = config.flops * s_per_flop
            if expected_s > LONGEST_FORWARD_S:
                note = f"a forward would take about {expected_s:.0f} s"
                yield Check(self.name, title, self.threads, "not_run", note)
                continue
            result, forward_s = self.checked(title, make_problem(config), config, note)
            s_per_flop = forward_s / config.flops
            yield result

    def checked(self, title: str, problem: Problem, key: Hashable, note: str = "") -> tuple[Check, float]:
        """One check with the seconds of a forward; an implementation that raises has failed it."""
        arrays = problem.weights.arrays()
        given = {name: array.copy() for name, array in arrays.items()}  # the reference's, and other problems', stay
        try:
            with contained():
                weights = Weights(**given, form=problem.weights.form)
                layer = create(self.name, weights, top_k=problem.top_k, threads=self.threads)
                parity = check_layer(layer, problem, partial(self.references.of, key))
                x = problem.x.copy()
                native = layer.to_native(x)
                started = time.perf_counter()
                layer.forward(native)
                forward_s = time.perf_counter() - started
            if not same_bits(x, problem.x):
                parity = replace(parity, passed=False, reason=INPUT_CHANGED)
            if not all(same_bits(given[name], array) for name, array in arrays.items()):
                parity = replace(parity, passed=False, reason=WEIGHTS_CHANGED)
        except NotAvailableError as error:
            return Check(self.name, title, self.threads, "not_run", str(error)), 0.0
        except Exception as error:
            return Check(self.name, title, self.threads, "failed", words_of(error) + note), 0.0
        outcome = f"error {parity.max_rel_error:.1e}" if parity.passed else parity.reason
        status = "ok" if parity.passed else "not_run" if parity.reason == UNJUDGED else "failed"
        return Check(self.name, title, self.threads, status, outcome + note, parity.max_rel_error), forward_s
