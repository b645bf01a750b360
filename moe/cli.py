"""The command line: list, doctor, build, check, bench, sweep, merge, goals, peers, selfcheck, claims, report.

Exit codes: 0 all went well; 1 an implementation or a notebook failed, after everything else was done and
saved, or the system had no room for something; 2 wrong arguments, in one line; 130 interrupted, after saving.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from moe import mojo_build, options
from moe.folders import settle
from moe.measure.saving import RunEndedError, RunInterrupted
from moe.streams import lasting_streams

if TYPE_CHECKING:
    from moe.checkpoint import Checkpoint
    from moe.config import MoEConfig
    from moe.run import Run

# A command imports what it needs when it runs: help, a wrong argument and a list of models wait for no library.

SWEPT = ("numpy", "torch", "mojo")
CHECKPOINT_TOKENS = 16


class OneLineParser(argparse.ArgumentParser):
    """Says what was expected in one line, and leaves with 2."""

    def error(self, message: str) -> NoReturn:
        """Print the message without the usage text."""
        self.exit(2, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    with lasting_streams() as out:
        code = _run(arguments)
        if not out.fails:
            return code
        print(f"moe: standard output can't be written to: {out.lost}", file=sys.stderr)
        return code or 1


def _run(arguments: Sequence[str] | None) -> int:
    settle()
    parsed = _parser().parse_args(arguments)
    try:
        code: int = parsed.command(parsed)
    except ValueError as error:
        print(f"moe: {error}", file=sys.stderr)
        return 2
    except (mojo_build.MojoBuildError, MemoryError, OSError) as error:
        if isinstance(error, RunEndedError):
            _show_measured(error.run)
        print(f"moe: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stop:
        if isinstance(stop, RunInterrupted):
            _show_measured(stop.run)
        print(": ".join(filter(None, ("moe: interrupted", _after(stop, parsed)))), file=sys.stderr)
        return 130
    return code


def _after(stop: KeyboardInterrupt, parsed: argparse.Namespace) -> str:
    """What an interrupted command has kept, and how to go on."""
    if not isinstance(stop, RunInterrupted):
        return str(stop)
    if stop.path is None:
        return f"nothing was saved{parsed.else_saved}"
    force = " in place of --force" if "force" in parsed and parsed.force else ""
    return f"saved as {stop.path}; to go on, {parsed.go_on}{force}"


def _show_measured(run: Run) -> None:
    if any(m.samples_s for m in run.measurements):
        print("\n".join(_lines(run)))


def _lines(run: Run) -> list[str]:
    from moe.analysis import summarise
    from moe.report.sentences import warnings
    from moe.report.terminal import cell_lines, table_lines
    from moe.run import whose_weights

    if any("cell" in m.details for m in run.measurements):
        return [*whose_weights(run), *cell_lines(run)]
    summary = summarise(run)
    return [*whose_weights(run), *table_lines(summary), *warnings(summary)]


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="moe", description="One Mixture-of-Experts layer, measured side by side.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=OneLineParser)

    def add(name: str, function: object, help_text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.set_defaults(command=function, parser=command)
        return command

    lists = add("list", _list, "the implementations, and which can run here")
    lists.add_argument("--models", action="store_true", help="published models by name instead, for --config")
    add("doctor", _doctor, "what this machine can run, and what to do about the rest")
    add("build", _build, "compile the Mojo kernel")
    check = add("check", _check, "compare implementations with the float64 reference on every edge and preset")
    check.add_argument("names", nargs="*", metavar="NAME", help="implementations (all that can run)")
    check.add_argument("--threads", type=options.threads, help="numbers of threads (1 and all)")
    options.checkpoint(check)

    bench = add("bench", _bench, "measure implementations on one problem")
    bench.add_argument("names", nargs="*", metavar="NAME", help="implementations (all)")
    bench.add_argument("--config", help="a preset or a model, KEY=VALUE,…, or both (seed)")
    options.checkpoint(bench)
    bench.add_argument("--threads", type=options.threads, default=[1], help="numbers of threads, 1,2 (1)")
    target = "stop once every interval is as narrow as this: 1%% or 0.01"
    bench.add_argument("--target", type=options.share, help=target)
    bench.add_argument("--cache", default="warm", help="warm, or cold: emptied before each forward (%(default)s)")
    options.run(bench, "go on with the run in FILE")

    sweep = add("sweep", _sweep, "measure implementations over a grid of sizes and threads")
    sweep.add_argument("names", nargs="*", metavar="NAME", help="implementations (numpy, torch, mojo)")
    axes = "tokens=1,16,256, threads=1,2, config=seed,olmoe-1b-7b; any size, any number of axes"
    sweep.add_argument("--over", action="append", default=[], metavar="AXIS=VALUES", help=axes)
    sweep.add_argument("--config", help="what no axis names: a preset or a model, KEY=VALUE,…, or both (seed)")
    options.checkpoint(sweep)
    sweep.add_argument("--scheduler", metavar="ADDRESS", help="a Dask cluster that measures: tcp://host:8786")
    options.run(sweep, "measure the cells that FILE lacks")

    merge = add("merge", _merge, "join runs from any number of machines into one")
    merge.add_argument("files", nargs="+", type=Path, metavar="FILE", help="runs, sweeps as a rule")
    options.saving(merge, "the merged run")

    goals = add("goals", _goals, "measure the Mojo kernel beside its goals and every layer in PyTorch")
    of_goals = "shapes of mojo_src/goals.yaml, or its groups bfloat16 and gated (all of the published layer)"
    options.shapes(goals, of_goals, "reports/goals", "results", 100.0)
    goals.add_argument(
        "--beside", metavar="NAME,…", help="add these layers in PyTorch to what was measured, or none (all)"
    )

    peers = add("peers", _peers, "measure the Mojo kernel beside every library that is installed")
    of_peers = "shapes, or groups of those that have goals (one, few, seed, many and many-small)"
    options.shapes(peers, of_peers, "reports/peers", "runs", 240.0)
    peers.add_argument("--models", action="store_true", help="models' layers instead; SHAPE is what --config takes")

    holds = "whether intervals hold, also on a busy machine, and cheats alone are found to cheat (20 minutes)"
    itself = add("selfcheck", _selfcheck, holds)
    itself.add_argument("--runs", type=options.runs, default=10, help="runs to compare with each other (%(default)s)")
    options.measuring(itself, 60.0, " a run")
    itself.set_defaults(else_saved=", and it begins anew")

    claims = add("claims", _claims, "hold the claims of a file against what is measured here")
    claims.add_argument("file", metavar="FILE", help="a claims file, like claims/cross-language-moe.yaml")
    claims.add_argument("--json", type=Path, metavar="FILE", help="where to save the verdicts")
    claims.add_argument("--profile", default="quick", help="what to measure: smoke, quick or full (%(default)s)")
    source = "measure nothing: a report's folder"
    claims.add_argument("--from", type=Path, dest="source", metavar="FOLDER", help=source)
    options.measuring(claims)

    report = add("report", _report, "measure, execute the notebooks and render them")
    report.add_argument("--profile", default="quick", help="smoke, quick or full (%(default)s)")
    parameter = "a notebook's parameter; --parameters lists them"
    report.add_argument("-p", action="append", default=[], dest="parameters", metavar="KEY=VALUE", help=parameter)
    listing = "list the notebooks' parameters and their values in each profile"
    report.add_argument("--parameters", action="store_true", dest="listed", help=listing)
    report.add_argument("--from", type=Path, dest="source", metavar="FOLDER", help="render a report's folder again")
    packed = "pack the report into one file to send, beside its folder; with --from, as it was rendered"
    report.add_argument("--share", action="store_true", help=packed)
    options.measuring(report)
    return parser


def _list(parsed: argparse.Namespace) -> int:
    if parsed.models:
        from moe.models import lines

        print("\n".join(lines()))
        return 0
    from moe.implementations import availability, names
    from moe.implementations.registry import description

    for name in names(peers=True):
        available, reason = availability(name)
        print(f"{name:14} {description(name) if available else f'not run: {reason}'}")
    return 0


def _doctor(_: argparse.Namespace) -> int:
    from moe.doctor import diagnose

    lines, healthy = diagnose()
    print("\n".join(lines))
    return 0 if healthy else 1


def _build(_: argparse.Namespace) -> int:
    kinds = mojo_build.prepared_sizes()
    for number, sizes in enumerate(kinds, 1):
        label = mojo_build.sizes_label(sizes)
        print(f"compiling the Mojo kernel for {label} ({number} of {len(kinds)})", file=sys.stderr, flush=True)
        library = mojo_build.build(sizes)
        print(f"{library.path}\n{library.compiler}, SHA-256 {library.sha256}, {library.build_s:.1f} s")
    return 0


def _check(parsed: argparse.Namespace) -> int:
    from moe.check import check
    from moe.implementations import names, parse_variant
    from moe.report.checked import Checked

    chosen = [str(parse_variant(name)) for name in parsed.names or names(peers=True)]
    checked, found = Checked(), _checkpoint(parsed)
    try:
        for line in checked.lines(check(chosen, parsed.threads, found)):
            print(line, flush=True)
    except KeyboardInterrupt:
        left = chosen[chosen.index(checked.last or chosen[0]) :]
        again = options.again(parsed.parser, parsed, left)
        raise KeyboardInterrupt(f"what was checked stands above; to go on, {again}") from None
    return 0 if checked.went_well else 1


def _bench(parsed: argparse.Namespace) -> int:
    from moe.implementations import names
    from moe.measure.compare import compare

    saving = _saving(parsed)
    chosen, (config, found) = parsed.names or names(), _layer(parsed)
    settings = {**_settings(parsed), "target": parsed.target, "cache": parsed.cache}
    if config.tokens:  # else there is nothing to time
        _look_around(parsed, chosen, settings)
    return _printed(compare(chosen, config, parsed.threads, checkpoint=found, edges=True, **saving, **settings))


def _sweep(parsed: argparse.Namespace) -> int:
    from moe.measure.grid import cells_of, read_axes
    from moe.measure.sweep import sweep

    saving = _saving(parsed)
    axes, (config, found) = read_axes(parsed.over), _layer(parsed)
    for combination in cells_of(config, axes)[1]:
        print(f"left out: {combination}", file=sys.stderr)
    chosen, settings = parsed.names or SWEPT, _settings(parsed)
    if parsed.scheduler is None:
        _look_around(parsed, chosen, settings)
    how = {"scheduler": parsed.scheduler, "checkpoint": found}
    return _printed(sweep(chosen, axes, config, **how, **saving, **settings))


def _layer(parsed: argparse.Namespace) -> tuple[MoEConfig, Checkpoint | None]:
    """The problem to measure, and the checkpoint whose weights it has, if it has one's."""
    from moe.config import parse_config

    found = _checkpoint(parsed)
    if found is None:
        return parse_config(parsed.config or "seed"), None
    text = parsed.config or f"tokens={CHECKPOINT_TOKENS}"
    named = [part.strip().partition("=")[:2] for part in text.split(",")]
    if wrong := [name for name, equals in named if name not in ("tokens", "seed") or not equals]:
        raise ValueError(f"beside --checkpoint, --config takes tokens=… and seed=…, got {', '.join(wrong)}")
    config = parse_config(text)
    return found.config(config.tokens, config.seed), found


