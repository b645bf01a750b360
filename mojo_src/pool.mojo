"""A pool of threads that lives as long as its layer.

A worker spins briefly for the next piece of work and then sleeps, so that a forward's steps follow each other
without a system call and an idle layer uses no CPU. Waking a MAX context instead takes about 16 µs.
"""

from std.atomic import Atomic
from std.ffi import external_call
from std.memory.alloc import unsafe_alloc
from std.sys.info import CompilationTarget
from std.sys.intrinsics import llvm_intrinsic
from std.time import perf_counter_ns

from cores import current_core, leave_core

comptime Words = Pointer[Int64, MutUntrackedOrigin]
"""Plain int64 memory shared between threads."""

comptime Work = def(Words, Int, Int) thin -> None
"""What a pool runs: its state, the number of the thread (0 for the caller), and the number of the piece."""

# Shared words, each on a cache line of its own, but for those that the caller alone writes.
comptime TICKET = 0
"""Step number and, in the lower half, the pieces of the step that nobody has taken yet."""
comptime DONE = 8
"""Pieces of the step that are finished."""
comptime SLEEPING = 16
"""How many workers sleep, or are about to."""
comptime STOPPED = 24
"""1 once the workers shall end."""
comptime MUTEX = 32
"""Where the pthread mutex begins."""
comptime CONDITION = 40
"""Where the pthread condition begins."""
comptime HELD = 56
"""1 while a forward is under way."""
comptime CALLER = 57
"""The core that the caller was on when it last woke workers, or -1."""
comptime SHARED_WORDS = 64
"""All of them."""

comptime STEP = Int64(1) << 32
"""What a new step adds to the ticket."""

comptime STEPS = Int64(1) << 62
"""Where the count of steps begins again."""

# A worker's own words.
comptime OWN_SHARED = 0
"""Address of the shared words."""
comptime OWN_STATE = 1
"""Address of the state that it works on."""
comptime OWN_INDEX = 2
"""Its number, from 1."""
comptime OWN_THREAD = 3
"""Its pthread."""
comptime OWN_WORDS = 8
"""All of them, a cache line."""

comptime SPIN_NS = 50_000
"""How long a worker looks for work before it sleeps: longer than the gaps between forwards in a loop, and too short
for it to be in the way of whatever the process runs next."""

comptime LOOKS = 64
"""Looks between two readings of the clock, or two offers of the core to others."""


@always_inline
def _pause():
    """Tells the core that this is a waiting loop."""
    comptime if CompilationTarget.is_x86():
        llvm_intrinsic["llvm.x86.sse2.pause", NoneType]()
    else:
        llvm_intrinsic["llvm.aarch64.isb", NoneType](Int32(15))


@always_inline
def _word(words: Words, index: Int) -> Words:
    return words.unsafe_offset(index)


@always_inline
def _take(shared: Words) -> Int:
    """Takes a piece of the current step; returns its number, or -1 when none is left.

    The exchange compares the step with the rest of the ticket, so that a thread which was held up can't take a
    piece of one step for a piece of the next.
    """
    var ticket = Atomic.load(_word(shared, TICKET))
    while ticket % STEP != 0:
        if Atomic.compare_exchange(_word(shared, TICKET), ticket, ticket - 1):
            return Int(ticket % STEP) - 1
    return -1


@always_inline
def _is_idle(shared: Words) -> Bool:
    return Atomic.load(_word(shared, TICKET)) % STEP == 0 and Atomic.load(_word(shared, STOPPED)) == 0


def _await_work(shared: Words):
    """Returns once there is a piece to take, or the pool is stopped: spinning first, then asleep."""
    var started = perf_counter_ns()
    while True:
        for _ in range(LOOKS):
            if not _is_idle(shared):
                return
            _pause()
        if Atomic.load(_word(shared, HELD)) != 0:
            # More work follows; meanwhile whoever else wants this core may have it.
            _ = external_call["sched_yield", Int32]()
            started = perf_counter_ns()
        elif Int(perf_counter_ns() - started) > SPIN_NS:
            break
    _ = external_call["pthread_mutex_lock", Int32](_word(shared, MUTEX))
    # The caller publishes its ticket before it looks for sleepers; this order is the other half of that.
    _ = Atomic.fetch_add(_word(shared, SLEEPING), Int64(1))
    var slept = False
    while _is_idle(shared):
        _ = external_call["pthread_cond_wait", Int32](_word(shared, CONDITION), _word(shared, MUTEX))
        slept = True
    _ = Atomic.fetch_add(_word(shared, SLEEPING), Int64(-1))
    _ = external_call["pthread_mutex_unlock", Int32](_word(shared, MUTEX))
    if slept and Atomic.load(_word(shared, STOPPED)) == 0:
        leave_core(Int(Atomic.load(_word(shared, CALLER))))


