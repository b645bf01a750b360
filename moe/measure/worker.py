"""The child process that runs forwards: one implementation on one number of threads.

Started with its thread limits in the environment, before any numeric library is loaded.
It answers one JSON line on standard output for each JSON line on standard input; what an implementation
prints goes to standard error.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, TextIO

SETTLED = 0.97  # forwards that take at least this share of the time of earlier ones get no faster


class Worker:
    """State between requests: layers and inputs by the number of their measurement, and the machine's probes."""

    def __init__(self) -> None:
        self.prepared: dict[int, tuple[Any, Any]] = {}
        self.first_outputs: dict[int, Any] = {}  # until they are compared
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

    def prepare(self, number: int, variant: str, config: dict[str, int], threads: int, inputs: int) -> dict[str, Any]:
        """Make the layer and its native inputs; time prepare and the first call."""
        from moe.config import MoEConfig
        from moe.implementations import NotAvailableError, create
        from moe.problem import make_inputs, make_weights

        size = MoEConfig(**config)
        weights = make_weights(size)
        started = perf_counter()
        try:
            layer = create(variant, weights, top_k=size.top_k, threads=threads)
        except NotAvailableError as error:
            return {"not_run": str(error)}
        prepared = perf_counter()
        del weights  # what a layer keeps of them is its own affair, and part of its memory
        native = itertools.cycle([layer.to_native(x) for x in make_inputs(size, inputs)])
        x = next(native)
        started_first = perf_counter()
        self.first_outputs[number] = layer.forward(x)
        first_call_s = perf_counter() - started_first
        self.prepared[number] = (layer, native)
        return {
            "prepare_s": prepared - started,
            "first_call_s": first_call_s,
            "pools": thread_pools(layer.implementation),
            "library": library_of(layer.implementation),
        }

    def outputs(self, number: int, count: int, path: str) -> dict[str, Any]:
        """Save the outputs for the first `count` inputs, which the parent compares with the reference.

        The first is the first call's, and all are computed before it is saved: an output that a later call overwrites
        is caught.
        """
        import numpy as np

        layer, inputs = self.prepared[number]
        native = [self.first_outputs.pop(number), *(layer.forward(next(inputs)) for _ in range(count - 1))]
        np.savez(path, *[np.asarray(layer.to_numpy(y)) for y in native])
        return {}

    def turn(
        self,
        number: int,
        seconds: float,
        least: int,
        warm_up: float,
        warm_up_most: float,
        cache: str,
        threads: int,
    ) -> dict[str, Any]:
        """Time single forwards for at least `seconds` and `least` of them, after untimed ones that settle.

        With a cold cache the seconds are those that the whole turn takes, writing over the caches included.
        """
        from moe.measure.caches import CacheFlush

        flush = CacheFlush(threads) if cache == "cold" else None
        layer, inputs = self.prepared[number]
        forward = layer.forward
        processor_s = process_time()
        warmed_s = settle(lambda: forward(next(inputs)), warm_up, warm_up_most)
        samples: list[float] = []
        total = 0.0
        while total < seconds or len(samples) < least:
            x = next(inputs)
            if flush is not None:
                total += flush.write()
            samples.append(timed(forward, x))
            total += samples[-1]
        return {
            "samples": samples,
            "warm_up_s": warmed_s,
            "cpu_s": process_time() - processor_s,
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def forwards(self, number: int, count: int) -> dict[str, Any]:
        """Time `count` single forwards of one input, with no warm-up."""
        layer, inputs = self.prepared[number]
        x = next(inputs)
        return {"samples": [timed(layer.forward, x) for _ in range(count)]}

    def release(self, number: int) -> dict[str, Any]:
        """Let go of a layer and its inputs, and begin to watch for the most memory anew."""
        self.prepared.pop(number, None)
        self.first_outputs.pop(number, None)
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        return {}

    def limits(self, threads: int) -> dict[str, Any]:
        """The machine's limits on this worker's threads, now."""
        from moe.measure.limits import MachineLimits

        if self.machine is None:
            self.machine = MachineLimits(threads)
        found: dict[str, Any] = self.machine.measure()
        return found


def timed(forward: Callable[[Any], Any], x: Any) -> float:
    """Seconds of one forward; its output is let go of outside them."""
    started = perf_counter()
    y = forward(x)
    stopped = perf_counter()
    del y
    return stopped - started


def settle(forward: Callable[[], Any], least_s: float, most_s: float) -> float:
    """Run forwards for `least_s`, and on until the later half are no faster than the earlier; returns the seconds.

    Ends after `most_s` in any case; one forward is enough where it takes that long.
    """
    times: list[float] = []
    begun = now = perf_counter()
    look_at = least_s
    while True:
        forward()
        before, now = now, perf_counter()
        times.append(now - before)
        if now - begun < look_at:
            continue
        half = len(times) // 2
        if now - begun >= most_s or not half or median(times[half:]) > SETTLED * median(times[:half]):
            return now - begun
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
        "turn": worker.turn,
        "forwards": worker.forwards,
        "release": worker.release,
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