def _checkpoint(parsed: argparse.Namespace) -> Checkpoint | None:
    from moe.checkpoint import load_checkpoint

    if (parsed.checkpoint is None) != (parsed.layer is None):
        raise ValueError("--checkpoint FOLDER and --layer N belong together")
    return None if parsed.checkpoint is None else load_checkpoint(parsed.checkpoint, layer=parsed.layer)


def _printed(run: Run) -> int:
    print("\n".join(_lines(run)))
    return 1 if run.went_wrong else 0


def _merge(parsed: argparse.Namespace) -> int:
    from moe.measure.merge import merge_runs
    from moe.run import load_run

    if parsed.force and parsed.json is None:
        raise ValueError("--force needs --json FILE")
    run = merge_runs([load_run(file) for file in parsed.files])
    if parsed.json is not None:
        try:
            run.save(parsed.json, force=parsed.force)
        except OSError as error:
            raise RunEndedError(run, f"{parsed.json} can't be written: {error}") from error
    print("\n".join(_lines(run)))
    return 0


def _saving(parsed: argparse.Namespace) -> dict[str, Any]:
    """Where `bench` and `sweep` save a run; raises an error where they may not, before anything else is done."""
    from moe.measure.start import require_free

    if (parsed.resume or parsed.force) and parsed.json is None:
        raise ValueError("--resume and --force need --json FILE")
    require_free(parsed.json, resume=parsed.resume, force=parsed.force)
    return {"path": parsed.json, "resume": parsed.resume, "force": parsed.force}


