"""Compiling `mojo_src/` into a shared library, once for each thing that could change the result.

And into a package for MAX, which compiles it further, into a graph.
"""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from moe.config import PRESETS
from moe.folders import alone, kept_folders, usable_folder
from moe.processor import read_processor

SOURCE = Path(__file__).resolve().parent.parent / "mojo_src"
KERNEL = "moe_kernel.mojo"
MAX_OPERATIONS = "max_op.mojo"
IMPORT = re.compile(r"^from (\w+) import", re.MULTILINE)
HOW_TO_INSTALL = (
    "install it into this environment with `make env`, or `pip install max==26.7.0`; there are wheels for Linux "
    "(glibc 2.34 or newer, x86-64 and aarch64) and macOS on Apple silicon"
)
# d_model, d_ff, num_experts and top_k of a library compiled for them; None where they are known at run time.
Sizes = tuple[int, int, int, int]
DEFINES = ("D_MODEL", "D_FF", "NUM_EXPERTS", "TOP_K")
KEPT = "mojo"  # the folder's name
COMPILER_NOISE = "Failed to initialize Crashpad"


class MojoBuildError(RuntimeError):
    """The toolchain is missing, or the compiler failed; the message holds its own words."""


@dataclass(frozen=True)
class Toolchain:
    """A Mojo compiler and what identifies it."""

    command: Path
    environment: Mapping[str, str]
    version: str


@dataclass(frozen=True)
class Library:
    """A compiled kernel or package: the file, its SHA-256, the compiler's version, and seconds it took just now."""

    path: Path
    sha256: str
    compiler: str
    build_s: float


def find_toolchain() -> Toolchain:
    """The Mojo compiler of this Python environment; raises MojoBuildError saying what to install."""
    spec = find_spec("mojo")
    command = Path(sys.executable).parent / "mojo"
    if spec is None or not command.exists():
        missing = "the package `mojo`" if spec is None else "the command `mojo` beside this Python"
        raise MojoBuildError(f"Mojo is not installed ({missing} is missing): {HOW_TO_INSTALL}")
    return Toolchain(command, dict(os.environ), _version(command, command.stat().st_mtime_ns))


@cache
def _version(command: Path, _modified: int) -> str:
    """What a compiler calls itself; asking takes some 70 ms."""
    return _run([str(command), "--version"], os.environ, timeout=60).strip()


def sources() -> list[Path]:
    """What the library is compiled from; tests and benchmarks are programs of their own, and MAX has a package."""
    if not (SOURCE / KERNEL).exists():
        raise MojoBuildError(f"{SOURCE / KERNEL} not found: the package must be installed editable (`make env`)")
    return sorted(p for p in SOURCE.glob("*.mojo") if not p.name.startswith(("test_", "bench_", "max_")))


def package_sources() -> list[Path]:
    """What the package for MAX is compiled from: its operations, and the modules of the kernel that they import."""
    by_name = {path.stem: path for path in sources()}
    found = [SOURCE / MAX_OPERATIONS]
    for path in found:  # which grows meanwhile
        for name in IMPORT.findall(path.read_text(encoding="utf-8")):
            if name in by_name:
                found.append(by_name.pop(name))
    return found


def cache_folders() -> list[Path]:
    """Where compiled kernels may be, the best place first."""
    return kept_folders(KEPT)


def prepared_sizes() -> tuple[Sizes | None, ...]:
    """What is compiled beforehand: any sizes, and those of the preset `seed`, which the breakdown measures at."""
    seed = PRESETS["seed"]
    return None, (seed.d_model, seed.d_ff, seed.num_experts, seed.top_k)


def sizes_label(sizes: Sizes | None) -> str:
    """What a library is compiled for, for a person."""
    if sizes is None:
        return "any sizes"
    return "d_model={}, d_ff={}, num_experts={}, top_k={}".format(*sizes)


def build_options(sizes: Sizes | None) -> list[str]:
    """The compiler's options, sizes among them."""
    defines = [f"{name}={value}" for name, value in zip(DEFINES, sizes or (), strict=False)]
    return ["--Werror", "--emit", "shared-lib", *(word for define in defines for word in ("-D", define))]


def build_key(toolchain: Toolchain, sizes: Sizes | None) -> str:
    """Hash of all that shapes the library: source, compiler and its place, target CPU, options and sizes."""
    return _key(toolchain, build_options(sizes), sources())


