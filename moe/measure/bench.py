"""The one loop that measures: workers made ready, rounds of turns, probes between them, and what goes wrong."""

import random
import secrets
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import repeat
from typing import Any

from moe.config import MoEConfig
from moe.implementations import availability
from moe.implementations.registry import entry_of
from moe.measure.agreement import Kept, Referee, agree, keep
from moe.measure.capacity import is_crowded, is_huddled, mark_disturbed
from moe.measure.child import LOAD_TIMEOUT_S, WorkerFailedError
from moe.measure.conditions import Elsewhere, Watch
from moe.measure.honesty import Doubts, Turn, checked, impossible
from moe.measure.inputs import KNOWN, Inputs, at_least, how_many
from moe.measure.lines import known_kernel_lines, known_lines
from moe.measure.patience import Patience
from moe.measure.protocol import Protocol
from moe.measure.saving import Saving
from moe.measure.threads import CoreCheck, require_threads
from moe.measure.waiting import UsageClock
from moe.measure.workers import Workers
from moe.measure.yardsticks import Yardsticks
from moe.parity import INPUT_CHANGED, WEIGHTS_CHANGED, Parity, mark_of
from moe.problem import Weights
from moe.processor import MEMORY_SHARE, usable_memory
from moe.progress import Progress
from moe.run import NO_ROOM, NOT_REACHED, OTHER, OVER_MEMORY, TOO_LONG, Measurement, NotRunError, Run
from moe.variant import Variant

NOT_REACHED_REASON = "the run ended before its first turn"
SECRET_BITS = 63
WARM_UPS = 4  # of a turn, at most: in a virtual machine two threads were seen to stay on one core for 100 ms


