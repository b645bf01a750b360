"""The child process that runs forwards, on one number of threads.

Started with its thread limits in the environment, before any numeric library is loaded.
It answers one JSON line on standard output for each JSON line on standard input; what an implementation
prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, TextIO

SETTLED = 0.97  # forwards that take at least this share of the time of earlier ones get no faster
READY_BYTES = 2**26  # of inputs that are made before they are timed
READY_MOST = 20_000  # of them: enough for 20 ms of the shortest forwards


class Prepared:
    """A layer, the weights that it was given, and the inputs that it gets, none of them twice."""

    def __init__(self, layer: Any, weights: Any, inputs: Any, number: int) -> None:
        self.layer = layer
        self.weights = weights
        self.inputs = inputs
        self.number = number  # of the next input
        self.to_native_s: list[float] = []
        self.ready: list[Any] = []
        self.kept: Any = None
        self.kept_number = 0
        self.flush: Any = None

    def next_input(self) -> Any:
        """The next input in the layer's own form."""
        x = self.inputs[self.number]
        self.number += 1
        started = perf_counter()
        native = self.layer.to_native(x)
        self.to_native_s.append(perf_counter() - started)
        return native

    def forward(self) -> float:
        """Seconds of a forward that nobody looks at."""
        return timed(self.layer.forward, self.next_input())


class Worker:
    """State between requests: layers by the number of their measurement, and the machine's probes."""

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

    def prepare(
        self, number: int, variant: str, config: dict[str, int], threads: int, weights: str
    ) -> dict[str, Any]:
        """Make the layer from the weights at a path, and time that and the first call, on input 0."""
        from moe.config import MoEConfig
        from moe.implementations import NotAvailableError, create
        from moe.measure.inputs import Inputs
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
        self.prepared[number] = own = Prepared(layer, mapped, Inputs(size), 0)
        x = own.next_input()
        started = perf_counter()
        own.kept = layer.forward(x)
        return {
            "prepare_s": prepare_s,
            "first_call_s": perf_counter() - started,
            "pools": thread_pools(layer.implementation),
            "library": library_of(layer.implementation),
        }

    def outputs(self, number: int, count: int, path: str, continue_at: int) -> dict[str, Any]:
        """Save the outputs for the inputs 0 to `count`, which the parent compares with the reference.

        The first is the first call's, and all are computed before it is saved: an output that a later call overwrites
        is caught. From here on the inputs are those from `continue_at`.
        """
        import numpy as np

        own = self.prepared[number]
        native = [own.kept, *(own.layer.forward(own.next_input()) for _ in range(count - 1))]
        own.kept, own.number = None, continue_at
        np.savez(path, *[np.asarray(own.layer.to_numpy(y)) for y in native])
        return {}

    def warm(
        self, number: int, seconds: float, least: int, warm_up: float, warm_up_most: float, cold_on: int
    ) -> dict[str, Any]:
        """Run untimed forwards until they settle, and make inputs for about `seconds` of timed ones, `least` or more.

        With `cold_on` threads, and not 0, caches will be written over before each of them, and that counts.
        """
        from moe.measure.caches import CacheFlush

        own = self.prepared[number]
        own.flush = CacheFlush(cold_on) if cold_on else None
        own.to_native_s = []
        each_s = own.flush.write() if own.flush else 0.0
        times = settle(own.forward, warm_up, warm_up_most)
        each_s += median(times[len(times) // 2 :])
        first = own.number
        own.ready = [own.next_input()]
        fit = READY_BYTES // max(1, own.inputs[first].nbytes)
        wanted = min(ceil(seconds / max(each_s, 1e-7)), READY_MOST, fit)
        own.ready += [own.next_input() for _ in range(max(wanted, least) - 1)]
        own.kept_number = first
        return {
            "warm_up_s": sum(times),
            "ready": len(own.ready),
            "first_input": first,
            "to_native_s": median(own.to_native_s),
        }

    def timed(self, number: int, keep: int) -> dict[str, Any]:
        """Time a forward of each input that is ready, and keep the output of one of them."""
        own = self.prepared[number]
        forward, flush = own.layer.forward, own.flush
        samples: list[float] = []
        flush_s = 0.0
        for place, x in enumerate(own.ready):
            if flush is not None:
                flush_s += flush.write()
            started = perf_counter()
            y = forward(x)
            samples.append(perf_counter() - started)
            if place == keep:
                own.kept = y
            del y  # outside of what is timed
        own.ready = []
        return {"samples": samples, "flush_s": flush_s}

    def kept(self, number: int, path: str) -> dict[str, Any]:
        """Save the output that was kept, after the time that `to_numpy` takes for it."""
        import numpy as np

        own = self.prepared[number]
        started = perf_counter()
        y = own.layer.to_numpy(own.kept)
        to_numpy_s = perf_counter() - started
        own.kept = None
        np.save(path, np.asarray(y), allow_pickle=False)
        return {"to_numpy_s": to_numpy_s, "peak_rss_bytes": peak_rss_bytes()}

    def forwards(self, number: int, count: int) -> dict[str, Any]:
        """Time `count` single forwards of one input, with no warm-up."""
        own = self.prepared[number]
        x = own.next_input()
        return {"samples": [timed(own.layer.forward, x) for _ in range(count)]}

    def release(self, number: int) -> dict[str, Any]:
        """Let go of a layer, say whether its weights are what it was given, and watch for the most memory anew."""
        own = self.prepared.pop(number, None)
        changed = own is not None and own.weights.changed
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        return {"changed": changed}

    def limits(self, threads: int) -> dict[str, Any]:
        """The machine's limits on this worker's threads, now."""
        found: dict[str, Any] = self._machine(threads).measure()
        return found

    def capacity(self, threads: int) -> dict[str, Any]:
        """Floating-point operations a second that as many threads reach right now."""
        return {"flops_per_s": self._machine(threads).capacity()}

    def _machine(self, threads: int) -> Any:
        from moe.measure.limits import MachineLimits

        if self.machine is None:
            self.machine = MachineLimits(threads)
        return self.machine


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


def calls(library: str) -> dict[str, Any]:
    """What single calls into a library cost in this process."""
    from moe.measure.boundary import measure_calls

    return {"calls": measure_calls(library)}


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
        pools.append({"name": f"{implementation.name} kernel", "threads": implementation.threads})
    return pools


def library_of(implementation: Any) -> dict[str, Any] | None:
    """The compiled library behind an implementation that has one."""
    library = getattr(implementation, "library", None)
    if library is None:
        return None
    return {
        "sha256": library.sha256,
        "compiler": library.compiler,
        "vector_width": implementation.vector_width,
    }


def peak_rss_bytes() -> int:
    """The most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage: on Linux its maximum is inherited from the parent.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests until there are no more; an error is an answer too."""
    worker = Worker()
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "limits": worker.limits,
        "calls": calls,
        "load": worker.load,
        "prepare": worker.prepare,
        "outputs": worker.outputs,
        "warm": worker.warm,
        "timed": worker.timed,
        "kept": worker.kept,
        "forwards": worker.forwards,
        "release": worker.release,
        "capacity": worker.capacity,
    }
    for line in requests:
        request = json.loads(line)
        try:
            reply = operations[request.pop("op")](**request)
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def main() -> None:
    """Serve standard input, keeping standard output for the replies alone."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(sys.stdin, replies)


if __name__ == "__main__":
    main()
