"""Named shapes and one table of them all: the kernel beside its goals, beside its peers, and on models' layers."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from moe.analysis import Interval
from moe.analysis.goals import IN_PYTORCH, Result, Shape, judge
from moe.analysis.statistics import median_interval
from moe.analysis.summary import KERNEL
from moe.config import FLOAT32_BYTES, MoEConfig, parse_config, require_known
from moe.form import CHOICES
from moe.implementations import names as implementations
from moe.measure.busy import wait_until_quiet
from moe.measure.child import Child
from moe.measure.compare import compare
from moe.measure.grid import Value
from moe.measure.merge import merge_runs
from moe.measure.protocol import Protocol
from moe.measure.sweep import sweep
from moe.models import held
from moe.mojo_build import SOURCE
from moe.processor import MEMORY_SHARE, usable_memory
from moe.report.marks import goals_table, models_table, peers_table, result_lines, write_between
from moe.report.text import span
from moe.run import Run, load_run, plain, write_atomically

PEER_SHAPES = {
    "one": "seed,tokens=1",
    "few": "seed,tokens=16",
    "seed": "seed",
    "many": "seed,tokens=4096",
    "many-small": "small",
}
MODEL_SHAPES = ("seed,expert=swiglu", "granite-3.0-1b-a400m", "olmoe-1b-7b", "qwen3-30b-a3b")
MODEL_TOKENS = (1, 16, 256)
# Of a layer's experts in float32, or fewer of them are held: each library holds a few copies.
MODEL_BYTES = 384 * 2**20
MODEL_LABELS = (KERNEL, "torch", "torch-onednn", "transformers", "zentorch")  # which compute every such layer
# The fewest rounds that give an interval; a forward that takes a second is not timed five times in each.
MODEL_EFFORT: dict[str, Any] = {"processes": 4, "turn_forwards": 1}
# Token by token, which nobody would use instead; and one that takes longer to load than all others together, and is
# in the table of `moe goals`.
NO_PEERS = ("python", "torch-naive", "torch-compile")
EMPTY_CALL_S = 2e-6  # most that a call into the kernel should take
SUMMARY, MODELS, LATEST_MODEL = "goals.json", "models.json", "latest-model.json"
GOALS_MARK, PEERS_MARK, MODELS_MARK = "<!-- goals -->", "<!-- peers -->", "<!-- models -->"


@dataclass(frozen=True)
class Asked:
    """What to measure: the shapes of these names or groups, each in a run of its own that is saved in `folder`.

    Without names, those of no group. Each gets budget_s seconds times its effort. With `wait` a busy machine gets
    some seconds to come to rest first.
    """

    names: Sequence[str]
    threads: Sequence[int]
    budget_s: float
    folder: Path
    wait: bool = False


Found = list[tuple[Shape, list[Run]]]  # the runs of each shape, its own before those that add PyTorch's layers to it


def goal_shapes() -> list[Shape]:
    """The shapes at which the kernel has goals, the published layer's before those of groups."""
    found = yaml.safe_load((SOURCE / "goals.yaml").read_text(encoding="utf-8"))
    grouped = (shape for name, group in found["groups"].items() for shape in _group(name, **group))
    return [*(Shape(**entry) for entry in found["shapes"]), *grouped]


def _group(
    name: str, config: str, shares: dict[int, list[float]], layers: dict[str, dict[str, Any]], **further: Any
) -> Iterator[Shape]:
    """The shapes of a group: each of its layers at its own numbers of tokens, many before few, and at the group's."""
    for layer, entry in layers.items():
        own = {**further, **entry}
        sizes, goals = own.pop("config"), shares | own.pop("shares")
        for tokens in sorted(goals, reverse=True):
            share = dict(zip((1, 2), goals[tokens], strict=True))
            whole = f"{sizes},tokens={tokens},{config}"
            yield Shape(f"{name}-{layer}-{tokens}", whole, group=name, share=share, **own)


def peer_shapes() -> list[Shape]:
    """The shapes at which the kernel is measured beside its peers, the published layer's before those of groups."""
    published = (Shape(name, config, processes=5) for name, config in PEER_SHAPES.items())
    return [*published, *(shape for shape in goal_shapes() if shape.group)]