def _wake(shared: Words):
    """Wakes the workers that sleep."""
    if Atomic.load(_word(shared, SLEEPING)) > 0:
        Atomic.store(_word(shared, CALLER), Int64(current_core()))
        _ = external_call["pthread_mutex_lock", Int32](_word(shared, MUTEX))
        _ = external_call["pthread_cond_broadcast", Int32](_word(shared, CONDITION))
        _ = external_call["pthread_mutex_unlock", Int32](_word(shared, MUTEX))


@always_inline
def _work_off[work: Work](shared: Words, state: Words, index: Int):
    """Takes pieces and does them until none is left."""
    while True:
        var piece = _take(shared)
        if piece < 0:
            return
        work(state, index, piece)
        _ = Atomic.fetch_add(_word(shared, DONE), Int64(1))


def _worker[work: Work](own: Words) abi("C") -> Int:
    """Body of a thread: waits for pieces and does them, until stopped."""
    var shared = Words(unsafe_from_address=Int(own[unsafe_offset=OWN_SHARED]))
    var state = Words(unsafe_from_address=Int(own[unsafe_offset=OWN_STATE]))
    while True:
        _await_work(shared)
        if Atomic.load(_word(shared, STOPPED)) != 0:
            return 0
        _work_off[work](shared, state, Int(own[unsafe_offset=OWN_INDEX]))


struct Pool[work: Work](Movable):
    """A fixed number of threads, the caller's own among them; one thread starts none.

    A step is cut into pieces that the threads take one by one. The caller takes them too and waits for pieces, not
    for threads: a worker that is asleep, or has lost its core to another program, delays only the piece that it has.

    Parameters:
        work: What a thread does with a piece.
    """

    var threads: Int
    """Threads that `run` uses."""
    var _state: Words
    var _shared: Words
    var _own: Words

    def __init__(out self, threads: Int, state: Words) raises:
        """Starts the threads.

        Args:
            threads: At least 1.
            state: Handed to `work`; outlives the pool.

        Raises:
            When the system refuses a thread.
        """
        self.threads = threads
        self._state = state
        self._shared = unsafe_alloc[Int64](SHARED_WORDS, alignment=64)
        self._own = unsafe_alloc[Int64](OWN_WORDS * threads, alignment=64)
        for i in range(SHARED_WORDS):
            self._shared[unsafe_offset=i] = 0
        self._shared[unsafe_offset=CALLER] = -1
        _ = external_call["pthread_mutex_init", Int32](_word(self._shared, MUTEX), Int(0))
        _ = external_call["pthread_cond_init", Int32](_word(self._shared, CONDITION), Int(0))
        for index in range(1, threads):
            var own = _word(self._own, OWN_WORDS * index)
            own[unsafe_offset=OWN_SHARED] = Int64(Int(self._shared))
            own[unsafe_offset=OWN_STATE] = Int64(Int(state))
            own[unsafe_offset=OWN_INDEX] = Int64(index)
            var error = external_call["pthread_create", Int32](
                _word(own, OWN_THREAD), Int(0), _worker[Self.work], own
            )
            if error != 0:
                self.threads = index
                self.stop()
                raise Error("the system refused to start thread ", index, " (error ", error, ")")

    def hold(self):
        """Wakes the workers and keeps them awake until `release`: work follows."""
        if self.threads > 1:
            Atomic.store(_word(self._shared, HELD), Int64(1))

    def release(self):
        """Lets the workers sleep once they have looked for work for a while."""
        if self.threads > 1:
            Atomic.store(_word(self._shared, HELD), Int64(0))

    def run(self, pieces: Int, alone: Bool = False):
        """Does all pieces of a step and returns when they are done.

        Args:
            pieces: How many, fewer than 2³².
            alone: Whether the calling thread does them all: they are too small to share.
        """
        if self.threads == 1 or pieces < 2 or alone:
            for piece in range(pieces):
                Self.work(self._state, 0, piece)
            return
        Atomic.store(_word(self._shared, DONE), Int64(0))
        # Only this thread begins steps, and the last one has no pieces left.
        var ticket = Atomic.load(_word(self._shared, TICKET))
        Atomic.store(_word(self._shared, TICKET), (ticket + STEP) % STEPS + Int64(pieces))
        _wake(self._shared)
        _work_off[Self.work](self._shared, self._state, 0)
        var looks = 0
        while Atomic.load(_word(self._shared, DONE)) != Int64(pieces):
            looks += 1
            if looks % LOOKS == 0:
                _ = external_call["sched_yield", Int32]()
            _pause()

    def stop(mut self):
        """Ends the threads and frees the pool's memory; the pool can't be used after."""
        Atomic.store(_word(self._shared, STOPPED), Int64(1))
        _wake(self._shared)
        for index in range(1, self.threads):
            var thread = self._own[unsafe_offset=OWN_WORDS * index + OWN_THREAD]
            _ = external_call["pthread_join", Int32](thread, Int(0))
        self._shared.unsafe_free()
        self._own.unsafe_free()
