"""What the Mojo kernel is to reach at a shape, how near it comes, and how far ahead of PyTorch's layers it is."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field, replace

from moe.analysis.statistics import Interval
from moe.analysis.summary import KERNEL, Summary, summarise, tokens_ratio
from moe.config import MoEConfig, parse_config
from moe.run import Measurement, Run

IN_PYTORCH = ("torch", "torch-loop", "torch-grouped", "torch-onednn", "torch-compile")
# The implementation, which sorts tokens, and the loop by expert that most model code is written as.
USUAL = ("torch", "torch-loop")


@dataclass(frozen=True)
class Shape:
    """Sizes with a name, how they are measured, what binds the kernel there, and its goals by number of threads.

    `effort` multiplies the time given to it: preparing gigabytes of weights for every worker takes some, and leaves
    room for fewer `processes`. One of a `group` is measured where it or the group is named. With `fewer` the layer
    may hold fewer experts than `config` says, where memory is short.
    """

    name: str
    config: str
    binds: str = ""
    cache: str = "warm"
    share: dict[int, float] = field(default_factory=dict)
    over_torch: dict[int, float] = field(default_factory=dict)
    beyond_us: dict[int, float] = field(default_factory=dict)
    of: str = ""
    effort: float = 1.0
    processes: int = 6
    group: str = ""
    fewer: bool = False


@dataclass(frozen=True)
class Verdict:
    """One goal on one number of threads: what was wanted, what was measured, and whether it was reached."""

    what: str
    goal: float
    measured: Interval
    verdict: str


@dataclass(frozen=True)
class Result:
    """The kernel on one shape and number of threads, and how many times as fast as PyTorch's layers it is.

    `bound` is which limit the share is of, and `note` what is special: how many experts are held where that is not
    all, and what the kernel notes about itself.
    """

    shape: str
    config: MoEConfig
    cache: str
    binds: str
    threads: int
    latency_s: Interval
    share: Interval
    bound: str
    bound_s: float
    over: dict[str, Interval]
    verdicts: list[Verdict]
    note: str = ""

    @property
    def nearest(self) -> tuple[str, Interval] | None:
        """The fastest of PyTorch's layers, and how many times as fast the kernel is."""
        return min(self.over.items(), key=lambda item: item[1].value, default=None)


def judge(shape: Shape, runs: Sequence[Run], before: Sequence[Result] = ()) -> list[Result]:
    """The kernel's results in a shape's first run, by threads; `before` holds those that goals refer to.

    Layers that this run has no numbers of are taken from the others, in which the kernel was measured again at the
    same size.
    """
    layer = runs[0].measurements[0].config
    first, *_ = summaries = [summarise(run, "torch") for run in runs if run.measurements[0].config == layer]
    results = []
    for threads in first.thread_counts:
        row = first.row(KERNEL, threads)
        if row is None or row.latency is None or row.share_of_limit is None or row.bound is None:
            continue
        result = Result(
            shape.name, row.measurement.config, shape.cache, shape.binds, threads,
            row.latency, row.share_of_limit, row.bound.by, row.bound.seconds, _over(summaries, threads), [],
            _note(shape, row.measurement),
        )  # fmt: skip
        results.append(replace(result, verdicts=list(_verdicts(shape, result, before))))
    return results


def _note(shape: Shape, kernel: Measurement) -> str:
    held, of = kernel.config.num_experts, parse_config(shape.config).num_experts
    fewer = f"{held} of {of} experts held" if held < of else ""
    return ", ".join(filter(None, [fewer, kernel.details.get("note", "")]))


def _over(summaries: Sequence[Summary], threads: int) -> dict[str, Interval]:
    """How many times as fast the kernel is as each of those layers, in the first run that has numbers of both."""
    over: dict[str, Interval] = {}
    for name in IN_PYTORCH:
        rows = ((s.row(KERNEL, threads), s.row(name, threads)) for s in summaries)
        ratios = (tokens_ratio(kernel.measurement, other.measurement) for kernel, other in rows if kernel and other)
        if ratio := next(filter(None, ratios), None):
            over[name] = ratio
    return over


def _verdicts(shape: Shape, result: Result, before: Sequence[Result]) -> Iterator[Verdict]:
    threads = result.threads
    if threads in shape.share and not shape.of:
        yield _verdict("share of the limit", shape.share[threads], result.share)
    for other in before:
        if threads in shape.share and (other.shape, other.threads) == (shape.of, threads):
            yield _verdict(f"share of {shape.of}'s", shape.share[threads], result.share.over(other.share))
    if threads in shape.beyond_us:
        beyond = Interval(*((end - result.bound_s) * 1e6 for end in astuple(result.latency_s)))
        yield _verdict("µs beyond the limit", shape.beyond_us[threads], beyond, most=True)
    for name in USUAL:
        if threads in shape.over_torch and name in result.over:
            yield _verdict(f"× {name}", shape.over_torch[threads], result.over[name])
    if result.nearest is not None:
        name, ratio = result.nearest
        yield _verdict(f"× {name}", 1.0, ratio)


def _verdict(what: str, goal: float, measured: Interval, *, most: bool = False) -> Verdict:
    if not measured.excludes(goal):
        return Verdict(what, goal, measured, "not resolved")
    return Verdict(what, goal, measured, "reached" if (measured.value < goal) == most else "missed")