def measure_goals(asked: Asked, beside: Sequence[str] = IN_PYTORCH) -> int:
    """Measure the kernel beside its goals, print and save results; returns the command's exit status.

    A missed goal is a result, not a failure. The summary in the folder holds every shape that was measured there on
    one machine with one set of versions. Only some layers `beside` the kernel are added to a shape that was measured
    before, with all of them or none. Raises ValueError for a shape or layer that is not there.
    """
    require_known("implementation", beside, IN_PYTORCH)
    failed = False
    added = "" if tuple(beside) in ((), IN_PYTORCH) else "+" + "+".join(beside)
    for shape, run in _measure(goal_shapes(), [KERNEL, *beside], asked, added):
        failed |= run.went_wrong
        results = _save_goals(asked.folder, run, {})
        print("\n".join(result_lines([r for r in results if r.shape == shape.name])), flush=True)
    calls = _calls()
    print("\n".join(f"{what}: {span(i, 1e6)} µs, goal {EMPTY_CALL_S * 1e6:g} µs" for what, i in calls.items()))
    _save_goals(asked.folder, run, calls)
    return int(failed)


def measure_peers(asked: Asked) -> int:
    """Measure the kernel beside other libraries and print tables; returns the command's exit status.

    Raises ValueError for a shape that is not there.
    """
    failed = False
    for _, run in _measure(peer_shapes(), [n for n in implementations(peers=True) if n not in NO_PEERS], asked):
        failed |= run.went_wrong
        print(peers_table([run]), flush=True)
    return int(failed)


def measure_models(asked: Asked) -> int:
    """Measure the kernel and other libraries on models' layers in both precisions; returns the exit status.

    The names are layers as `--config` takes them. Each on each number of threads is a sweep of its own, of budget_s
    seconds: workers of all these libraries take some 2 GiB together before they hold any layer, and all are there at
    once. One file has all of them, and is written after each. Raises ValueError for a name that is none.
    """
    layers = [held(parse_config(name), MODEL_BYTES) for name in asked.names or MODEL_SHAPES]
    if asked.wait:
        wait_until_quiet()
    before = load_run(asked.folder / MODELS) if (asked.folder / MODELS).exists() else None
    whole: Run | None = None
    failed = False
    for layer, threads in product(layers, asked.threads):
        axes: dict[str, Sequence[Value]] = {
            "config": [layer], "precision": CHOICES["precision"], "tokens": MODEL_TOKENS, "threads": [threads],
        }  # fmt: skip
        path = asked.folder / LATEST_MODEL
        run = sweep(MODEL_LABELS, axes, path=path, force=True, budget_s=asked.budget_s, **MODEL_EFFORT)
        failed = failed or run.went_wrong
        whole = merge_runs([whole, run]) if whole else _added(before, run)
        whole.save(asked.folder / MODELS, force=True)
    assert whole is not None  # a command measures on one number of threads at least
    print(models_table(whole), flush=True)
    return 1 if failed else 0


def _added(before: Run | None, now: Run) -> Run:
    """A run with that from before, unless it is of another machine, other versions or another way of measuring."""
    with suppress(ValueError):
        if before and len((both := merge_runs([before, now])).machines) == 1:
            return both
    return merge_runs([now])


def _measure(
    shapes: Sequence[Shape], chosen: Sequence[str], asked: Asked, added: str = ""
) -> Iterator[tuple[Shape, Run]]:
    """Every shape asked for with its run, as they come; `added` ends the names of files that add to a shape's own."""
    own = _chosen(shapes, asked.names)
    if asked.wait:
        wait_until_quiet()
    for shape in own:
        print(f"{shape.name}: {shape.config}", file=sys.stderr, flush=True)
        path = asked.folder / f"{shape.name}{added}.json"
        kept = _keep_others(path, chosen)
        run = compare(
            chosen,
            _fitting(shape, len(asked.threads) * (len(chosen) + 1)),
            asked.threads,
            path=path,
            force=True,
            budget_s=asked.budget_s * shape.effort,
            processes=shape.processes,
            cache=shape.cache,
        )
        if kept.exists() and load_run(kept).differences(run):
            kept.unlink()  # of another machine or other versions: no table would take both
        yield shape, run


def _keep_others(path: Path, chosen: Sequence[str]) -> Path:
    """Let an older run stand beside the new one where it has what that does not measure; returns where."""
    kept = path.with_name(f"{path.stem}+before.json")
    if path.exists() and {m.label for m in load_run(path).measurements if not m.control} - set(chosen):
        path.replace(kept)
    return kept


def _chosen(shapes: Sequence[Shape], names: Sequence[str]) -> list[Shape]:
    """The shapes of these names or groups, or those of no group; raises ValueError for another name."""
    groups = dict.fromkeys(shape.group for shape in shapes if shape.group)
    require_known("shape", names, [*(shape.name for shape in shapes), *groups])
    if not names:
        return [shape for shape in shapes if not shape.group]
    return [shape for shape in shapes if shape.name in names or shape.group in names]


