"""The experiment behind `breakdown.ipynb`: its parameters become one run, and the run a breakdown."""

from dataclasses import replace
from typing import Any

from moe import implementations
from moe.analysis.breakdown import AUTOGRAD, IN_BOTH, SWITCHES, Breakdown, inside_mojo, to_pytorch, variants_of
from moe.analysis.factors import factors
from moe.config import MoEConfig, parse_config
from moe.form import CHOICES
from moe.implementations import entry_of, parse_variant
from moe.measure.plan import plan
from moe.measure.protocol import FEWEST_INPUTS, Protocol
from moe.report import sentences, tables
from moe.report.findings import breakdown as found
from moe.report.index import Findings
from moe.report.parameters import numbers, thread_counts, words
from moe.report.source import given_or_latest, load_or_measure, run_file
from moe.run import Run, load_run

# A layer whose weights stay in the second-level cache: what does not grow with its tokens is overhead.
SMALL_D_MODEL, SMALL_D_FF = 64, 128
MOST_PRECISIONS = 2  # numbers of tokens at which precisions are compared: few and many
# Dozens of variants share the time: the fewest inputs and forwards, and short warm-ups. At 32 tokens, with others
# held still, none was seen to be slower after 20 ms than after 100.
EFFORT: dict[str, Any] = {
    "inputs": FEWEST_INPUTS,
    "turn_forwards": 3,
    "warm_up_s": 0.04,
    "warm_up_most_s": 0.07,
}


def arguments(
    *, config: str, switches: str, frameworks: bool, sizes: str, precisions: str, threads: str, **effort: Any
) -> dict[str, Any]:
    """What `moe.compare` is called with; raises ValueError for a parameter that makes no sense.

    `effort` is what a Protocol has of it beside EFFORT.
    """
    layer = parse_config(config)
    counts = thread_counts(threads)
    counts = sorted({min(counts), max(counts)})  # threads are a factor: the fewest, or the most
    several = len(counts) > 1
    chosen = words(switches)
    if not chosen:
        raise ValueError(f"switches must name at least one of {', '.join(SWITCHES)}")
    mojo = inside_mojo(chosen, with_threads=several)
    names = variants_of([mojo, to_pytorch(with_threads=several)] if frameworks else [mojo])
    further = list(dict.fromkeys([*in_both(layer, precisions), *by_tokens(layer, sizes)]))
    plan([parse_variant(name) for name in names], layer, counts, [(parse_variant(n), size) for n, size in further])
    effort |= EFFORT
    Protocol(**effort)
    return {"implementations": names, "config": layer, "threads": counts, "further": further, **effort}


def by_tokens(config: MoEConfig, sizes: str) -> list[tuple[str, MoEConfig]]:
    """Every implementation on a small layer at each number of tokens that it can afford.

    Raises ValueError for what is no number of tokens.
    """
    tokens = _token_counts("sizes", sizes, "numbers of tokens like 1, 8, 64")
    small = replace(config, d_model=min(config.d_model, SMALL_D_MODEL), d_ff=min(config.d_ff, SMALL_D_FF))
    wanted = [small.with_tokens(count) for count in tokens]
    return [
        (name, size)
        for name in [*implementations.names(), *AUTOGRAD]
        for size in wanted
        if entry_of(parse_variant(name)).affordable(size) == size
    ]


def in_both(config: MoEConfig, counts: str) -> list[tuple[str, MoEConfig]]:
    """What is measured of the layer in both precisions, at few tokens and at many.

    Raises ValueError for what is no number of tokens, and for more than MOST_PRECISIONS of them.
    """
    like = "one or two numbers of tokens like 1, 256"
    tokens = _token_counts("precisions", counts, like)
    if len(tokens) > MOST_PRECISIONS:
        raise ValueError(f"precisions must be {like}, got {counts!r}")
    sizes = [replace(config, tokens=count, precision=p) for count in tokens for p in CHOICES["precision"]]
    return [(name, size) for size in sizes for name in IN_BOTH]


def _token_counts(name: str, text: str, like: str) -> list[int]:
    """Numbers of tokens in rising order; raises ValueError, naming the parameter, for anything else."""
    tokens = set(numbers(name, text, like))
    if min(tokens, default=1) < 1:
        raise ValueError(f"{name} must be {like}, got {text!r}")
    return sorted(tokens)


def findings(run: Run) -> Findings:
    """What a run says, with the figure and the table of the kernel's factors."""
    measured, rows = Breakdown(run), factors(run)
    caption, table = found.split(measured, rows, "mojo"), tables.factors(rows, "mojo")
    return Findings(found.headline(measured, rows), caption, table, sentences.without_numbers(run))


def load(run: str | None, **parameters: Any) -> Breakdown:
    """The breakdown of the run at `run`, or of one measured now with `parameters`."""
    return Breakdown(load_or_measure(run, "breakdown", lambda: arguments(**parameters)))


def beside(run: str | None) -> Breakdown | None:
    """The breakdown that was measured for the same report as the run at `run`, if there is one."""
    own = given_or_latest(run, "comparison")
    path = run_file(own.parent, "breakdown") if own else None
    return Breakdown(load_run(path)) if path is not None and path.exists() else None
