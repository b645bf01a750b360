"""What the machine can do at most, on the threads that the layer would use: multiply-adds and bytes a second.

Every share of a limit that a report shows is a share of what these reach in the same run.
"""

from pool import Words
from tile import WIDE_REGISTER_FILE
from vectors import CACHE_LINE, LANES, Floats, Vector, new_floats

comptime SUMS = 24 if WIDE_REGISTER_FILE else 12
"""Independent sums: as many as leave registers for the two factors, and more than a unit's latency hides."""

comptime READ_SUMS = 8
"""Independent sums of the read probe: enough loads in flight for the prefetcher to run ahead."""

comptime PIECES = 8
"""Pieces of multiply-adds for each thread. Threads take them one by one, as they take blocks of a layer: on many cores
a single slow one then costs its own share, and does not have all others wait for it."""

comptime MULTIPLY_ADD = 0
"""Independent chains of multiply-adds on registers."""

comptime READ = 1
"""A read-only sum."""

comptime TRIAD = 2
"""Two arrays read, one written."""


struct Probe(Movable):
    """A buffer shared by some threads, and the probe that they run next over it."""

    var floats: Int
    """Floats of the buffer, a multiple of what a thread takes at a time."""
    var repeats: Int
    """Steps of each piece of multiply-adds, or passes over each part of the buffer."""
    var kind: Int
    """MULTIPLY_ADD, READ or TRIAD."""
    var _threads: Int
    var _buffer: Floats
    var _results: Floats

    def __init__(out self, threads: Int, bytes: Int):
        """Allocates and fills a buffer.

        Args:
            threads: Threads that will call `work`.
            bytes: Size of the buffer, rounded up to whole steps.
        """
        var step = 3 * READ_SUMS * LANES * threads
        self.floats = (bytes // 4 + step - 1) // step * step
        self.repeats = 0
        self.kind = MULTIPLY_ADD
        self._threads = threads
        self._buffer = new_floats(self.floats)
        self._results = new_floats(CACHE_LINE * PIECES * threads)
        for i in range(self.floats):
            self._buffer[unsafe_offset=i] = 0.5

    def free(mut self):
        """Frees the buffer; the probe can't be used after."""
        self._buffer.unsafe_free()
        self._results.unsafe_free()

    def begin(mut self, kind: Int, repeats: Int):
        """Sets what `work` does.

        Args:
            kind: MULTIPLY_ADD, READ or TRIAD.
            repeats: Steps or passes of each piece.
        """
        self.kind = kind
        self.repeats = repeats

    def pieces(self) -> Int:
        """Says into how many pieces the probe that was begun is cut.

        Returns:
            Their number; each thread reads a part of the buffer of its own, which its caches keep.
        """
        return self._threads * (PIECES if self.kind == MULTIPLY_ADD else 1)

    def work_done(self) -> Int:
        """Counts the work of the probe that was begun.

        Returns:
            Floating-point operations, or bytes read and written.
        """
        if self.kind == MULTIPLY_ADD:
            return 2 * LANES * SUMS * self.repeats * self.pieces()
        return 4 * self.floats * self.repeats

    def work(self, piece: Int):
        """Runs the probe over one of as many parts of the buffer as there are threads.

        Args:
            piece: Number of the piece.
        """
        var share = self.floats // self._threads
        var part = self._buffer.unsafe_offset(piece % self._threads * share)
        var result: Vector[LANES]
        if self.kind == MULTIPLY_ADD:
            result = _multiply_add(part, self.repeats)
        elif self.kind == READ:
            result = _read(part, share, self.repeats)
        else:
            result = _triad(part, share // 3, self.repeats)
        # Kept, so that nothing above can be left out as unused.
        self._results.unsafe_store(piece * CACHE_LINE, result)


def _multiply_add(factors: Floats, steps: Int) -> Vector[LANES]:
    """Runs SUMS chains of `steps` multiply-adds."""
    var a = factors.unsafe_load[width=LANES](0)
    var b = factors.unsafe_load[width=LANES](LANES)
    var sums = Array[Vector[LANES], SUMS](fill=a)
    for _ in range(steps):
        comptime for i in range(SUMS):
            sums[i] = a.fma(b, sums[i])
    var total = sums[0]
    comptime for i in range(1, SUMS):
        total += sums[i]
    return total


def _read(source: Floats, count: Int, passes: Int) -> Vector[LANES]:
    """Sums `count` floats `passes` times."""
    var sums = Array[Vector[LANES], READ_SUMS](fill=Vector[LANES](0))
    for _ in range(passes):
        for first in range(0, count, READ_SUMS * LANES):
            comptime for i in range(READ_SUMS):
                sums[i] += source.unsafe_load[width=LANES](first + i * LANES)
    var total = sums[0]
    comptime for i in range(1, READ_SUMS):
        total += sums[i]
    return total


def _triad(target: Floats, count: Int, passes: Int) -> Vector[LANES]:
    """Writes a = b + c · s over three arrays of `count` floats that follow each other, `passes` times."""
    var b = target.unsafe_offset(count)
    var c = target.unsafe_offset(2 * count)
    var factor = Vector[LANES](0.5)
    for _ in range(passes):
        for first in range(0, count, READ_SUMS * LANES):
            comptime for i in range(READ_SUMS):
                var at = first + i * LANES
                target.unsafe_store(at, c.unsafe_load[width=LANES](at).fma(factor, b.unsafe_load[width=LANES](at)))
    return target.unsafe_load[width=LANES]()


comptime ProbePointer = Pointer[Probe, MutUntrackedOrigin]
"""A probe by its address; see `layer.Model` for why."""


def work_on_probe(state: Words, thread: Int, piece: Int):
    """What the pool's threads do with a piece.

    Args:
        state: Address of a Probe.
        thread: Number of the calling thread.
        piece: Number of the piece.
    """
    ProbePointer(unsafe_from_address=Int(state))[].work(piece)
