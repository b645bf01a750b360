"""The layer in Mojo alone: gate, expert products and whole forward apart, at the sizes of a published benchmark.

Run: mojo run -I mojo_src mojo_src/bench_layer.mojo [THREADS]

The published sizes ask for up to 17 GB of weights and 560 TFLOP a forward. Tokens and experts are divided by a power
of two until they fit FORWARD_FLOPS and WEIGHT_BYTES; each line says by how much. What it prints as "moe bench …" is
the command that measures the same from Python: both must give the same time within noise.
"""

from std.benchmark import Report, keep, run
from std.memory.alloc import unsafe_alloc
from std.sys import argv

from block import BLOCK_ROWS, BLOCK_TILES, store_sums
from form import Sizes, form_of
from layer import EXPERTS, ROUTE, Layer, Model, forward, work_on_layer
from pool import Pool, Words
from probes import MULTIPLY_ADD, Probe, work_on_probe
from tile import PANEL, STEPS, TILE_ROWS, TILE_VECTORS, no_sums, tile
from vectors import Floats, new_floats

comptime FORM = form_of(15)
"""Every switch on."""

comptime FORWARD_FLOPS = 100 * 1000**3
"""Most floating-point operations of a forward: about half a second of one core."""

comptime WEIGHT_BYTES = 1 << 31
"""Most bytes of w1 and w2; while they are packed there are twice as many."""

comptime SECONDS = 2.0
"""Spent on each part."""

comptime PROBE_STEPS = 1_000_000
"""Steps of the multiply-add probe: some 50 ms."""


@fieldwise_init
struct Size(Copyable, Movable):
    """A layer's name and sizes."""

    var name: String
    """What the published benchmark calls it."""
    var tokens: Int
    """T."""
    var d: Int
    """Width of a token."""
    var f: Int
    """Hidden width of an expert."""
    var experts: Int
    """E."""
    var k: Int
    """Experts of a token."""

    def flops(self) -> Int:
        """Counts the floating-point operations of a forward.

        Returns:
            Their number.
        """
        return self.gate_flops() + self.product_flops()

    def gate_flops(self) -> Int:
        """Counts those of the gate's product.

        Returns:
            Their number.
        """
        return self.tokens * 2 * self.d * self.experts

    def product_flops(self) -> Int:
        """Counts those of the experts' products.

        Returns:
            Their number.
        """
        return self.tokens * self.k * 4 * self.d * self.f

    def weight_bytes(self) -> Int:
        """Adds up w1 and w2.

        Returns:
            Their bytes.
        """
        return self.experts * 2 * self.d * self.f * 4


def scaled(size: Size) -> Size:
    """Divides experts, then tokens, by powers of two until the size fits.

    Args:
        size: As published.

    Returns:
        A size of the same d, f and k.
    """
    var fit = size.copy()
    while fit.weight_bytes() > WEIGHT_BYTES and fit.experts // 2 >= fit.k:
        fit.experts //= 2
    while fit.flops() > FORWARD_FLOPS and fit.tokens > 1:
        fit.tokens //= 2
    return fit^


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


