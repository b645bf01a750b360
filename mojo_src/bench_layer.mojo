"""Where a forward's time goes, step by step, in Mojo alone.

Run: mojo run -I mojo_src mojo_src/bench_layer.mojo
"""

from std.memory.alloc import unsafe_alloc
from std.time import perf_counter_ns

from layer import EXPERTS, ROUTE, SUM, Layer, Model, work_on_layer
from pool import Pool, Words
from probes import MULTIPLY_ADD, Probe, ProbePointer, work_on_probe
from vectors import Floats, new_floats

comptime ROUNDS = 15
"""Forwards of which the median is printed."""


def noise(count: Int, scale: Float32, seed: Int) -> Floats:
    """Fills memory with numbers around 0 from a linear congruential generator.

    Args:
        count: How many.
        scale: Half their range.
        seed: Where the generator starts.

    Returns:
        Their address.
    """
    var values = new_floats(count)
    var state = UInt32(seed)
    for i in range(count):
        state = state * 1664525 + 1013904223
        values[unsafe_offset=i] = (Float32(state >> 8) / Float32(1 << 24) - 0.5) * 2 * scale
    return values


def median(mut values: List[Float64]) -> Float64:
    """Returns the middle value, which it sorts them for.

    Args:
        values: At least one.
    """
    sort(values)
    return values[len(values) // 2]


def peak(threads: Int) raises -> Float64:
    """Returns the multiply-add peak in GFLOP/s.

    Args:
        threads: How many threads.
    """
    var probe = unsafe_alloc[Probe](1)
    probe.unsafe_write(Probe(threads, 1 << 20))
    var pool = Pool[work_on_probe](threads, Words(unsafe_from_address=Int(probe)))
    var best = Float64(0)
    for _ in range(ROUNDS):
        probe[].begin(MULTIPLY_ADD, 1000000)
        var started = perf_counter_ns()
        pool.run(threads)
        best = max(best, Float64(probe[].work_done()) / Float64(perf_counter_ns() - started))
    pool.stop()
    return best


def bench(name: String, tokens: Int, d: Int, f: Int, experts: Int, k: Int, threads: Int, limit: Float64) raises:
    """Prints a layer's rate and the time of each step.

    Args:
        name: What to call it.
        tokens: T.
        d: Width of a token.
        f: Hidden width of an expert.
        experts: E.
        k: Experts of a token.
        threads: How many threads.
        limit: Multiply-add peak in GFLOP/s.
    """
    var gate = noise(d * experts, 0.1, 1)
    var w1 = noise(experts * d * f, 0.1, 2)
    var w2 = noise(experts * f * d, 0.1, 3)
    var x = noise(tokens * d, 1, 4)
    var y = new_floats(tokens * d)
    var model = unsafe_alloc[Layer](1)
    model.unsafe_write(Layer(gate, w1, w2, d, f, experts, k, threads))
    w1.unsafe_free()
    w2.unsafe_free()
    var pool = Pool[work_on_layer](threads, Words(unsafe_from_address=Int(model)))
    model[].reserve(tokens)
    model[].take(x, y, 0, tokens)
    var whole = List[Float64]()
    var steps: List[List[Float64]] = [[], [], [], []]
    for round in range(ROUNDS + 2):
        pool.hold()
        var t0 = perf_counter_ns()
        pool.run(model[].start(ROUTE))
        var t1 = perf_counter_ns()
        model[].sort()
        var t2 = perf_counter_ns()
        pool.run(model[].start(EXPERTS))
        var t3 = perf_counter_ns()
        pool.run(model[].start(SUM))
        var t4 = perf_counter_ns()
        pool.release()
        if round < 2:
            continue
        whole.append(Float64(t4 - t0) / 1000)
        steps[0].append(Float64(t1 - t0) / 1000)
        steps[1].append(Float64(t2 - t1) / 1000)
        steps[2].append(Float64(t3 - t2) / 1000)
        steps[3].append(Float64(t4 - t3) / 1000)
    pool.stop()
    var flops = Float64(tokens * (2 * d * experts + k * 4 * d * f))
    var time = median(whole)
    var share = 100 * flops / (time * 1000) / limit
    print(name, threads, "threads:", time, "µs,", flops / (time * 1000), "GFLOP/s,", share, "% of peak")
    print(
        "    route", median(steps[0]), "sort", median(steps[1]), "experts", median(steps[2]), "sum", median(steps[3])
    )
    model[].free()
    model.unsafe_free()


def main() raises:
    for threads in range(1, 3):
        var limit = peak(threads)
        print("multiply-add peak on", threads, "threads:", limit, "GFLOP/s")
        bench("seed", 1024, 256, 1024, 4, 2, threads, limit)
        bench("medium", 512, 1024, 2048, 8, 2, threads, limit)
        bench("olmoe", 256, 2048, 1024, 64, 8, threads, limit)
        bench("decode16", 16, 256, 1024, 4, 2, threads, limit)
        bench("decode1", 1, 256, 1024, 4, 2, threads, limit)
        bench("many-small", 64, 64, 128, 64, 8, threads, limit)
