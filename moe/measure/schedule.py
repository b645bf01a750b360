"""The two orders of measuring: generations of workers until the budget is spent, and cell by cell."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from moe.analysis import Row, summarise
from moe.analysis.limits import limits_of
from moe.config import FLOAT32_BYTES
from moe.measure.bench import NOT_REACHED_REASON, Bench
from moe.measure.capacity import mark_disturbed
from moe.measure.protocol import Protocol
from moe.measure.workers import Workers
from moe.problem import Weights
from moe.processor import MEMORY_SHARE, usable_memory
from moe.run import NOT_REACHED, OVER_BUDGET, OVER_MEMORY, Measurement, Run, measured

ROUNDS_OF_A_PROCESS = 10_000  # at most, so that a round's number says which of the run's it is
LOST = 0.4  # of the budget, on top of it: what disturbances may take before turns are no longer repeated
LOST_TO_CELLS = 0.35  # and in a sweep: a tenth left three cells in ten with rounds enough for an interval
OVER = 1.0  # of the budget: what the fewest rounds may take beyond it, as on a busy machine, or what none foresaw
MORE = 1.0  # of the budget, on top of it: what more processes may take where what is known is too uncertain
UNCERTAIN = 0.1  # half an interval, as a share of the lead
BUSY = 0.1  # of the turns: where more are disturbed, more of them make a lead little surer
COPIES = 2.5  # of the weights that a worker holds while it prepares: those mapped, packed ones, a part in between
FORWARDS = 7  # that a variant needs in each process: the first, in one another, some to warm up, three timed
WEIGHTS_BYTES_PER_S = 1e9  # about what packing them reaches
MARGIN = 1.5  # times what is left: a cell that was begun is finished if it nearly fits


def until_budget(bench: Bench) -> None:
    """Generations of workers with as many rounds each, while the budget has room, or until a target is met.

    Where a row has no interval all get more than the budget, where a lead is uncertain those that it is between. How
    wide an interval is decides, not where it lies: measuring until a difference is resolved would find one.
    """
    set_aside: dict[int, Measurement] = {}
    settings = bench.settings
    generation = 1 + max((p for m in bench.run.measurements for p in m.processes), default=-1)
    rounds = _rounds_so_far(bench)
    planned = max(1, settings.processes - generation)
    while bench.alive:
        left = max(1, settings.processes - generation)
        started = bench.patience.now()
        bench.patience.most_s = LOST * settings.budget_s * (1 - (left - 1) / planned)
        rounds = _generation(bench, generation, rounds, left)
        took_s = bench.patience.now() - started
        generation += 1
        if is_lacking(settings, generation, rounds) and took_s <= bench.left_s + OVER * settings.budget_s:
            continue
        if settings.target is not None and _is_narrow(bench, settings.target):
            return
        if took_s > bench.left_s:
            more_s = MORE * settings.budget_s if settings.target is None and settings.processes > 1 else 0.0
            bench.alive |= set_aside  # which may have become uncertain, by what probes found since
            going_on = _uncertain(bench) if took_s <= bench.left_s + more_s else set()
            set_aside = {number: bench.alive.pop(number) for number in set(bench.alive) - going_on}


def is_lacking(settings: Protocol, generations: int, rounds: int) -> bool:
    """Whether a run lacks generations after so many, each of as many rounds, by what was asked for.

    Where the first met a busy machine and none has time for all of its rounds, more of them make up for that.
    """
    if generations < settings.processes:
        return True
    wanted = settings.processes * settings.rounds if settings.target is None and settings.processes > 1 else 0
    return generations * rounds < wanted


def _generation(bench: Bench, process: int, rounds: int, left: int) -> int:
    """Fresh workers and their rounds; how many there are to be is returned, and found out by the first if it is 0."""
    started, share_s = bench.patience.now(), bench.left_s / left
    with bench.workers() as workers:
        bench.make_ready(workers)
        ready, done = bench.patience.now(), 0
        while bench.alive and (not done or done < rounds):
            bench.round(process, process * ROUNDS_OF_A_PROCESS + done)
            bench.saving.save_if_due()
            done += 1
            if not rounds:
                rounds = _affordable(bench.settings, ready - started, bench.patience.now() - ready, share_s)
        bench.release()
    return rounds


def _affordable(settings: Protocol, ready_s: float, round_s: float, share_s: float) -> int:
    """How many rounds each process gets, from how long it takes to start one and to make the first."""
    if settings.target is not None:
        fitting = max(settings.rounds, int(ready_s / round_s))
    else:
        fitting = int((share_s - ready_s) / round_s)
        if ready_s + settings.rounds * round_s <= (1 + OVER) * share_s:
            fitting = max(fitting, settings.rounds)
    return min(ROUNDS_OF_A_PROCESS, max(1, fitting))


def _rounds_so_far(bench: Bench) -> int:
    """Rounds of each process of the run that this one continues, 0 where there is none."""
    places = {place for m in bench.run.measurements for place in zip(m.processes, m.rounds, strict=False)}
    counts = Counter(process for process, _ in places)
    counts.pop(max(counts, default=0), None)  # the last may have been interrupted
    return max(counts.values(), default=0)


def _is_narrow(bench: Bench, target: float) -> bool:
    rows = summarise(bench.run).measured
    return all(i.half_width <= target for row in rows for i in (row.latency, row.speedup) if i)


def _uncertain(bench: Bench) -> set[int]:
    """The rows that more turns are worth their time for.

    All where one has too few undisturbed turns for an interval. Else, where the kernel's lead over the fastest other
    on the layer that the run is about is known too little, on any number of threads: the kernel and what may be it.
    """
    mark_disturbed(bench.run)
    summary = summarise(bench.run)
    rows = {number: summary.every[number] for number in bench.alive}
    if any(row.latency and not row.latency.bounded for row in rows.values()):
        return set(rows)
    turns = [disturbed for m in bench.run.measurements for disturbed in m.disturbed]
    if sum(turns) > BUSY * len(turns):
        return set()
    layers = {m.config for m in bench.run.measurements if m.control}
    leads = [
        lead
        for lead in summary.ahead.values()
        if lead.mojo.measurement.config in layers and lead.ratio.half_width > UNCERTAIN
    ]
    places = {id(row): number for number, row in rows.items()}
    found: set[int] = set()
    for lead in leads:
        between = {places.get(id(lead.mojo)), places.get(id(lead.other))}
        if None not in between:  # both can be measured on
            found |= {number for number, row in rows.items() if number in between or _rivals(row, lead.other)}
    return found


def _rivals(row: Row, fastest: Row) -> bool:
    """Whether a row may be as fast as the one that was found to be the fastest of the others."""
    ours, theirs = row.measurement, fastest.measurement
    alike = (ours.threads, ours.device, ours.config) == (theirs.threads, theirs.device, theirs.config)
    return alike and bool(row.throughput and fastest.throughput and row.throughput.high >= fastest.throughput.low)


def measure_cells(
    run: Run, settings: Protocol, path: Path | None, progress: bool, weights: Weights | None = None
) -> None:
    """Measure the open cells of a run on this machine, with `weights` if given; its file holds whole cells alone."""
    bench = Bench(run, replace(settings, save_every_s=0.0), path, progress, weights)
    with bench.measuring():
        _cell_by_cell(bench)


def _cell_by_cell(bench: Bench) -> None:
    """The same workers for all cells, one round in each process: loading PyTorch takes longer than a small cell."""
    measurements, available = bench.run.measurements, bench.alive
    cells: dict[int, list[int]] = defaultdict(list)
    for number, m in enumerate(measurements):
        cells[m.details["cell"]].append(number)
    todo = [own for own in cells.values() if any(measurements[n].is_open for n in own)]
    try:
        with ExitStack() as stack:
            fleet = [stack.enter_context(bench.workers()) for _ in range(bench.settings.processes)]
            bench.load(fleet)
            for place, own in enumerate(todo):
                bench.alive = {n: available[n] for n in own if n in available}
                bench.patience.most_s = LOST_TO_CELLS * bench.settings.budget_s * (place + 1) / len(todo)
                if not bench.alive:
                    continue
                left_s = bench.turn_most_s = bench.left_s
                if too_much := _too_much(bench, left_s):
                    for m in bench.alive.values():
                        if m.status != "ok":
                            m.reason, m.code = too_much
                else:
                    _measure_cell(bench, fleet)
                    bench.saving.save_if_due()
    finally:
        bench.run.complete = not any(measurements[n].is_open for n in available)


def _measure_cell(bench: Bench, fleet: Sequence[Workers]) -> None:
    """A round in each process of the fleet, which lets go of the cell's layers before the next one takes them.

    Half a cell is none: where it would take too long, once the first process has shown it, or is interrupted,
    nothing of it stays.
    """
    started = bench.patience.now()
    cell = dict(bench.alive)
    before = {number: replace(m) for number, m in cell.items()}
    bench.referee.keep_only([m.config for m in cell.values()])
    _forget(cell, NOT_REACHED_REASON, NOT_REACHED)  # of a cell that lacks a row, all are measured again
    try:
        for process, workers in enumerate(fleet):
            bench.make_ready(workers)
            bench.round(process, process)
            bench.release()
            needed_s = (bench.patience.now() - started) / (process + 1) * (len(fleet) - process - 1)
            left = max(0.0, bench.left_s)
            if needed_s > MARGIN * left:
                reason = f"left out for want of time: about {needed_s:.0f} s more, and {left:.0f} s were left"
                _forget(bench.alive, reason, OVER_BUDGET)
                break
    except BaseException:
        _forget(bench.alive, NOT_REACHED_REASON, NOT_REACHED)
        raise
    finally:
        if measured(cell.values()) < measured(before.values()):
            for number, m in cell.items():  # what was there is worth more
                vars(m).update(vars(before[number]))


def _forget(cell: Mapping[int, Measurement], reason: str, code: str) -> None:
    """Drop what was measured of a cell, as if it had not been begun."""
    for m in cell.values():
        m.status, m.reason, m.code, m.parity, m.warm_up_s = "not_run", reason, code, None, 0.0
        m.processes, m.rounds, m.samples_s, m.capacities, m.disturbed = [], [], [], [], []
        m.others_cores, m.stolen_cores, m.waited = [], [], []


def _too_much(bench: Bench, left_s: float) -> tuple[str, str] | None:
    """Why the cell that is alive can't be measured, by its memory or by about how long it would take."""
    if left_s <= 0:
        return NOT_REACHED_REASON, NOT_REACHED
    alive = bench.alive.values()
    config = max((m.config for m in alive), key=lambda c: c.tokens)
    weights = config.weights * FLOAT32_BYTES
    inputs = (bench.settings.turn_forwards + 1) * config.d_model + config.top_k * config.d_ff + config.shared_d_ff
    worker = COPIES * weights + config.tokens * inputs * FLOAT32_BYTES
    free = MEMORY_SHARE * usable_memory()
    if worker > bench.memory_bytes or worker * len(alive) > free:
        return (
            f"left out for want of memory: about {worker / 2**30:.1f} GiB for each of {len(alive)} workers, of "
            f"{free / 2**30:.1f} GiB that are free and {bench.memory_bytes / 2**30:.1f} GiB that one may hold",
            OVER_MEMORY,
        )
    processes = bench.settings.processes
    about_s = weights * len(alive) * processes / WEIGHTS_BYTES_PER_S
    limits = limits_of(bench.run, next(iter(alive)).threads)
    if limits:
        about_s += sum(m.config.flops for m in alive) * FORWARDS * processes / limits.flops_per_s
    if about_s > left_s:
        return f"left out for want of time: about {about_s:.0f} s, and {left_s:.0f} s were left", OVER_BUDGET
    return None