def median(report: Report) -> Float64:
    """Takes the median of single runs.

    Args:
        report: Whose batches are one run each.

    Returns:
        Seconds.
    """
    var seconds = List[Float64]()
    for single in report.runs:
        seconds.append(single.mean())
    sort(seconds)
    return seconds[len(seconds) // 2]


def peak(threads: Int) raises -> Float64:
    """Measures the multiply-add peak.

    Args:
        threads: How many threads.

    Returns:
        FLOP/s.

    Raises:
        When the system refuses a thread.
    """
    var probe = unsafe_alloc[Probe](1)
    probe.unsafe_write(Probe(threads, 1 << 20))
    var pool = Pool[work_on_probe](threads, Words(unsafe_from_address=Int(probe)))
    probe[].begin(MULTIPLY_ADD, PROBE_STEPS)

    var pieces = probe[].pieces()

    def multiply_add() raises {imm pool, imm pieces}:
        pool.run(pieces)

    var report = run(multiply_add, max_runtime_secs=SECONDS, max_batch_size=1)
    var rate = Float64(probe[].work_done()) / median(report)
    pool.stop()
    probe[].free()
    probe.unsafe_free()
    return rate


def print_part(part: String, report: Report, flops: Int, limit: Float64):
    """Prints a part's median time and rate.

    Args:
        part: Its name.
        report: Of single runs.
        flops: Floating-point operations of one.
        limit: Multiply-add peak in FLOP/s.
    """
    var rate = Float64(flops) / median(report)
    var ms = round(1e3 * median(report), 4)
    var share = round(100 * rate / limit, 1)
    print(t"    {part}: {ms} ms, {round(rate / 1e9, 1)} GFLOP/s, {share} % of the peak, {len(report.runs)} runs")


def bench_tile(depth: Int, limit: Float64) raises:
    """Prints the rate of a block's tiles over panels that stay in the cache: what the products could reach at most.

    Args:
        depth: Of the product, a multiple of STEPS.
        limit: Multiply-add peak of one thread in FLOP/s.

    Raises:
        Nothing of its own.
    """
    comptime W = FORM.lanes()
    var tokens = noise(BLOCK_ROWS * depth, 1, 1)
    var panel = noise(depth * PANEL[W], 1, 2)
    var kept = new_floats(BLOCK_ROWS * PANEL[W])

    def products() raises {imm tokens, imm panel, imm kept, imm depth}:
        for t in range(BLOCK_TILES):
            var rows = tokens.unsafe_offset(t * TILE_ROWS * depth)
            var none = no_sums[W, TILE_ROWS * TILE_VECTORS]()
            var sums = tile[W, TILE_ROWS](rows, panel, depth // STEPS, none^, panel, 0)
            store_sums[W, TILE_ROWS](sums, kept.unsafe_offset(t * TILE_ROWS * PANEL[W]))

    var report = run(products, max_iters=2000, max_batch_size=1)
    var flops = 2 * BLOCK_ROWS * PANEL[W] * depth
    print_part(String(t"tiles alone, depth {depth}"), report, flops, limit)
    keep(kept[unsafe_offset=0])
    tokens.unsafe_free()
    panel.unsafe_free()
    kept.unsafe_free()


def bench(published: Size, threads: Int, limit: Float64) raises:
    """Prints the times of a layer's parts.

    Args:
        published: A size.
        threads: How many threads.
        limit: Multiply-add peak in FLOP/s.

    Raises:
        When the system refuses a thread.
    """
    var size = scaled(published)
    var config = t"tokens={size.tokens},d_model={size.d},d_ff={size.f},num_experts={size.experts},top_k={size.k}"
    var divided = t"tokens / {published.tokens // size.tokens}, experts / {published.experts // size.experts}"
    print(t"{size.name}, {divided}: moe bench mojo --threads {threads} --config {config}")
    var gate = noise(size.d * size.experts, 0.1, 1)
    var w1 = noise(size.experts * size.d * size.f, 0.1, 2)
    var w2 = noise(size.experts * size.f * size.d, 0.1, 3)
    var x = noise(size.tokens * size.d, 1, 4)
    var y = new_floats(size.tokens * size.d)
    var model = unsafe_alloc[Layer[FORM]](1)
    var sizes = Sizes[FORM](size.d, size.f, size.experts, size.k)
    model.unsafe_write(Layer[FORM](sizes, gate, w1, w2, threads))
    w1.unsafe_free()
    w2.unsafe_free()
    var pool = Pool[work_on_layer[FORM]](threads, Words(unsafe_from_address=Int(model)))
    var tokens = size.tokens

    def whole() raises {imm model, imm pool, imm x, imm y, imm tokens}:
        forward[FORM](model, pool, x, y, tokens)

    # After a forward, its steps can be taken again.
    def route() raises {imm model, imm pool}:
        pool.run(model[].start(ROUTE))

    def products() raises {imm model, imm pool}:
        pool.run(model[].start(EXPERTS))

    var report = run(whole, max_runtime_secs=SECONDS, max_batch_size=1)
    print_part("gate and choice", run(route, max_runtime_secs=SECONDS, max_batch_size=1), size.gate_flops(), limit)
    print_part(
        "expert products", run(products, max_runtime_secs=SECONDS, max_batch_size=1), size.product_flops(), limit
    )
    print_part("whole layer", report, size.flops(), limit)
    pool.stop()
    model[].free()
    model.unsafe_free()
    gate.unsafe_free()
    x.unsafe_free()
    y.unsafe_free()


def main() raises:
    """Measures every size on as many threads as the first argument says.

    Raises:
        When that is no number, or the system refuses a thread.
    """
    var threads = atol(String(argv()[1])) if len(argv()) > 1 else 1
    var limit = peak(threads)
    print(t"multiply-add peak on {threads} threads: {round(limit / 1e9, 1)} GFLOP/s; medians of single runs")
    if threads == 1:
        for depth in [256, 512, 1024]:
            bench_tile(depth, limit)
    bench(Size("seed", 1024, 256, 1024, 4, 2), threads, limit)
    bench(Size("small", 32 * 512, 1024, 4096, 8, 2), threads, limit)
    bench(Size("medium", 64 * 1024, 2048, 8192, 16, 4), threads, limit)
    bench(Size("large", 128 * 2048, 4096, 16384, 32, 8), threads, limit)