def _settings(parsed: argparse.Namespace) -> dict[str, Any]:
    """The fields of the protocol that both `bench` and `sweep` set."""
    return {"budget_s": parsed.budget, "timeout_s": parsed.timeout, "memory_bytes": parsed.memory}


def _look_around(parsed: argparse.Namespace, chosen: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Let a busy machine come to rest, once names and settings are known to be right: nobody waits for an error."""
    from moe.implementations import parse_variant
    from moe.measure.busy import wait_until_quiet
    from moe.measure.protocol import Protocol

    for name in chosen:
        parse_variant(name)
    Protocol(**settings)
    if not parsed.anyway:
        wait_until_quiet()


def _goals(parsed: argparse.Namespace) -> int:
    from moe.analysis.goals import IN_PYTORCH
    from moe.shapes import measure_goals, render_goals

    beside = IN_PYTORCH if parsed.beside is None else [] if parsed.beside == "none" else parsed.beside.split(",")
    return _shapes(parsed, lambda asked: measure_goals(asked, beside), render_goals)


def _peers(parsed: argparse.Namespace) -> int:
    from moe.shapes import measure_models, measure_peers, render_models, render_peers

    return _shapes(parsed, *((measure_models, render_models) if parsed.models else (measure_peers, render_peers)))


def _shapes(parsed: argparse.Namespace, measure: Callable[..., int], render: Callable[..., None]) -> int:
    from moe.shapes import Asked

    if parsed.page is None:
        return measure(Asked(parsed.names, parsed.threads, parsed.budget, parsed.folder, wait=not parsed.anyway))
    render(parsed.folder, parsed.page, parsed.names)
    return 0


def _selfcheck(parsed: argparse.Namespace) -> int:
    from moe.selfcheck import selfcheck

    holds = True
    for finding in selfcheck(parsed.runs, parsed.budget, wait=not parsed.anyway):
        holds = holds and finding.holds
        print(f"{'holds' if finding.holds else 'does not hold'}: {finding.text}", flush=True)
    return 0 if holds else 1


def _claims(parsed: argparse.Namespace) -> int:
    from moe.report.findings.claims import verdict_lines, verdicts_json
    from moe.report.pipeline import try_claims
    from moe.run import write_atomically

    trial = try_claims(parsed.file, parsed.source, parsed.profile, wait=not parsed.anyway)
    print("\n".join(verdict_lines(trial)))
    if parsed.json is not None:
        write_atomically(parsed.json, verdicts_json(trial))
    return 1 if any(run.went_wrong for run in [*trial.runs, trial.replay] if run) else 0


def _report(parsed: argparse.Namespace) -> int:
    from moe.report.packing import pack
    from moe.report.parameters import parameter_lines
    from moe.report.pipeline import EXPERIMENTS, make_report, render_again

    if parsed.listed:
        print("\n".join(parameter_lines(list(EXPERIMENTS))))
        return 0
    if parsed.source is not None:
        if parsed.parameters:
            raise ValueError("-p can't be given with --from: a finished run has its parameters")
        if parsed.share:
            print(pack(parsed.source))
            return 0
        return render_again(parsed.source)
    return make_report(parsed.profile, parsed.parameters, share=parsed.share, wait=not parsed.anyway)