class Bench:
    """One run being measured: the steps that every order of measuring is made of."""

    def __init__(
        self,
        run: Run,
        settings: Protocol,
        path: Path | None,
        progress: bool,
        weights: Weights | None = None,
    ) -> None:
        self.run = run
        self._given = weights  # in place of those that the configs' seeds make
        self.settings = settings
        self.random = random.Random(settings.seed)
        self.progress = Progress("measuring", settings.budget_s, enabled=progress)
        self.memory_bytes = settings.memory_bytes or MEMORY_SHARE * usable_memory()
        self._begun = time.monotonic()
        self.patience = Patience()
        self.turn_most_s = settings.budget_s
        self.alive: dict[int, Measurement] = {}  # what nothing has gone wrong with, by its number
        self.saving = Saving(run, path, settings.save_every_s)
        self._kept: list[Kept] = []
        self._doubts = Doubts()
        self._core_check = CoreCheck()
        self._copy_s: dict[MoEConfig, float] = {}
        self._each_s: dict[int, float] = defaultdict(lambda: inf)  # the least that a row's forward was seen to last
        self._workers = self.workers()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Probes and a folder while it lasts; whatever happens, what was measured is judged and saved."""
        self._find_available()
        with self.saving.lasting():
            try:
                with ExitStack() as stack:
                    self._folder = Path(stack.enter_context(TemporaryDirectory()))
                    self.referee = Referee(self._folder, self.settings.inputs, self._given)
                    self.progress.note("the machine's limits")
                    self._machine = Yardsticks(stack, self.run)
                    yield
            finally:
                self.progress.close()
                for m in self.run.measurements:
                    m.keep_whole_turns()
                self._judge_all()

    def _judge_all(self) -> None:
        """What can be said of rows only at the end."""
        if self._kept:
            self._judge_kept()
        mark_disturbed(self.run)
        for number, m in enumerate(self.run.measurements):
            reason = self._doubts.of(number, m.disturbed, ended=True) or impossible(self.run, m)
            if m.status == "ok" and reason:
                m.status, m.reason, m.code = "failed", reason, OTHER

    @property
    def left_s(self) -> float:
        """Seconds that are left of the budget, of which what disturbances took is no part."""
        return self._begun + self.settings.budget_s - self.patience.now()

    def workers(self) -> Workers:
        """The workers of a generation, none of them started."""
        return Workers(self.memory_bytes)

    def load(self, fleet: Sequence[Workers]) -> None:
        """Start the workers that measurements need, and have them import what they run, all side by side."""
        loading = [(workers, number, m) for workers in fleet for number, m in self.alive.items() if workers.start(m)]
        for workers, _, m in loading:
            workers.send(m, "load", implementation=m.implementation, threads=m.threads)
        for self._workers, number, m in loading:
            if number in self.alive:
                self._attempt(number, self._note_load)
            else:
                self._workers.end_unless_needed(m, ())  # with the answer that nobody waits for
        for workers in fleet:
            workers.hold()

    def make_ready(self, workers: Workers) -> None:
        """Have every measurement loaded, prepared and checked."""
        self.load([workers])
        self._workers = workers
        for number in list(self.alive):
            workers.hold()
            self._attempt(number, self._make_ready)

    def round(self, process: int, number: int) -> None:
        """Give every measurement a turn, in a new order; what is put off, or was disturbed, has one later in it."""
        queue = deque(self.alive)
        self.random.shuffle(queue)
        put_off, repeated = Counter[int](), Counter[int]()
        while queue:
            n = queue.popleft()
            if n in self.alive:  # a fresh worker takes the place of one that another's turn has ended
                self._attempt(n, self._make_ready)
            if n not in self.alive:
                continue
            self._workers.hold()
            started, lost_s = time.monotonic(), self.patience.lost_s
            look = self.patience.look(self.alive[n], put_off[n], self._machine.capacity)
            if not look.ready:
                put_off[n] += 1
                queue.append(n)
            elif not self._attempt(n, self._turn, process, number, look.reached) and self._may_repeat(n, repeated[n]):
                repeated[n] += 1
                queue.append(n)
                self.patience.lost_s = lost_s + time.monotonic() - started
        self._judge_kept()
        self._find_doubts()
        self._machine.measure_limits()

    def release(self) -> None:
        """Have the workers let go of all layers; one that has changed its weights has failed."""
        for number, m in list(self.alive.items()):
            if self._workers.release(m, number, self.settings.timeout_s):
                self._fail(number, WEIGHTS_CHANGED)
        self._workers.hold()

    def _find_available(self) -> None:
        measured = self.run.measurements
        lines = {name: known_lines(name) for name in {m.implementation for m in measured}}
        switched = {name: known_kernel_lines(name) for name in {m.implementation for m in measured if m.options}}
        for number, m in enumerate(self.run.measurements):
            if m.status == "failed" or (m.status == "not_run" and not m.is_open):
                continue  # the plan, or the run that this one continues, has said why
            available, reason = availability(m.variant)
            if available:
                self.alive[number] = m
                m.details.setdefault("lines", lines[m.implementation])
                if m.options and switched[m.implementation]:
                    m.details.setdefault("kernel_lines", switched[m.implementation])
            if not m.samples_s:
                m.status, m.reason = "not_run", reason or NOT_REACHED_REASON
                m.code = OTHER if reason else NOT_REACHED

    def _attempt(self, number: int, step: Callable[..., bool | None], *arguments: Any) -> bool:
        """Take a step with a measurement; what goes wrong ends it, and what else is measured goes on."""
        m = self.alive[number]
        try:
            return bool(step(number, m, *arguments))
        except WorkerFailedError as error:
            self._fail(number, str(error) or "it gave no reason")
        except NotRunError as error:
            self._leave_out(number, str(error) or "it gave no reason", error.code)
        except (OSError, MemoryError) as error:
            if m.samples_s:
                raise  # what had room before has none now: nothing else has
            code = OVER_MEMORY if isinstance(error, MemoryError) else NO_ROOM
            self._leave_out(number, f"no room for it here: {error}", code)
        return False

    def _leave_out(self, number: int, reason: str, code: str) -> None:
        """Measure no more of what can't be measured here; what was measured before stays."""
        m = self.alive.pop(number)
        if not m.samples_s:
            m.status, m.reason, m.code = "not_run", reason, code
        self._workers.release(m, number, self.settings.timeout_s)

    def _fail(self, number: int, reason: str) -> None:
        m = self.run.measurements[number]
        m.status, m.reason, m.code = "failed", reason, OTHER
        self.alive.pop(number, None)
        self._workers.end_unless_needed(m, self.alive.values())

    def _note_load(self, _: int, m: Measurement) -> None:
        """Take the answer to a worker's request to load a variant."""
        self.progress.note(f"loading {m.label}")
        reply = self._workers.receive(m, LOAD_TIMEOUT_S)
        # The first generation's: it compiles what the later ones find compiled.
        m.details.setdefault("load_s", reply["load_s"])
        self._workers.of(m).done.add(("load", m.implementation))

    def _make_ready(self, number: int, m: Measurement) -> None:
        """Load, prepare and check a measurement, unless that has been done in the worker that is there now."""
        workers = self._workers
        if workers.has_done(m, "ready", number):
            return
        settings = self.settings
        if not workers.has_done(m, "load", m.implementation):
            workers.send(m, "load", implementation=m.implementation, threads=m.threads)
            self._note_load(number, m)
        self.progress.note(f"preparing {m.label} (threads: {m.threads})")
        ask = partial(workers.ask, m, timeout=settings.timeout_s, number=number)
        # In later processes no output is compared before it is timed: one of every turn is afterwards.
        compare = not m.parity
        reply = self.referee.prepare(ask, m, settings.inputs if compare else 1)
        m.prepare_s, m.first_call_s = reply["prepare_s"], reply["first_call_s"]
        m.details |= {key: reply[key] for key in ("pools", "library") if reply.get(key)}
        require_threads(reply["pools"], m.threads)
        self._core_check.require_cores(workers, m, self._machine.capacity, settings.timeout_s)
        self._require_time(m)
        if compare:
            self._agree(number, m, self.referee.judge_first(ask, m))
        else:
            m.warm_up_s += m.first_call_s
        first = self.referee.references(m.config)[0]
        m.details["bytes_moved"] = first.problem.bytes_moved(first.experts)
        if not m.config.tokens:
            raise NotRunError("nothing to time: no tokens; it agrees with the reference")
        self._calls(m)
        workers.of(m).done.add(("ready", number))

    def _require_time(self, m: Measurement) -> None:
        """Raise NotRunError where a turn would take longer than there is."""
        first_call_s = m.first_call_s or 0.0
        turn_s = first_call_s * (at_least(self.settings, first_call_s) + 1)
        allowed = (self.turn_most_s, "that are left of the budget"), (self.settings.timeout_s, "that a step may take")
        most_s, why = min(allowed)
        if m.config.tokens and turn_s > most_s:
            reason = f"a turn would take about {turn_s:.3g} s, more than the {most_s:.3g} s {why}"
            raise NotRunError(reason, TOO_LONG)

    def _calls(self, m: Measurement) -> None:
        """Measure what calls into a worker's library cost, once for all variants of its implementation."""
        library = entry_of(Variant(m.implementation)).library
        known = (o for o in self.run.measurements if (o.implementation, o.threads) == (m.implementation, m.threads))
        if library and not any("calls" in other.details for other in known):
            reply = self._workers.ask(m, "calls", timeout=self.settings.timeout_s, library=library)
            m.details["calls"] = reply["calls"]

    def _agree(self, number: int, m: Measurement, found: Sequence[Parity]) -> None:
        agree(m, found, partial(self._workers.release, m, number, self.settings.timeout_s))

    def _may_repeat(self, number: int, repeated: int) -> bool:
        return number in self.alive and repeated < self.settings.repeats and self.patience.is_left

    def _turn(self, number: int, m: Measurement, process: int, round_: int, before: float | None) -> bool:
        """Give a measurement its turn, after a look at the machine; returns whether that left it undisturbed."""
        self.progress.note(f"{m.label} (threads: {m.threads})")
        threads = m.probed_threads
        turn, elsewhere, after = self._time(number, m)
        crowded = is_crowded(threads, elsewhere)
        self.patience.note(crowded=crowded)
        undisturbed = not crowded and self._machine.capacity.enough(threads, before, after)
        self._machine.capacity.note(threads, before, after)
        self._doubts.note(number, len(m.samples_s), turn)
        m.status, m.reason, m.code = "ok", "", ""
        # All at once: whatever interrupts a run leaves whole turns.
        m.samples_s.append(turn.samples)
        m.processes.append(process)
        m.rounds.append(round_)
        m.capacities.append([before, after])
        m.disturbed.append(not undisturbed)
        m.others_cores.append(elsewhere.others_cores)
        m.stolen_cores.append(elsewhere.stolen_cores)
        m.waited.append(elsewhere.waited)
        return undisturbed

    def _time(self, number: int, m: Measurement) -> tuple[Turn, Elsewhere, float | None]:
        """Warm up, time forwards within the parent's own clock, and take one of their outputs to be compared.

        Also returns what went to others meanwhile, and the capacity right after.
        """
        settings, workers = self.settings, self._workers
        ask = partial(workers.ask, m, timeout=settings.timeout_s, number=number)
        worker = workers.of(m)
        warm, watch, using = self._warm(m, ask)
        # One that is slow while nobody times it would have too few timed for anything to be told from them.
        each_s, lasting_s = (min(warm[key], self._each_s[number]) for key in ("each_s", "lasting_s"))
        count, secret = how_many(settings, m.config, each_s, lasting_s), secrets.randbits(SECRET_BITS)
        ask("draw", secret=secret, count=count)
        chosen = secrets.randbelow(count)
        timing = worker.usage()
        timed = checked(ask("timed", keep=chosen), count)
        framed, used, waited = timing.stop()
        self._each_s[number] = min(self._each_s[number], framed / count)
        elsewhere = watch.stop(using.used_s, waited)
        workers.hold()
        after = self._machine.capacity.after(m.probed_threads)
        path = self._folder / f"{number}.npy"
        kept = ask("kept", path=str(path))
        workers.hold()
        x = Inputs(m.config, secret, count)[chosen]
        if kept["mark"] != mark_of(x):
            raise WorkerFailedError(INPUT_CHANGED)
        self._kept.append(keep(number, m, x, path, self.random))
        copy_s = self._copying_s(m.config)
        turn = Turn(timed["samples"], timed["flush_s"], framed, used, m.threads, timed["converting_s"], copy_s)
        m.warm_up_s += warm["warm_up_s"]
        m.peak_rss_bytes = max(m.peak_rss_bytes or 0, kept["peak_rss_bytes"])
        m.details["memory_of"] = sorted(worker.inside)
        return turn, elsewhere, after

    def _warm(self, m: Measurement, ask: Callable[..., dict[str, Any]]) -> tuple[dict[str, Any], Watch, UsageClock]:
        """Run untimed forwards, and again while the layer's threads needlessly share a core and patience is left.

        `lasting_s` is how long each of the last took by the parent's clock. Also returns what was begun before those.
        """
        settings, spent_s, started = self.settings, 0.0, time.monotonic()
        for _ in range(WARM_UPS):
            earlier_s = time.monotonic() - started
            watch, using = Watch(), self._workers.of(m).usage()
            warm = ask(
                "warm",
                secret=secrets.randbits(SECRET_BITS),
                warm_up=settings.warm_up_s,
                warm_up_most=settings.warm_up_most_s,
                cold_on=m.threads if settings.cache == "cold" else 0,
            )
            used = using.stop()
            spent_s += warm["warm_up_s"]
            elsewhere = watch.stop(used.processor_s, used.waited)
            if not is_huddled(m.probed_threads, elsewhere) or not self.patience.is_left:
                break
        self.patience.lost_s += earlier_s
        lasting_s = used.seconds / max(1, warm["forwards"])
        return warm | {"warm_up_s": spent_s, "lasting_s": lasting_s}, watch, using

    def _copying_s(self, config: MoEConfig) -> float:
        if config not in self._copy_s:
            self._copy_s[config] = min(repeat(Inputs(config, KNOWN)[0].copy, number=1, repeat=3))
        return self._copy_s[config]

    def _judge_kept(self) -> None:
        """Compare what was kept of this round's timed outputs with the reference."""
        kept, self._kept = self._kept, []
        for number, found in self.referee.judge_kept(kept).items():
            if number in self.alive:
                self._attempt(number, self._agree, [found])

    def _find_doubts(self) -> None:
        for number, m in list(self.alive.items()):
            if reason := self._doubts.of(number, m.disturbed, ended=False):
                self._fail(number, reason)