def _fitting(shape: Shape, workers: int) -> MoEConfig:
    """A shape's layer, of which so many workers and this process each hold the weights.

    A worker holds them in the layer's precision, this process in float32.
    """
    config = parse_config(shape.config)
    copies = 1 + workers * config.weight_bytes / FLOAT32_BYTES
    return held(config, MEMORY_SHARE * usable_memory() / copies) if shape.fewer else config


def _saved(folder: Path, shapes: Sequence[Shape], beside: Run | None = None) -> Found:
    """What a folder holds of some shapes, or only what may stand beside a run."""
    found = []
    for shape in shapes:
        paths = [folder / f"{shape.name}.json", *sorted(folder.glob(f"{shape.name}+*.json"))]
        runs = [load_run(path) for path in paths if path.exists()]
        if alike := [run for run in runs if beside is None or not run.differences(beside)]:
            found.append((shape, alike))
    return found


def _calls() -> dict[str, Interval]:
    """Seconds of a call into the kernel alone, and of the layer's, which also makes an output."""
    found = {}
    for library in (KERNEL, f"{KERNEL} layer"):
        rounds: list[float] = []
        processes: list[int] = []
        for process in range(Protocol.processes):
            child = Child(1)
            try:
                (reply,) = child.ask("calls", timeout=Protocol.timeout_s, library=library)["calls"]
            finally:
                child.kill()
            rounds += reply["seconds"]
            processes += [process] * len(reply["seconds"])
        found[reply["call"]] = median_interval(rounds, processes)
    return found


def _save_goals(folder: Path, run: Run, calls: dict[str, Interval]) -> list[Result]:
    """Save the results of a run and of those that may stand beside it, and return them."""
    results = _judge_all(_saved(folder, goal_shapes(), run))
    head = {"schema": 1, "machine": run.machine, "versions": run.versions}
    content = {**head, "results": results, "calls_s": calls}
    write_atomically(folder / SUMMARY, json.dumps(content, default=plain, indent=1))
    return results


def render_goals(folder: Path, page: Path, groups: Sequence[str] = ()) -> None:
    """Put what a folder holds of some groups, or of none, between a page's two marks, without measuring.

    Raises ValueError where it can't.
    """
    shapes = _of_groups(goal_shapes(), groups)
    if not (folder / SUMMARY).exists():
        raise ValueError(f"{folder / SUMMARY} not found: `moe goals` writes it")
    saved = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    calls = {what: Interval(**interval) for what, interval in saved["calls_s"].items()}
    found = _saved_alike(folder, shapes, "goals")
    write_between(page, GOALS_MARK, goals_table(_judge_all(found), calls, found[0][1][0]))


def render_peers(folder: Path, page: Path, groups: Sequence[str] = ()) -> None:
    """The same of peers."""
    found = _saved_alike(folder, _of_groups(peer_shapes(), groups), "peers")
    write_between(page, PEERS_MARK, peers_table([runs[0] for _, runs in found]))


def render_models(folder: Path, page: Path, names: Sequence[str] = ()) -> None:
    """Put what a folder holds between a page's two marks, without measuring; raises ValueError where it can't."""
    if names:
        raise ValueError(f"--page shows all models that the folder holds: name none, got {names[0]!r}")
    if not (folder / MODELS).exists():
        raise ValueError(f"{folder / MODELS} not found: `moe peers --models` writes it")
    write_between(page, MODELS_MARK, models_table(load_run(folder / MODELS)))


def _of_groups(shapes: Sequence[Shape], groups: Sequence[str]) -> list[Shape]:
    """The shapes of these groups, or of none; raises ValueError for the name of a shape."""
    if set(groups) - {shape.group for shape in shapes}:
        raise ValueError("--page shows all shapes that the folder holds: name none, or a group like bfloat16")
    return [shape for shape in shapes if shape.group in (groups or [""])]


def _saved_alike(folder: Path, shapes: Sequence[Shape], command: str) -> Found:
    """What a folder holds for one table; raises ValueError for nothing, and for what may not stand side by side."""
    found = _saved(folder, shapes)
    every = [run for _, runs in found for run in runs]
    if not every:
        raise ValueError(f"{folder} has no run: `moe {command}` writes them")
    if any(run.differences(every[0]) for run in every):
        raise ValueError(f"{folder} has runs of other machines or versions than each other: measure all again")
    return found


def _judge_all(found: Found) -> list[Result]:
    results: list[Result] = []
    for shape, runs in found:
        results += judge(shape, runs, results)
    return results
