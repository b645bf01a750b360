"""The layer as a compiled Mojo kernel, called through ctypes without copying input or output."""

import ctypes
import threading
import weakref
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moe import mojo_build
from moe.implementations.contract import EVERY_KNOB, NotAvailableError
from moe.implementations.mojo_kernel import ALL_ON, describe, is_on, load_kernel, setting_number
from moe.problem import Float32Array, Weights
from moe.processor import read_processor

MULTIPLIES_PAIRS = "avx512_bf16"  # what a processor has that multiplies bfloat16 without making floats of it
WIDENED = "bfloat16 widened in registers"


class NativeInput(NamedTuple):
    """An input and its address: asking NumPy for an address takes about 1 µs."""

    array: Float32Array
    address: int


class MojoLayer:
    """The kernel in `mojo_src/` on a pool of `threads` threads.

    It packs a copy of the weights in prepare. Each optimisation is a switch, on or off: `simd` (vectors, or one
    lane), `tile` (register tiles over packed weights, or plain loops), `batch` (an expert's tokens together, or token
    by token), `pool` (workspace kept, or allocated in each forward) and `specialize` (compiled in prepare for these
    sizes, or for any). They are of the published layer; other forms have all but `specialize` on.
    """

    name = "mojo"
    description = "Mojo, compiled, batched by expert"
    knobs = EVERY_KNOB

    @staticmethod
    def available() -> tuple[bool, str]:
        """Say whether the Mojo toolchain is there; nothing is compiled."""
        return mojo_build.is_installed()

    @staticmethod
    def sources() -> list[Path]:
        """The kernel's files, without the probes of the machine that are in its library too."""
        return [path for path in mojo_build.sources() if path.name != "probes.mojo"]

    def __init__(
        self,
        weights: Weights,
        *,
        top_k: int,
        threads: int,
        batch: str = "on",
        simd: str = "on",
        specialize: str = "off",
        pool: str = "on",
        tile: str = "on",
    ) -> None:
        setting = setting_number(simd=simd, tile=tile, batch=batch, pool=pool)
        available, reason = self.available()
        if not available:
            raise NotAvailableError(reason)
        specialized = is_on("specialize", specialize)
        half = weights.form.precision == "bfloat16"
        self.note = WIDENED if half and MULTIPLIES_PAIRS not in read_processor().features else ""
        if weights.knobs and (specialized or setting != ALL_ON):
            raise NotAvailableError(
                "the Mojo kernel's switches are of the default form; others have them as they are"
            )
        sizes = (weights.d_model, weights.d_ff, weights.num_experts, top_k)
        self.library = mojo_build.build(sizes if specialized else None)
        kernel = load_kernel(self.library.path)
        if weights.knobs:
            arrays = weights.arrays()
            description = describe(arrays, weights.form, top_k=top_k, threads=threads)
            handle = kernel.moe_prepare_form(description.ctypes.data)
        else:
            addresses = (array.ctypes.data for array in (weights.gate, weights.w1, weights.w2))
            handle = kernel.moe_prepare(*addresses, *sizes, threads, setting)
        if not handle:
            raise RuntimeError(f"the Mojo kernel could not start {threads} threads")
        weakref.finalize(self, kernel.moe_release, handle)
        self.threads: int = kernel.moe_threads(handle)
        self.vector_width: int = kernel.moe_vector_width()
        self._handle = handle
        self._lock = threading.Lock()
        self._forward = kernel.moe_forward

    def to_native(self, x: Float32Array) -> NativeInput:
        """A (T, d) array with its address."""
        return NativeInput(x, x.ctypes.data)

    def forward(self, x: NativeInput) -> Float32Array:
        """x (T, d) → y (T, d)."""
        y = np.empty_like(x.array)
        if len(y):
            # A quarter of the time of y.ctypes.data, which counts for one token.
            address = ctypes.addressof(ctypes.c_char.from_buffer(y))  # type: ignore[arg-type]
            # The call lets go of the interpreter, and the kernel has one workspace.
            with self._lock:
                self._forward(self._handle, x.address, address, len(y))
        return y
