"""The environment that workers are started with: of what shapes threads, only how many they are given."""

import os
import re
import sys
from functools import cache

# Every library that might be inside reads one of these once, when it is loaded.
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",
)
# How many threads there are, where they run, how they wait for work and how they get memory: whole families, since a
# list of names would lack the next one. PyTorch's own OpenMP is GNU's, others' Intel's and LLVM's. Of Mojo's runtime
# those that name such a thing, since others say where its compiler is.
SHAPES_THREADS = re.compile(
    r"(OMP|GOMP|KMP|LIBOMP|MKL|OPENBLAS|GOTO|GOTOBLAS|BLIS|VECLIB|NUMEXPR|NUMBA|ONEDNN|DNNL|TBB|XLA|TF_NUM|TF_XLA"
    r"|ATEN|MALLOC)_.*"
    r"|(JAX|TORCH|TORCHINDUCTOR)_.*(THREAD|CPU).*"
    r"|MODULAR_.*(THREAD|AFFINITY|WAIT|ASYNCRT|PROFIL|DEBUG).*"
    r"|GLIBC_TUNABLES|NPROC"
)
# Where files are, for which device, and what lets two OpenMP libraries be loaded: threadpoolctl sets that itself.
KEPT = re.compile(r".*_(DIR|DIRS|PATH|HOME|ROOT|CACHE)|JAX_PLATFORM.*|KMP_(DUPLICATE_LIB_OK|INIT_AT_FORK)")


def worker_environment(threads: int) -> dict[str, str]:
    """The caller's environment for a worker on `threads` threads, without what `not_passed_on` finds in it."""
    kept = {name: value for name, value in os.environ.items() if not _shapes_threads(name)}
    return kept | dict.fromkeys(THREAD_LIMITS, str(threads))


def not_passed_on() -> dict[str, str]:
    """Settings of the caller that shape threads, their places or their waiting: no worker gets them."""
    return {name: value for name, value in sorted(os.environ.items()) if _shapes_threads(name)}


def say_what_is_not_passed_on() -> None:
    """Say once which settings of the caller don't count, where there are any."""
    if found := not_passed_on():
        _say(", ".join(f"{name}={value}" for name, value in found.items()))


@cache
def _say(settings: str) -> None:
    print(f"not passed on to what is measured, which gets --threads alone: {settings}", file=sys.stderr, flush=True)


def _shapes_threads(name: str) -> bool:
    return bool(SHAPES_THREADS.fullmatch(name)) and not KEPT.fullmatch(name)
