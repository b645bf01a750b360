"""Which core a thread is on, and leaving it.

Where a hypervisor lets idle cores sleep, Linux was seen to wake a thread on its waker's core and to part the two only
after up to 100 ms, in which two threads are as fast as one.
"""

from std.ffi import external_call
from std.memory.alloc import unsafe_alloc
from std.sys.info import CompilationTarget

comptime MASK_BYTES = 1024
"""Of a set of cores: room for 8192, the most that Linux is built for."""


@always_inline
def current_core() -> Int:
    """The core that this thread is on.

    Returns:
        Its number, or -1 where the system does not say.
    """
    comptime if CompilationTarget.is_linux():
        return Int(external_call["sched_getcpu", Int32]())
    return -1


def leave_core(core: Int):
    """Moves this thread elsewhere if it is on that core and may use others. Which one is the system's choice.

    The set of cores that it may use is put back right after. Where the system refuses to narrow it, nothing changes.

    Args:
        core: Its number, or -1 for none.
    """
    comptime if CompilationTarget.is_linux():
        if core < 0 or current_core() != core:
            return
        var mask = unsafe_alloc[UInt8](MASK_BYTES)
        if external_call["sched_getaffinity", Int32](Int32(0), MASK_BYTES, mask) == 0:
            var before = mask[unsafe_offset=core // 8]
            mask[unsafe_offset=core // 8] = before & ~(UInt8(1) << UInt8(core % 8))
            # A set of none is refused.
            if external_call["sched_setaffinity", Int32](Int32(0), MASK_BYTES, mask) == 0:
                mask[unsafe_offset=core // 8] = before
                _ = external_call["sched_setaffinity", Int32](Int32(0), MASK_BYTES, mask)
        mask.unsafe_free()
