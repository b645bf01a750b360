"""Tests of the pool: every thread runs each piece of work once, awake or asleep."""

from std.atomic import Atomic
from std.memory.alloc import unsafe_alloc
from std.testing import TestSuite, assert_equal, assert_true
from std.time import sleep

from cores import current_core
from pool import CALLER, Pool, Words


def count_call(state: Words, thread: Int, piece: Int):
    """Counts the times that a piece was done."""
    _ = Atomic.fetch_add(state.unsafe_offset(8 * piece), Int64(1))


def calls(threads: Int, pieces: Int, runs: Int, pause: Float64) raises -> List[Int]:
    """Runs a pool and returns how often each piece was done."""
    var state = unsafe_alloc[Int64](8 * pieces, alignment=64)
    for i in range(8 * pieces):
        state[unsafe_offset=i] = 0
    var pool = Pool[count_call](threads, state)
    for run in range(runs):
        if run % 2 == 0:
            pool.hold()
        pool.run(pieces)
        pool.release()
        if pause > 0:
            sleep(pause)
    pool.stop()
    var counts = List[Int]()
    for piece in range(pieces):
        counts.append(Int(state[unsafe_offset=8 * piece]))
    return counts^


def test_one_thread_is_the_callers() raises:
    """A pool of one thread works in the caller."""
    assert_equal(calls(1, 3, 5, 0), [5, 5, 5])


def test_every_piece_once_a_run() raises:
    """Runs that follow each other closely, with fewer pieces than threads and with more."""
    assert_equal(calls(2, 3, 20000, 0), [20000, 20000, 20000])
    assert_equal(calls(5, 2, 200, 0), [200, 200])
    assert_equal(calls(3, 1, 200, 0), [200])
    assert_equal(len(calls(2, 0, 10, 0)), 0)


def test_sleeping_threads_wake_up() raises:
    """Runs far enough apart for the workers to fall asleep in between."""
    assert_equal(calls(3, 4, 20, 0.003), [20, 20, 20, 20])


def test_sleeping_threads_are_told_their_callers_core() raises:
    """Before the first is woken nobody is told any."""
    var state = unsafe_alloc[Int64](8, alignment=64)
    state[unsafe_offset=0] = 0
    var pool = Pool[count_call](2, state)
    assert_equal(pool._shared[unsafe_offset=CALLER], -1)
    var told = False
    for _ in range(20):
        sleep(0.003)
        var core = current_core()
        pool.run(2)
        told = told or (pool._shared[unsafe_offset=CALLER] == Int64(core))
    pool.stop()
    assert_true(told)


def test_a_pool_that_never_ran_stops() raises:
    """Starting and stopping is all."""
    assert_equal(calls(4, 2, 0, 0), [0, 0])


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
