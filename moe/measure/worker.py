"""The child process that runs forwards, on one number of threads.

Started with its thread limits in the environment, before any numeric library is loaded, and with its parent's path of
imports. It answers one JSON line on standard output for each JSON line on standard input; what an implementation
prints goes to standard error.
"""

import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from operator import index
from pathlib import Path
from statistics import fmean, median
from time import perf_counter, process_time
from typing import Any, TextIO

PR_SET_PDEATHSIG = 1
STATUS = Path("/proc/self/status")
SETTLED = 0.97  # forwards that take at least this share of the time of earlier ones get no faster


class NoRoomError(Exception):
    """An output could not be saved, which is not its implementation's doing."""


class Prepared:
    """A layer, the weights that it was given, and the inputs that it is given next."""

    def __init__(self, layer: Any, weights: Any, config: Any) -> None:
        self.layer = layer
        self.weights = weights
        self.config = config
        self.flush: Any = None
        self.given: list[Any] = []
        self.kept: Any = None

    def draw(self, secret: int, count: int) -> None:
        """Draw so many inputs."""
        from moe.measure.inputs import Inputs

        drawn = Inputs(self.config, secret, count)
        self.given = [drawn[number] for number in range(count)]


class Worker:
    """Layers by the number of their measurement, and the machine's probes; what can be asked for, by its name."""

    def __init__(self) -> None:
        self.prepared: dict[int, Prepared] = {}
        self.machine: Any = None

    def load(self, implementation: str, threads: int) -> dict[str, Any]:
        """Import what an implementation needs, by running it once, without options, on a small problem.

        One that refuses this size may take another: whether it can run is found out in `prepare`.
        """
        from moe.config import MoEConfig
        from moe.implementations import NotAvailableError, create
        from moe.problem import make_problem

        started = perf_counter()
        small = make_problem(MoEConfig(tokens=1, d_model=16, d_ff=16, num_experts=2, top_k=1))
        with suppress(NotAvailableError):
            create(implementation, small.weights, top_k=small.top_k, threads=threads)(small.x)
        return {"load_s": perf_counter() - started}

    def edges(self, implementation: str) -> dict[str, Any]:
        """What an implementation gets wrong on the edges of the published layer, on one thread, each in words."""
        from moe.check import OneCheck, References

        checks = OneCheck(implementation, 1, References()).edges()
        return {"wrong": [f"{check.problem!r}: {check.note}" for check in checks if check.status == "failed"]}

    def prepare(
        self, number: int, variant: str, config: dict[str, Any], threads: int, weights: str, inputs: int
    ) -> dict[str, Any]:
        """Make the layer from the weights at a path, and some inputs; time the former and the first call."""
        from moe.config import MoEConfig
        from moe.form import ROUTER_PRECISION
        from moe.implementations import NotAvailableError, create
        from moe.measure.inputs import KNOWN
        from moe.measure.loaded import loaded_files
        from moe.measure.mapped import MappedWeights

        size = MoEConfig(**config)
        mapped = MappedWeights(Path(weights), size)
        started = perf_counter()
        try:
            # What a layer keeps of its weights is its own affair, and part of its memory.
            layer = create(variant, mapped.take(), top_k=size.top_k, threads=threads)
        except NotAvailableError as error:
            return {"not_run": str(error)}
        prepare_s = perf_counter() - started
        self.prepared[number] = own = Prepared(layer, mapped, size)
        own.draw(KNOWN, inputs)
        x = layer.to_native(own.given[0])
        started = perf_counter()
        own.kept = layer.forward(x)
        return {
            "prepare_s": prepare_s,
            "first_call_s": perf_counter() - started,
            "pools": thread_pools(layer.implementation),
            "library": library_of(layer.implementation),
            "note": str(getattr(layer.implementation, "note", "")),
            "router_precision": layer.router_precision if layer.router_precision != ROUTER_PRECISION else "",
            "files": loaded_files(layer.variant.name),
        }

    def outputs(self, number: int, path: str) -> dict[str, Any]:
        """Save the outputs for the inputs that are given, which the parent compares with the reference; mark those.

        The first is the first call's, and all are computed before it is saved: an output that a later call overwrites
        is caught.
        """
        import numpy as np

        from moe.parity import mark_of

        own = self.prepared[number]
        native = [own.kept, *(own.layer.forward(own.layer.to_native(x)) for x in own.given[1:])]
        outputs = [np.asarray(own.layer.to_numpy(y)) for y in native]
        marks = [mark_of(x) for x in own.given]
        with saving():
            np.savez(path, *outputs, allow_pickle=False)
        return {"marks": marks}

    def warm(self, number: int, secret: int, warm_up: float, warm_up_most: float, cold_on: int) -> dict[str, Any]:
        """Run untimed forwards until they settle; says how long they took, and how long one is likely to take.

        With `cold_on` threads, and not 0, caches will be written over before each timed one, and that counts.
        """
        from moe.measure.caches import CacheFlush
        from moe.measure.inputs import Inputs

        own = self.prepared[number]
        own.kept, own.given = None, []  # of the first call
        drawn, forward = Inputs(own.config, secret), own.layer.forward
        inputs = (own.layer.to_native(drawn[place]) for place in count())
        times = settle(lambda: timed(forward, next(inputs)), warm_up, warm_up_most)
        each_s = fmean(times[len(times) // 2 :])
        if cold_on:
            own.flush = CacheFlush(cold_on)
            each_s += own.flush.write()
        return {"warm_up_s": sum(times), "forwards": len(times), "each_s": each_s}

    def draw(self, number: int, secret: int, count: int) -> dict[str, Any]:
        """Draw the inputs of the forwards that are timed next."""
        self.prepared[number].draw(secret, count)
        return {}

    def timed(self, number: int, keep: int, *, clock: Callable[[], float] = perf_counter) -> dict[str, Any]:
        """Time a forward of each input that is given, off that clock convert both its ends, and copy one output.

        An input is shown to its layer only once the one before it is done: nobody can compute several together.
        """
        import numpy as np

        own = self.prepared[number]
        layer, flush = own.layer, own.flush
        to_native, forward, to_numpy = layer.to_native, layer.forward, layer.to_numpy
        samples: list[float] = []
        converting_s = flush_s = 0.0
        for place, x in enumerate(own.given):
            started = clock()
            native = to_native(x)
            converting_s += clock() - started
            if flush is not None:
                flush_s += flush.write()
            started = clock()
            y = forward(native)
            samples.append(clock() - started)
            converted = np.asarray(to_numpy(y))
            if place == keep:
                own.kept = converted.copy(), x  # what it owns may be filled in later
            del native, y, converted
        own.given, own.flush = [], None
        return {"samples": samples, "converting_s": converting_s, "flush_s": flush_s}

    def kept(self, number: int, path: str) -> dict[str, Any]:
        """Save the output that was kept, and mark the input that it is for."""
        import numpy as np

        from moe.parity import mark_of

        own = self.prepared[number]
        y, x = own.kept
        with saving():
            np.save(path, y, allow_pickle=False)
        own.kept = None
        return {"mark": mark_of(x), "peak_rss_bytes": peak_rss_bytes()}

    def forwards(self, number: int, secret: int, count: int) -> dict[str, Any]:
        """Time `count` single forwards of one input, with no warm-up, and mark that."""
        from moe.parity import mark_of

        own = self.prepared[number]
        own.draw(secret, 1)
        x = own.layer.to_native(own.given[0])
        samples = [timed(own.layer.forward, x) for _ in range(count)]
        return {"samples": samples, "mark": mark_of(own.given[0])}

    def release(self, number: int) -> dict[str, Any]:
        """Let go of a layer, and say whether its weights are still what it was given."""
        from moe.measure.inputs import numbers_of

        numbers_of.cache_clear()
        own = self.prepared.pop(number, None)
        if own is None:
            return {"changed": False}
        weights, changed = own.weights, own.weights.changed
        del own
        # Its weights are a file, which takes its room on a disk for as long as a circle of references holds a layer.
        if weights.is_held:
            gc.collect()
        return {"changed": changed}

    def load_probes(self, threads: int) -> dict[str, Any]:
        """Make the probes of the machine ready on as many threads."""
        from moe.measure.limits import MachineLimits

        self.machine = MachineLimits(threads)
        return {}

    def limits(self, bfloat16: bool) -> dict[str, Any]:
        """The machine's limits on the probes' threads, now; those of bfloat16 too where they are asked for."""
        return dict(self.machine.measure(bfloat16=bfloat16))

    def calls(self, library: str) -> dict[str, Any]:
        """What single calls into a library cost in this process."""
        from moe.measure.boundary import measure_calls

        return {"calls": measure_calls(library)}

    def cores(self, library: str, threads: int) -> dict[str, Any]:
        """How many cores a library's own threads keep busy."""
        from moe.measure.cores import cores_used

        try:
            return {"cores": cores_used(library, threads)}
        finally:
            with suppress(OSError):  # what that took is no part of the peak of what is measured
                Path("/proc/self/clear_refs").write_text("5")

    def capacity(self) -> dict[str, Any]:
        """Floating-point operations a second that the probes' threads reach right now, and how long one waited."""
        from moe.measure.waiting import UsageClock

        using = UsageClock(os.getpid(), process_time)
        reached = self.machine.capacity()
        return {"flops_per_s": reached, "waited": using.stop().waited}


@contextmanager
def saving() -> Iterator[None]:
    """Raise NoRoomError for what the system refuses meanwhile."""
    try:
        yield
    except OSError as error:
        raise NoRoomError(f"an output could not be saved ({error})") from error


def timed(forward: Callable[[Any], Any], x: Any) -> float:
    """Seconds of one forward; its output is let go of outside them."""
    started = perf_counter()
    y = forward(x)
    stopped = perf_counter()
    del y
    return stopped - started


def settle(forward: Callable[[], float], least_s: float, most_s: float) -> list[float]:
    """Run forwards for `least_s`, and on until the later half are no faster than the earlier; returns their seconds.

    Ends after `most_s` in any case; one forward is enough where it takes that long.
    """
    times: list[float] = []
    begun = perf_counter()
    look_at = least_s
    while True:
        times.append(forward())
        passed = perf_counter() - begun
        if passed < look_at:
            continue
        half = len(times) // 2
        if passed >= most_s or not half or median(times[half:]) > SETTLED * median(times[:half]):
            return times
        look_at = min(1.5 * look_at, most_s)


def thread_pools(implementation: Any) -> list[dict[str, Any]]:
    """The thread pools that are in this process, with the number of threads that each says it uses."""
    from threadpoolctl import threadpool_info

    pools = [
        {
            "name": " ".join(str(p[key]) for key in ("internal_api", "version", "architecture") if p.get(key)),
            "threads": p["num_threads"],
        }
        for p in threadpool_info()
    ]
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        pools.append({"name": f"torch {torch.__version__}", "threads": torch.get_num_threads()})
    if hasattr(implementation, "threads"):
        pools.append({"name": f"{implementation.name} kernel", "threads": index(implementation.threads)})
    return pools


def library_of(implementation: Any) -> dict[str, Any] | None:
    """The compiled library behind an implementation that has one."""
    library = getattr(implementation, "library", None)
    if library is None or not hasattr(library, "sha256"):
        return None  # none, or a third party's own
    own = {"sha256": library.sha256, "compiler": library.compiler}
    return own | {"vector_width": implementation.vector_width}


def peak_rss_bytes() -> int:
    """The most memory that this process has held, in bytes."""
    # Not getrusage where there is anything else: on Linux its maximum is inherited from the parent.
    with suppress(OSError, ValueError, IndexError, StopIteration):
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more; an error is an answer too."""
    from moe.implementations.foreign import contained, words_of

    worker = Worker()
    for line in requests:
        request = json.loads(line)
        try:
            with contained():
                reply = json.dumps(getattr(worker, request.pop("op"))(**request))
        except NoRoomError as error:
            reply = json.dumps({"no_room": str(error)})
        except Exception as error:
            reply = json.dumps({"error": words_of(error)})
        replies.write(reply + "\n")
        replies.flush()


def _end_with_the_parent() -> None:
    """Have Linux end this process when its parent is gone, also while it is held still."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """Serve standard input, keeping standard output for the replies alone."""
    _end_with_the_parent()
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, replies)
