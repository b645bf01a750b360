"""The kernel's boundary: plain C functions, called from Python through ctypes.

Build: mojo build --emit shared-lib moe_kernel.mojo. Sizes are checked on the Python side. Reading order:
vectors, tile, packing, routing, block, layer; pool and probes beside them.
"""

from std.memory.alloc import unsafe_alloc

from layer import Layer, Model, forward, work_on_layer
from pool import Pool, Words, Work
from probes import Probe, ProbePointer, work_on_probe
from vectors import Floats, W

# A handle is the address of two words: a state's address and that of the pool that works on it.


def _open[work: Work](state: Int, threads: Int) -> Int:
    """Starts a pool for a state; returns a handle, or 0 when the system refused a thread."""
    var pool = unsafe_alloc[Pool[work]](1)
    try:
        pool.unsafe_write(Pool[work](threads, Words(unsafe_from_address=state)))
    except:
        pool.unsafe_free()
        return 0
    var handle = unsafe_alloc[Int64](2)
    handle[unsafe_offset=0] = Int64(state)
    handle[unsafe_offset=1] = Int64(Int(pool))
    return Int(handle)


@always_inline
def _state(handle: Int) -> Int:
    return Int(Words(unsafe_from_address=handle)[unsafe_offset=0])


@always_inline
def _pool[work: Work](handle: Int) -> Pointer[Pool[work], MutUntrackedOrigin]:
    return {unsafe_from_address = Int(Words(unsafe_from_address=handle)[unsafe_offset=1])}


def _close[work: Work](handle: Int):
    """Ends the threads and frees the handle, not the state."""
    _pool[work](handle)[].stop()
    _pool[work](handle).unsafe_free()
    Words(unsafe_from_address=handle).unsafe_free()


@export
def moe_vector_width() abi("C") -> Int:
    """Says what the kernel was compiled for; its time is that of an empty call.

    Returns:
        Lanes of a vector.
    """
    return W


@export
def moe_prepare(
    gate: Int, w1: Int, w2: Int, d_model: Int, d_ff: Int, num_experts: Int, top_k: Int, threads: Int
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

    Returns:
        A handle for the functions below, or 0 when the system refused the threads.
    """
    var model = unsafe_alloc[Layer](1)
    model.unsafe_write(
        Layer(
            Floats(unsafe_from_address=gate),
            Floats(unsafe_from_address=w1),
            Floats(unsafe_from_address=w2),
            d_model,
            d_ff,
            num_experts,
            top_k,
            threads,
        )
    )
    var handle = _open[work_on_layer](Int(model), threads)
    if handle == 0:
        _free_model(model)
    return handle


def _free_model(model: Model):
    model[].free()
    model.unsafe_free()


@export
def moe_forward(handle: Int, x: Int, y: Int, tokens: Int) abi("C"):
    """Computes the layer; one call at a time on a handle.

    Args:
        handle: From `moe_prepare`.
        x: Address of the input (T, d) float32.
        y: Address of the output (T, d) float32, written.
        tokens: T.
    """
    forward(
        Model(unsafe_from_address=_state(handle)),
        _pool[work_on_layer](handle)[],
        Floats(unsafe_from_address=x),
        Floats(unsafe_from_address=y),
        tokens,
    )


@export
def moe_threads(handle: Int) abi("C") -> Int:
    """Says how many threads a forward uses.

    Args:
        handle: From `moe_prepare`.

    Returns:
        Their number, the caller's among them.
    """
    return _pool[work_on_layer](handle)[].threads


@export
def moe_release(handle: Int) abi("C"):
    """Ends the threads and frees everything behind a handle.

    Args:
        handle: From `moe_prepare`; it can't be used after.
    """
    var model = Model(unsafe_from_address=_state(handle))
    _close[work_on_layer](handle)
    _free_model(model)


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
    var handle = _open[work_on_probe](Int(probe), threads)
    if handle == 0:
        _free_probe(probe)
    return handle


def _free_probe(probe: ProbePointer):
    probe[].free()
    probe.unsafe_free()


@export
def moe_probe_run(handle: Int, kind: Int, repeats: Int) abi("C") -> Int:
    """Runs a probe on every thread.

    Args:
        handle: From `moe_probe_prepare`.
        kind: 0 for multiply-adds, 1 for a read-only sum, 2 for a triad.
        repeats: Steps of multiply-adds, or passes over the buffer.

    Returns:
        Floating-point operations done (kind 0), or bytes read and written.
    """
    var probe = ProbePointer(unsafe_from_address=_state(handle))
    probe[].begin(kind, repeats)
    var pool = _pool[work_on_probe](handle)
    pool[].run(pool[].threads)
    return probe[].work_done()


@export
def moe_probe_release(handle: Int) abi("C"):
    """Ends the threads and frees the buffer.

    Args:
        handle: From `moe_probe_prepare`; it can't be used after.
    """
    var probe = ProbePointer(unsafe_from_address=_state(handle))
    _close[work_on_probe](handle)
    _free_probe(probe)
