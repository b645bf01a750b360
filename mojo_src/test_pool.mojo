"""Tests of the pool: every thread runs each piece of work once, awake or asleep."""

from std.atomic import Atomic
from std.memory.alloc import unsafe_alloc
from std.testing import TestSuite, assert_equal
from std.time import sleep

from pool import Pool, Words


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


def test_a_pool_that_never_ran_stops() raises:
    """Starting and stopping is all."""
    assert_equal(calls(4, 2, 0, 0), [0, 0])


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
