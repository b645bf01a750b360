"""Tests of leaving a core: the thread is elsewhere at once, and may use what it could before."""

from std.ffi import external_call
from std.sys.info import CompilationTarget
from std.testing import TestSuite, assert_equal, assert_true

from cores import MASK_BYTES, current_core, leave_core

comptime TRIES = 20
"""A busy system may put a thread back before it can look where it is."""


def allowed() -> List[UInt8]:
    """The set of cores that this thread may use."""
    var mask = List[UInt8](length=MASK_BYTES, fill=UInt8(0))
    comptime if CompilationTarget.is_linux():
        _ = external_call["sched_getaffinity", Int32](Int32(0), MASK_BYTES, mask.unsafe_ptr())
    return mask^


def allow(mask: List[UInt8]) -> Bool:
    """Keeps this thread to a set of cores, if the system lets it."""
    comptime if CompilationTarget.is_linux():
        return external_call["sched_setaffinity", Int32](Int32(0), MASK_BYTES, mask.unsafe_ptr()) == 0
    return False


def only(core: Int) -> List[UInt8]:
    """The set of one core."""
    var mask = List[UInt8](length=MASK_BYTES, fill=UInt8(0))
    mask[core // 8] = UInt8(1) << UInt8(core % 8)
    return mask^


def test_it_leaves_and_may_return() raises:
    """From whichever core it is on, where there are others to go to."""
    var before = allowed()
    if not allow(before) or before == only(max(0, current_core())):
        return
    var left = False
    for _ in range(TRIES):
        var core = current_core()
        leave_core(core)
        left = left or current_core() != core
        assert_equal(allowed(), before)
    assert_true(left)


def test_it_stays_where_it_may_not_leave() raises:
    """With one core for it."""
    var before = allowed()
    var core = current_core()
    if core < 0 or not allow(only(core)):
        return
    leave_core(core)
    var after = current_core()
    var set_after = allowed()
    _ = allow(before)
    assert_equal(after, core)
    assert_equal(set_after, only(core))


def test_another_core_is_not_left() raises:
    """Where it is one that the thread may use, and where there is none of it."""
    var before = allowed()
    if not allow(before) or before == only(max(0, current_core())):
        return
    var stayed = False
    for _ in range(TRIES):
        var core = current_core()
        for other in range(8 * MASK_BYTES):
            if other != core and before[other // 8] & (UInt8(1) << UInt8(other % 8)) != 0:
                leave_core(other)
                break
        leave_core(-1)
        stayed = stayed or current_core() == core
    assert_true(stayed)
    assert_equal(allowed(), before)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