def _key(toolchain: Toolchain, options: Iterable[str], files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    # The library holds the path of the toolchain's own libraries, so another place is another library.
    for part in (toolchain.version, str(toolchain.command), repr(read_processor()), *options):
        digest.update(part.encode(errors="surrogateescape") + b"\0")
    for path in files:
        digest.update(path.name.encode(errors="surrogateescape") + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def build(sizes: Sizes | None = None, timeout: float = 300) -> Library:
    """The kernel compiled for `sizes`, or for any; from the cache or built now.

    Of processes that build at once, one compiles and the others wait for its library. Raises MojoBuildError
    with the compiler's own message, or after `timeout` seconds.
    """
    toolchain = find_toolchain()
    compile_it = partial(_compile, toolchain, SOURCE / KERNEL, build_options(sizes), timeout)
    return _built(toolchain, f"moe_kernel-{build_key(toolchain, sizes)}.so", compile_it)


def build_package(timeout: float = 300) -> Library:
    """The layer as operations that MAX compiles into a graph; cached and raising as `build`."""
    toolchain = find_toolchain()
    files = package_sources()
    # A Mojo package has the name of its file.
    name = f"moe_layer_{_key(toolchain, [], files)}.mojoc"
    return _built(toolchain, name, partial(_compile_package, toolchain, files, timeout))


def build_file(source: str | Path, timeout: float = 300) -> Library:
    """Anybody's Mojo file as a shared library, cached and raising as `build`; what it imports is not watched."""
    toolchain = find_toolchain()
    path = Path(source).resolve()  # of which the compiler can't take any part for an option
    if not path.is_file():
        raise MojoBuildError(f"no such file: {path}")
    compile_it = partial(_compile, toolchain, path, ["--emit", "shared-lib"], timeout)
    # What lies beside it may be part of it, so another place is another library.
    return _built(toolchain, f"own_kernel-{_key(toolchain, [str(path)], [path])}.so", compile_it)


def _built(toolchain: Toolchain, name: str, compile_to: Callable[[Path], None]) -> Library:
    started = time.monotonic()
    path = next((found for folder in cache_folders() if os.path.isfile(found := folder / name)), None)
    if path is None:
        try:
            path = usable_folder(KEPT) / name
            with alone(path):
                if not path.exists():
                    compile_to(path)
        except OSError as error:
            raise MojoBuildError(f"no place for the compiled kernel: {error}") from error
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MojoBuildError(f"the compiled kernel can't be read: {error}") from error
    return Library(path, sha256, toolchain.version, time.monotonic() - started)


def _compile(toolchain: Toolchain, source: Path, options: list[str], timeout: float, path: Path) -> None:
    """Compile in a folder of its own beside `path`, and move it there whole."""
    with TemporaryDirectory(dir=path.parent) as folder:
        compiled = Path(folder) / path.name
        command = [str(toolchain.command), "build", *options, str(source), "-o", str(compiled)]
        _run(command, toolchain.environment, timeout)
        os.replace(compiled, path)


def _compile_package(toolchain: Toolchain, files: list[Path], timeout: float, path: Path) -> None:
    """Compile files that import each other into one package, which has to bring all that it imports.

    MAX could find the kernel's modules where they are, but its cache of graphs would not see a change in them.
    Inside a package, imports are relative.
    """
    names = {file.stem for file in files}

    def relative(match: re.Match[str]) -> str:
        return f"from .{match[1]} import" if match[1] in names else match[0]

    with TemporaryDirectory(dir=path.parent) as folder:
        package, compiled = Path(folder) / "package", Path(folder) / path.name
        package.mkdir()
        (package / "__init__.mojo").write_text(f"from .{files[0].stem} import *\n", encoding="utf-8")
        for file in files:
            (package / file.name).write_text(IMPORT.sub(relative, file.read_text(encoding="utf-8")), encoding="utf-8")
        command = [str(toolchain.command), "precompile", "--Werror", str(package), "-o", str(compiled)]
        _run(command, toolchain.environment, timeout)
        os.replace(compiled, path)


def _run(command: list[str], environment: Mapping[str, str], timeout: float) -> str:
    """Run the compiler and return its output; a hung one is stopped with everything that it started."""
    try:
        process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise MojoBuildError(f"the Mojo compiler can't be started: {error}") from error
    try:
        output, _ = process.communicate(timeout=timeout)
    except BaseException as error:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise MojoBuildError(f"the Mojo compiler was stopped after {timeout:g} s: {' '.join(command)}") from None
        raise
    output = "\n".join(line for line in output.splitlines() if COMPILER_NOISE not in line)
    if process.returncode != 0:
        raise MojoBuildError(f"the Mojo compiler failed with exit code {process.returncode}:\n{output}")
    return output
