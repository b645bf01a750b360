"""The kernel's boundary: plain C functions, called from Python through ctypes.

Build: mojo build --emit shared-lib moe_kernel.mojo. Sizes are checked on the Python side. Reading order:
vectors, tile, packing, routing, layer; pool beside them.
"""

from std.memory.alloc import unsafe_alloc

from layer import Layer, Model, forward, work_on_layer
from pool import Pool, Words
from vectors import Floats, W

comptime Threads = Pointer[Pool[work_on_layer], MutUntrackedOrigin]


@export
def moe_vector_width() abi("C") -> Int:
    """Returns the lanes of the vectors that the kernel was compiled for; also the cost of an empty call."""
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
    var handle = unsafe_alloc[Int64](2)
    var layer = unsafe_alloc[Layer](1)
    var pool = unsafe_alloc[Pool[work_on_layer]](1)
    layer.unsafe_write(
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
    try:
        pool.unsafe_write(Pool[work_on_layer](threads, Words(unsafe_from_address=Int(layer))))
    except:
        layer[].free()
        layer.unsafe_free()
        pool.unsafe_free()
        handle.unsafe_free()
        return 0
    handle[unsafe_offset=0] = Int64(Int(layer))
    handle[unsafe_offset=1] = Int64(Int(pool))
    return Int(handle)


@always_inline
def _layer(handle: Int) -> Model:
    return Model(unsafe_from_address=Int(Words(unsafe_from_address=handle)[unsafe_offset=0]))


@always_inline
def _pool(handle: Int) -> Threads:
    return Threads(unsafe_from_address=Int(Words(unsafe_from_address=handle)[unsafe_offset=1]))


@export
def moe_forward(handle: Int, x: Int, y: Int, tokens: Int) abi("C"):
    """Computes the layer; one call at a time on a handle.

    Args:
        handle: From `moe_prepare`.
        x: Address of the input (T, d) float32.
        y: Address of the output (T, d) float32, written.
        tokens: T.
    """
    forward(_layer(handle), _pool(handle)[], Floats(unsafe_from_address=x), Floats(unsafe_from_address=y), tokens)


@export
def moe_threads(handle: Int) abi("C") -> Int:
    """Returns how many threads a forward uses.

    Args:
        handle: From `moe_prepare`.
    """
    return _pool(handle)[].threads


@export
def moe_release(handle: Int) abi("C"):
    """Ends the threads and frees everything behind a handle.

    Args:
        handle: From `moe_prepare`; it can't be used after.
    """
    _pool(handle)[].stop()
    _layer(handle)[].free()
    _pool(handle).unsafe_free()
    _layer(handle).unsafe_free()
    Words(unsafe_from_address=handle).unsafe_free()
