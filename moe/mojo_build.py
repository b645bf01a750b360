"""Compiling `mojo_src/` into a shared library, once for each thing that could change the result.

And into a package for MAX, which compiles it further, into a graph.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
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
TIMEOUT_S = 300.0

Arguments = Callable[[Path], list[str]]  # the compiler's, who may put files into the folder that this is given


class MojoBuildError(RuntimeError):
    """The toolchain is missing, or the compiler failed; the message holds its own words."""


@dataclass(frozen=True)
class Toolchain:
    """A Mojo compiler and what identifies it."""

    command: Path
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
    return Toolchain(command, _version(command, command.stat().st_mtime_ns))


def is_installed() -> tuple[bool, str]:
    """Say whether there is a Mojo compiler here; if not, why. Nothing is compiled."""
    try:
        find_toolchain()
    except MojoBuildError as error:
        return False, str(error)
    return True, ""


@cache
def _version(command: Path, _modified: int) -> str:
    """What a compiler calls itself; asking takes some 70 ms."""
    return _run([str(command), "--version"], timeout=60).strip()


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


def build_key(toolchain: Toolchain, options: Iterable[str], files: Iterable[Path]) -> str:
    """Hash of all that shapes a library: compiler and its place, target CPU, options (sizes too) and source."""
    digest = hashlib.sha256()
    # The library holds the path of the toolchain's own libraries, so another place is another library.
    for part in (toolchain.version, str(toolchain.command), repr(read_processor()), *options):
        digest.update(part.encode(errors="surrogateescape") + b"\0")
    for path in files:
        digest.update(path.name.encode(errors="surrogateescape") + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:24]


def build(sizes: Sizes | None = None) -> Library:
    """The kernel compiled for `sizes`, or for any; from the cache or built now.

    Of processes that build at once, one compiles and the others wait for its library. Raises MojoBuildError
    with the compiler's own message, or where it takes too long.
    """
    toolchain, options = find_toolchain(), build_options(sizes)
    name = f"moe_kernel-{build_key(toolchain, options, sources())}.so"
    return _built(toolchain, name, lambda _: ["build", *options, str(SOURCE / KERNEL)])


def build_package() -> Library:
    """The layer as operations that MAX compiles into a graph; cached and raising as `build`."""
    toolchain = find_toolchain()
    files = package_sources()
    # A Mojo package has the name of its file.
    name = f"moe_layer_{build_key(toolchain, [], files)}.mojoc"
    return _built(toolchain, name, lambda folder: ["precompile", "--Werror", _package_in(folder, files)])


def build_file(source: str | Path) -> Library:
    """Anybody's Mojo file as a shared library, cached and raising as `build`; what it imports is not watched."""
    toolchain = find_toolchain()
    path = Path(source).resolve()  # of which the compiler can't take any part for an option
    if not path.is_file():
        raise MojoBuildError(f"no such file: {path}")
    # What lies beside it may be part of it, so another place is another library.
    name = f"own_kernel-{build_key(toolchain, [str(path)], [path])}.so"
    return _built(toolchain, name, lambda _: ["build", "--emit", "shared-lib", str(path)])


def _built(toolchain: Toolchain, name: str, arguments: Arguments) -> Library:
    started = time.monotonic()
    path = next((found for folder in kept_folders(KEPT) if os.path.isfile(found := folder / name)), None)
    if path is None:
        try:
            path = usable_folder(KEPT) / name
            with alone(path):
                if not path.exists():
                    _compile(toolchain, path, arguments)
        except OSError as error:
            raise MojoBuildError(f"no place for the compiled kernel: {error}") from error
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise MojoBuildError(f"the compiled kernel can't be read: {error}") from error
    return Library(path, sha256, toolchain.version, time.monotonic() - started)


def _compile(toolchain: Toolchain, path: Path, arguments: Arguments) -> None:
    """Compile in a folder of its own beside `path`, and move it there whole."""
    with TemporaryDirectory(dir=path.parent) as folder:
        compiled = Path(folder) / path.name
        _run([str(toolchain.command), *arguments(Path(folder)), "-o", str(compiled)], TIMEOUT_S)
        os.replace(compiled, path)


def _package_in(folder: Path, files: list[Path]) -> str:
    """The path of a package, made of files that import each other, which has to bring all that it imports.

    MAX could find the kernel's modules where they are, but its cache of graphs would not see a change in them.
    Inside a package, imports are relative.
    """
    names = {file.stem for file in files}

    def relative(match: re.Match[str]) -> str:
        return f"from .{match[1]} import" if match[1] in names else match[0]

    package = folder / "package"
    package.mkdir()
    (package / "__init__.mojo").write_text(f"from .{files[0].stem} import *\n", encoding="utf-8")
    for file in files:
        (package / file.name).write_text(IMPORT.sub(relative, file.read_text(encoding="utf-8")), encoding="utf-8")
    return str(package)


def _run(command: list[str], timeout: float) -> str:
    """Run the compiler and return its output; a hung one is stopped with everything that it started."""
    try:
        process = subprocess.Popen(
            command,
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
