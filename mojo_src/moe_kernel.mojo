"""The kernel's boundary: plain C functions, called from Python through ctypes.

Build: mojo build --emit shared-lib moe_kernel.mojo. Sizes are checked on the Python side. Reading order:
vectors, tile, gate, form, packing, weights, routing, block, workspace, layer; pool and probes beside them.
"""

from std.memory.alloc import unsafe_alloc

from form import FORMS, Form, Sizes, form_of
from layer import Layer, Model, forward, work_on_layer
from pool import Pool, Words, Work
from probes import Probe, ProbePointer, work_on_probe
from vectors import LANES, Floats

comptime Forward = def(Int, Floats, Floats, Int) thin -> None
"""A forward behind a handle."""

comptime Release = def(Int) thin -> None
"""What ends a handle."""


@fieldwise_init
struct Opened(Movable):
    """What a handle is the address of: a state, the pool that works on it, and what may be done with them."""

    var state: Int
    """Address of a Layer or a Probe."""
    var pool: Int
    """Address of its Pool."""
    var threads: Int
    """Threads of the pool."""
    var forward: Forward
    """The form's forward; a probe has none."""
    var release: Release
    """The form's release."""


@always_inline
def _opened(handle: Int) -> Pointer[Opened, MutUntrackedOrigin]:
    return {unsafe_from_address = handle}


@always_inline
def _pool[work: Work](handle: Int) -> Pointer[Pool[work], MutUntrackedOrigin]:
    return {unsafe_from_address = _opened(handle)[].pool}


def _open[work: Work](state: Int, threads: Int, forward: Forward, release: Release) -> Int:
    """Starts a pool for a state; returns a handle, or 0 when the system refused a thread."""
    var pool = unsafe_alloc[Pool[work]](1)
    try:
        pool.unsafe_write(Pool[work](threads, Words(unsafe_from_address=state)))
    except:
        pool.unsafe_free()
        return 0
    var opened = unsafe_alloc[Opened](1)
    opened.unsafe_write(Opened(state, Int(pool), threads, forward, release))
    return Int(opened)


def _close[work: Work](handle: Int):
    """Ends the threads and frees the handle, not the state."""
    _pool[work](handle)[].stop()
    _pool[work](handle).unsafe_free()
    _opened(handle).unsafe_free()


@export
def moe_vector_width() abi("C") -> Int:
    """Says what the kernel was compiled for; its time is that of an empty call.

    Returns:
        Lanes of a vector where the switch simd is on.
    """
    return LANES


# The layer, in any form.


def _forward[form: Form](handle: Int, x: Floats, y: Floats, tokens: Int):
    var model = Model[form](unsafe_from_address=_opened(handle)[].state)
    forward[form](model, _pool[work_on_layer[form]](handle)[], x, y, tokens)


def _free[form: Form](model: Model[form]):
    model[].free()
    model.unsafe_free()


def _release[form: Form](handle: Int):
    var model = Model[form](unsafe_from_address=_opened(handle)[].state)
    _close[work_on_layer[form]](handle)
    _free[form](model)


def _prepare[
    form: Form
](gate: Floats, w1: Floats, w2: Floats, d: Int, f: Int, experts: Int, k: Int, threads: Int) -> Int:
    var model = unsafe_alloc[Layer[form]](1)
    model.unsafe_write(Layer[form](Sizes[form](d, f, experts, k), gate, w1, w2, threads))
    var handle = _open[work_on_layer[form]](Int(model), threads, _forward[form], _release[form])
    if handle == 0:
        _free[form](model)
    return handle


@export
def moe_prepare(
    gate: Int, w1: Int, w2: Int, d_model: Int, d_ff: Int, num_experts: Int, top_k: Int, threads: Int, form: Int
) abi("C") -> Int:
    """Packs the weights, float32 at the given addresses, and starts threads - 1 threads.

    Args:
        gate: Address of (d, E).
        w1: Address of (E, d, f).
        w2: Address of (E, f, d).
        d_model: Width of a token d.
        d_ff: Hidden width f of an expert.
        num_experts: Number of experts E.
        top_k: Experts of a token.
        threads: Threads that a forward uses.
        form: Which switches are on: 1 for simd, 2 for tile, 4 for batch, 8 for pool, added up.

    Returns:
        A handle for the functions below, or 0 when the system refused the threads.
    """
    comptime for number in range(FORMS):
        if form == number:
            return _prepare[form_of(number)](
                Floats(unsafe_from_address=gate),
                Floats(unsafe_from_address=w1),
                Floats(unsafe_from_address=w2),
                d_model,
                d_ff,
                num_experts,
                top_k,
                threads,
            )
    return 0


@export
def moe_forward(handle: Int, x: Int, y: Int, tokens: Int) abi("C"):
    """Computes the layer; one call at a time on a handle.

    Args:
        handle: From `moe_prepare`.
        x: Address of the input (T, d) float32.
        y: Address of the output (T, d) float32, written.
        tokens: T.
    """
    var layer_forward = _opened(handle)[].forward
    layer_forward(handle, Floats(unsafe_from_address=x), Floats(unsafe_from_address=y), tokens)


@export
def moe_threads(handle: Int) abi("C") -> Int:
    """Says how many threads a forward uses.

    Args:
        handle: From `moe_prepare`.

    Returns:
        Their number, the caller's among them.
    """
    return _opened(handle)[].threads


@export
def moe_release(handle: Int) abi("C"):
    """Ends the threads and frees everything behind a handle.

    Args:
        handle: From `moe_prepare` or `moe_probe_prepare`; it can't be used after.
    """
    var release = _opened(handle)[].release
    release(handle)


# The machine's limits, measured on the same kind of threads.


@export
def moe_probe_prepare(threads: Int, bytes: Int) abi("C") -> Int:
    """Allocates a buffer and starts threads - 1 threads.

    Args:
        threads: Threads that share the buffer.
        bytes: Size of the buffer.

    Returns:
        A handle for the functions below, or 0 when the system refused the threads.
    """
    var probe = unsafe_alloc[Probe](1)
    probe.unsafe_write(Probe(threads, bytes))
    var handle = _open[work_on_probe](Int(probe), threads, _no_forward, _release_probe)
    if handle == 0:
        _free_probe(probe)
    return handle


def _free_probe(probe: ProbePointer):
    probe[].free()
    probe.unsafe_free()


def _no_forward(handle: Int, x: Floats, y: Floats, tokens: Int):
    pass


def _release_probe(handle: Int):
    var probe = ProbePointer(unsafe_from_address=_opened(handle)[].state)
    _close[work_on_probe](handle)
    _free_probe(probe)


@export
def moe_probe_run(handle: Int, kind: Int, repeats: Int) abi("C") -> Int:
    """Runs a probe on every thread.

    Args:
        handle: From `moe_probe_prepare`.
        kind: 0 for multiply-adds, 1 for a read-only sum, 2 for a triad.
        repeats: Steps of each piece of multiply-adds, or passes over the buffer.

    Returns:
        Floating-point operations done (kind 0), or bytes read and written.
    """
    var probe = ProbePointer(unsafe_from_address=_opened(handle)[].state)
    probe[].begin(kind, repeats)
    var pool = _pool[work_on_probe](handle)
    pool[].run(probe[].pieces())
    return probe[].work_done()
