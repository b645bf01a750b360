"""The layer as operations of a MAX graph: what `moe_kernel` is to C, this is to MAX.

MAX compiles it, and with it all that it imports, into the graphs that use it. Sizes are checked on the Python side.
"""

import extensibility
from extensibility import InputTensor, OutputTensor, _MutableInputTensor as MutableInputTensor
from std.memory.alloc import unsafe_alloc

from form import Form, Sizes
from forward import forward, work_on_layer
from layer import Layer, Model
from pool import Pool, Words
from vectors import LANES, Floats

comptime FORM = Form(simd=True, tile=True, batch=True, pool=True)
"""Every switch on."""

comptime Threads = Pool[work_on_layer[FORM]]
"""The layer's threads; the graph's own only call the operation."""

# What stands for a prepared layer in a graph: four int64.
comptime LAYER = 0
"""Address of the Layer."""
comptime POOL = 1
"""Address of its Pool."""
comptime THREADS = 2
"""Threads of the pool."""
comptime WIDTH = 3
"""Lanes of a vector."""


@always_inline
def _layer(word: Int64) -> Model[FORM]:
    return {unsafe_from_address = Int(word)}


@always_inline
def _pool(word: Int64) -> Pointer[Threads, MutUntrackedOrigin]:
    return {unsafe_from_address = Int(word)}


@extensibility.register("moe_prepare")
struct Prepare:
    """Packs the weights and starts threads."""

    @staticmethod
    def execute(
        prepared: OutputTensor[dtype=DType.int64, rank=1, ...],
        gate: InputTensor[dtype=DType.float32, rank=2, ...],
        w1: InputTensor[dtype=DType.float32, rank=3, ...],
        w2: InputTensor[dtype=DType.float32, rank=3, ...],
        top_k: Int64,
        threads: Int64,
    ) raises:
        """Packs a copy of the weights; they are not needed after.

        Args:
            prepared: Written: (4,), what the other operations take.
            gate: (d, E).
            w1: (E, d, f).
            w2: (E, f, d).
            top_k: Experts of a token.
            threads: Threads that a forward uses.

        Raises:
            When the system refuses a thread.
        """
        var layer = unsafe_alloc[Layer[FORM]](1)
        layer.unsafe_write(
            Layer[FORM](
                Sizes[FORM](w1.dim_size(1), w1.dim_size(2), w1.dim_size(0), Int(top_k)),
                Floats(unsafe_from_address=Int(gate.unsafe_ptr())),
                Floats(unsafe_from_address=Int(w1.unsafe_ptr())),
                Floats(unsafe_from_address=Int(w2.unsafe_ptr())),
                Int(threads),
            )
        )
        var pool = unsafe_alloc[Threads](1)
        try:
            pool.unsafe_write(Threads(Int(threads), Words(unsafe_from_address=Int(layer))))
        except error:
            pool.unsafe_free()
            layer[].free()
            layer.unsafe_free()
            raise error^
        prepared[LAYER] = Int64(Int(layer))
        prepared[POOL] = Int64(Int(pool))
        prepared[THREADS] = Int64(pool[].threads)
        prepared[WIDTH] = Int64(LANES)


@extensibility.register("moe_layer")
struct Forward:
    """Computes the layer."""

    @staticmethod
    def execute(
        y: OutputTensor[dtype=DType.float32, rank=2, ...],
        x: InputTensor[dtype=DType.float32, rank=2, ...],
        prepared: InputTensor[dtype=DType.int64, rank=1, ...],
    ):
        """Computes the layer; one call at a time on a prepared one.

        Args:
            y: Written: (T, d).
            x: (T, d).
            prepared: (4,), from `moe_prepare`.
        """
        forward[FORM](
            _layer(prepared[LAYER]),
            _pool(prepared[POOL])[],
            Floats(unsafe_from_address=Int(x.unsafe_ptr())),
            Floats(unsafe_from_address=Int(y.unsafe_ptr())),
            x.dim_size(0),
        )


@extensibility.register("moe_release")
struct Release:
    """Ends the threads and frees what was prepared."""

    @staticmethod
    def execute(prepared: MutableInputTensor[dtype=DType.int64, rank=1, ...]):
        """Ends the threads and frees what was prepared; it can't be used after.

        Args:
            prepared: (4,), from `moe_prepare`; nothing is freed where it is 0, and it is 0 after.
        """
        if prepared[LAYER] == 0:
            return
        var layer = _layer(prepared[LAYER])
        var pool = _pool(prepared[POOL])
        pool[].stop()
        pool.unsafe_free()
        layer[].free()
        layer.unsafe_free()
        prepared[LAYER] = 0
