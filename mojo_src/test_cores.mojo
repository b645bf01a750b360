"""Tests of leaving a core: the thread is elsewhere at once, and may use what it could before."""

from std.ffi import external_call
from std.testing import TestSuite, assert_equal, assert_not_equal

from cores import MASK_BYTES, current_core, leave_core


def allowed() -> List[UInt8]:
    """The set of cores that this thread may use."""
    var mask = List[UInt8](length=MASK_BYTES, fill=UInt8(0))
    _ = external_call["sched_getaffinity", Int32](Int32(0), MASK_BYTES, mask.unsafe_ptr())
    return mask^


def allow(mask: List[UInt8]) raises:
    """Keeps this thread to a set of cores."""
    assert_equal(external_call["sched_setaffinity", Int32](Int32(0), MASK_BYTES, mask.unsafe_ptr()), 0)


def only(core: Int) -> List[UInt8]:
    """The set of one core."""
    var mask = List[UInt8](length=MASK_BYTES, fill=UInt8(0))
    mask[core // 8] = UInt8(1) << UInt8(core % 8)
    return mask^


def test_it_leaves_and_may_return() raises:
    """From whichever core it is on, with others to go to."""
    var before = allowed()
    var core = current_core()
    if before != only(core):
        leave_core(core)
        assert_not_equal(current_core(), core)
    assert_equal(allowed(), before)


def test_it_stays_where_it_may_not_leave() raises:
    """With one core for it."""
    var before = allowed()
    var core = current_core()
    allow(only(core))
    leave_core(core)
    assert_equal(current_core(), core)
    assert_equal(allowed(), only(core))
    allow(before)


def test_another_core_is_not_left() raises:
    """Nor one that there is none of."""
    var before = allowed()
    allow(only(current_core()))
    leave_core(current_core() + 1)
    leave_core(-1)
    assert_equal(allowed(), only(current_core()))
    allow(before)


def main() raises:
    TestSuite.discover_tests[__functions_in_module()]().run()
