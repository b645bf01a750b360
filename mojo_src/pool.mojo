"""A pool of threads that lives as long as its layer.

A worker spins briefly for the next piece of work and then sleeps, so that a forward's steps follow each other
without a system call and an idle layer uses no CPU. Waking a MAX context instead takes about 16 µs.
"""

from std.atomic import Atomic
from std.ffi import external_call
from std.memory.alloc import unsafe_alloc
from std.sys.info import CompilationTarget
from std.sys.intrinsics import llvm_intrinsic

comptime Words = Pointer[Int64, MutUntrackedOrigin]
"""Plain int64 memory shared between threads."""

comptime Work = def(Words, Int) thin -> None
"""What a pool runs: its state, and the number of the thread, 0 for the caller."""

# Shared words, each on a cache line of its own.
comptime EPOCH = 0
comptime PENDING = 8
comptime SLEEPING = 16
comptime STOPPED = 24
comptime MUTEX = 32
comptime CONDITION = 40
comptime HELD = 56
comptime SHARED_WORDS = 64

# A worker's own words.
comptime OWN_SHARED = 0
comptime OWN_STATE = 1
comptime OWN_INDEX = 2
comptime OWN_THREAD = 3
comptime OWN_WORDS = 8

comptime SPINS = 4000
"""About 50 µs of looking for work before sleeping: longer than the gaps within a forward, and too short for a
worker to be in the way of whatever the process runs next."""

comptime JOIN_SPINS = 20000
"""Looks for the last worker before the caller starts to give up its core between looks."""


@always_inline
def _pause():
    """Tells the core that this is a waiting loop."""
    comptime if CompilationTarget.is_x86():
        llvm_intrinsic["llvm.x86.sse2.pause", NoneType]()
    else:
        llvm_intrinsic["llvm.aarch64.hint", NoneType](Int32(1))


@always_inline
def _word(words: Words, index: Int) -> Words:
    return words.unsafe_offset(index)


def _await_epoch(shared: Words, seen: Int64):
    """Returns once the epoch is another than `seen`: spinning first, then asleep."""
    var epoch = _word(shared, EPOCH)
    var looks = 0
    while looks < SPINS:
        if Atomic.load(epoch) != seen:
            return
        _pause()
        if Atomic.load(_word(shared, HELD)) == 0:
            looks += 1
    _ = external_call["pthread_mutex_lock", Int32](_word(shared, MUTEX))
    # The caller raises the epoch before it looks for sleepers; this order is the other half of that.
    _ = Atomic.fetch_add(_word(shared, SLEEPING), Int64(1))
    while Atomic.load(epoch) == seen:
        _ = external_call["pthread_cond_wait", Int32](_word(shared, CONDITION), _word(shared, MUTEX))
    _ = Atomic.fetch_add(_word(shared, SLEEPING), Int64(-1))
    _ = external_call["pthread_mutex_unlock", Int32](_word(shared, MUTEX))


def _worker[work: Work](own: Words) abi("C") -> Int:
    """Body of a thread: waits for an epoch, works, reports, until stopped."""
    var shared = Words(unsafe_from_address=Int(own[unsafe_offset=OWN_SHARED]))
    var state = Words(unsafe_from_address=Int(own[unsafe_offset=OWN_STATE]))
    var index = Int(own[unsafe_offset=OWN_INDEX])
    var seen = Int64(0)
    while True:
        _await_epoch(shared, seen)
        seen += 1
        if Atomic.load(_word(shared, STOPPED)) != 0:
            return 0
        work(state, index)
        _ = Atomic.fetch_add(_word(shared, PENDING), Int64(-1))


struct Pool[work: Work](Movable):
    """A fixed number of threads, the caller's own among them; one thread starts none.

    Parameters:
        work: What `run` runs on each of them.
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
        """Keeps the workers awake until `release`: more work follows within this forward."""
        Atomic.store(_word(self._shared, HELD), Int64(1))

    def release(self):
        """Lets the workers sleep once they have looked for work for a while."""
        Atomic.store(_word(self._shared, HELD), Int64(0))

    def run(self):
        """Runs the work once on every thread and returns when all are done."""
        if self.threads > 1:
            Atomic.store(_word(self._shared, PENDING), Int64(self.threads - 1))
            self._next_epoch()
        Self.work(self._state, 0)
        if self.threads > 1:
            var looks = 0
            while Atomic.load(_word(self._shared, PENDING)) != 0:
                looks += 1
                if looks > JOIN_SPINS:
                    _ = external_call["sched_yield", Int32]()
                else:
                    _pause()

    def _next_epoch(self):
        """Tells every worker to go on, and wakes those that sleep."""
        _ = Atomic.fetch_add(_word(self._shared, EPOCH), Int64(1))
        if Atomic.load(_word(self._shared, SLEEPING)) > 0:
            _ = external_call["pthread_mutex_lock", Int32](_word(self._shared, MUTEX))
            _ = external_call["pthread_cond_broadcast", Int32](_word(self._shared, CONDITION))
            _ = external_call["pthread_mutex_unlock", Int32](_word(self._shared, MUTEX))

    def stop(mut self):
        """Ends the threads and frees the pool's memory; the pool can't be used after."""
        Atomic.store(_word(self._shared, STOPPED), Int64(1))
        self._next_epoch()
        for index in range(1, self.threads):
            var thread = self._own[unsafe_offset=OWN_WORDS * index + OWN_THREAD]
            _ = external_call["pthread_join", Int32](thread, Int(0))
        self._shared.unsafe_free()
        self._own.unsafe_free()
