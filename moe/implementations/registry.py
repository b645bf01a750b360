"""Names of implementations: the ordered table, variants of them, and layers made from them."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moe.config import MoEConfig, require_known, unknown_name
from moe.form import ROUTER_PRECISION, check_choice
from moe.implementations.contract import require_form
from moe.implementations.foreign import ForeignError, contained, words_of
from moe.implementations.own_files import forget_beside, load_file, look_beside, looking_beside, own_file
from moe.problem import Float32Array, Weights, check_input, check_top_k
from moe.ranges import THREADS
from moe.variant import Variant

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "moe.implementations"
PROJECT = "moe"
DECLARED = Path(__file__).resolve().parents[2] / "pyproject.toml"  # where this package lies in its checkout


class UnknownNameError(ValueError):
    """There is no implementation of that name, or no class where it should be."""


@dataclass(frozen=True)
class Entry:
    """Where an implementation lives, and what keeps it from running at full size."""

    target: str  # "module:Class"
    library: str = ""  # what it calls for its work, by a name that `moe.measure.boundary` knows
    affordable_flops: int | None = None  # it gets the first tokens of a larger problem, as many as take no more
    most_threads: int | None = None
    peer: bool = False  # measured when it is named: another way to compute what is measured anyway

    def affordable(self, config: MoEConfig) -> MoEConfig:
        """A problem with no more of its first tokens than are affordable, and at least one."""
        if self.affordable_flops is None or config.flops <= self.affordable_flops:
            return config
        return config.with_tokens(max(1, self.affordable_flops // config.with_tokens(1).flops))


REGISTRY = {
    "python": Entry(
        "moe.implementations.python_layer:PythonLayer", "python", affordable_flops=17_000_000, most_threads=1
    ),
    "numpy": Entry("moe.implementations.numpy_layer:NumpyLayer", "numpy"),
    "torch-naive": Entry("moe.implementations.torch_naive_layer:TorchNaiveLayer", "torch"),
    "torch": Entry("moe.implementations.torch_layer:TorchLayer", "torch"),
    "mojo": Entry("moe.implementations.mojo_layer:MojoLayer", "mojo"),
    "mojo-max": Entry("moe.implementations.mojo_max_layer:MojoMaxLayer", "max", peer=True),
    "torch-loop": Entry("moe.implementations.torch_loop_layer:TorchLoopLayer", "torch", peer=True),
    "torch-grouped": Entry("moe.implementations.torch_grouped_layer:TorchGroupedLayer", "torch", peer=True),
    "torch-onednn": Entry("moe.implementations.torch_onednn_layer:TorchOnednnLayer", "torch", peer=True),
    "torch-compile": Entry("moe.implementations.torch_compile_layer:TorchCompileLayer", "torch", peer=True),
}
BASELINE = "numpy"


def entry_of(variant: Variant) -> Entry:
    """A variant's row in the table; what comes in by an entry point has no limits."""
    return REGISTRY.get(variant.name, Entry(variant.name))


def names(*, peers: bool = False) -> list[str]:
    """The package's in the order of the table, then those of entry points; with `peers` also those to be named."""
    own = [name for name, entry in REGISTRY.items() if peers or not entry.peer]
    left_out = [] if peers else extra_names()
    return [*own, *(name for name in _entry_points() if name not in left_out)]


def extra_names() -> list[str]:
    """Those whose entry points name an extra that they need: measured when they are named, or have what they need."""
    # By the bracket at the end: `EntryPoint.extras` raises for a value of no form, which is that row's own affair.
    return [name for name, point in _entry_points().items() if point.value.rstrip().endswith("]")]


def installed_names() -> list[str]:
    """What is measured without being named, and the extras that somebody has installed."""
    return [*names(), *(name for name in extra_names() if availability(name)[0])]


def parse_variant(text: str) -> Variant:
    """A variant from its name; raises ValueError for an unknown name, option or form."""
    variant = Variant.read(text)
    try:
        with contained():
            known = option_names(load(variant.name))
    except UnknownNameError:
        raise
    except Exception:
        return variant  # it raises at import, and `availability` says so
    require_known(f"option of {variant.name}", variant.options, known)
    return variant


def load(name: str) -> type[Any]:
    """The class behind a name; raises UnknownNameError where there is none, and whatever its module raises."""
    own = own_file(name)
    if own:
        look_beside(own[0])
    return _load(name)


@cache
def _load(name: str) -> type[Any]:
    if name in REGISTRY:
        module, _, class_name = REGISTRY[name].target.partition(":")
        return _class_in(_imported(lambda: import_module(module)), class_name, module)
    if own := own_file(name):
        path, class_name = own
        if not path.is_file():
            raise UnknownNameError(f"no such file: {path}")
        return _class_in(_imported(lambda: load_file(path)), class_name, str(path))
    point = _own_entry_points().get(name) or _entry_points().get(name)
    if point:
        loaded: type[Any] = _imported(point.load)
        return loaded
    raise UnknownNameError(unknown_name("implementation", name, names(peers=True)))


def load_again() -> None:
    """Have what was loaded, and what is declared, read anew: a file may have been edited since."""
    _load.cache_clear()
    _declared_in.cache_clear()
    forget_beside()


def _imported(load: Callable[[], Any]) -> Any:
    """What is imported; a name that is not known inside a module is that module's error."""
    try:
        with contained():
            return load()
    except UnknownNameError as error:
        raise ForeignError(words_of(error)) from error


def _class_in(module: Any, class_name: str, where: str) -> type[Any]:
    found = getattr(module, class_name, None)
    if not inspect.isclass(found):
        raise UnknownNameError(f"{where} has no class {class_name!r}")
    return found


def _entry_points() -> dict[str, EntryPoint]:
    """By name: this project's as it declares them, then third parties' in order, but for names that are taken."""
    own = _own_entry_points()
    theirs = _declared_in(tuple((place, _modified(place)) for place in sys.path))
    return own | {name: theirs[name] for name in sorted(set(theirs) - set(own) - set(REGISTRY))}


@lru_cache(maxsize=1)
def _declared_in(_: tuple[tuple[str, int], ...]) -> dict[str, EntryPoint]:
    """What is declared by all that is installed in folders, each with when it changed: reading that takes 25 ms."""
    from importlib.metadata import entry_points  # 15 ms, and no name of the package's own needs it

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _modified(folder: str) -> int:
    """When something came into a folder or left it, in nanoseconds; 0 where there is none."""
    with suppress(OSError):
        return os.stat(folder or ".").st_mtime_ns
    return 0


@cache
def _own_entry_points() -> dict[str, EntryPoint]:
    """This project's, from the checkout: what is installed of it may be older, or another checkout's."""
    import tomllib
    from importlib.metadata import EntryPoint, PackageNotFoundError, distribution

    with suppress(OSError, ValueError, LookupError):  # there is no checkout, or that file is another project's
        project = tomllib.loads(DECLARED.read_text(encoding="utf-8"))["project"]
        if project["name"] == PROJECT:
            declared = project["entry-points"][ENTRY_POINTS]
            return {name: EntryPoint(name, value, ENTRY_POINTS) for name, value in declared.items()}
    with suppress(PackageNotFoundError):
        return {point.name: point for point in distribution(PROJECT).entry_points.select(group=ENTRY_POINTS)}
    return {}


def description(name: str) -> str:
    """What an implementation says it is, in one line."""
    return str(getattr(load(name), "description", "it does not say what it is"))


def option_names(implementation: type[Any]) -> list[str]:
    """Options that a class takes beyond those that all take."""
    parameters = inspect.signature(implementation).parameters
    return [name for name in parameters if name not in ("weights", "top_k", "threads")]


def availability(name: str) -> tuple[bool, str]:
    """Say whether a variant can run here; if not, why. What raises can't run, whatever it raises."""
    try:
        variant = Variant.read(name)
        own = own_file(variant.name)
        # A file that is called like a library is not that library.
        with contained(), looking_beside(own[0] if own else None):
            ask = load(variant.name).available
            known = inspect.signature(ask).parameters
            available, reason = ask(**{key: value for key, value in variant.options.items() if key in known})
            return bool(available), str(reason)
    except Exception as error:
        return False, words_of(error)


class Layer:
    """A prepared layer: `layer(x)` from NumPy to NumPy, or the same in three steps.

    `forward` is the implementation's own bound method, so that a timed call has nothing around it.
    """

    def __init__(self, variant: Variant, implementation: Any, d_model: int, precision: str) -> None:
        self.variant = variant
        self.implementation = implementation
        self.forward = implementation.forward
        self._d_model = d_model
        self._precision = precision
        self._to_native = getattr(implementation, "to_native", None)
        self._to_numpy = getattr(implementation, "to_numpy", None)
        self.router_precision = getattr(implementation, "router_precision", ROUTER_PRECISION)
        check_choice("router_precision", "precision", self.router_precision)

    def to_native(self, x: Float32Array) -> Any:
        """The input (T, d) as `forward` takes it; raises TypeError or ValueError for any other array."""
        x = check_input(x, self._d_model, self._precision)
        return self._to_native(x) if self._to_native else x

    def to_numpy(self, y: Any) -> Float32Array:
        """The output of `forward` as a NumPy array."""
        array: Float32Array = self._to_numpy(y) if self._to_numpy else y
        return array

    def __call__(self, x: Float32Array) -> Float32Array:
        """NumPy in, NumPy out, any T."""
        return self.to_numpy(self.forward(self.to_native(x)))


def create(name: str | Variant, weights: Weights, *, top_k: int, threads: int = 1, **options: str) -> Layer:
    """Prepare a layer; options come in the name or as keywords.

    Raises ValueError for a name, option or size that does not exist, NotAvailableError for what can't run here.
    """
    variant = name if isinstance(name, Variant) else parse_variant(name)
    variant = parse_variant(str(Variant(variant.name, variant.options | options)))
    check_top_k(top_k, weights.num_experts, weights.form)
    THREADS.check("threads", threads)
    with contained():
        wanted = load(variant.name)
        require_form(weights, variant.name, getattr(wanted, "knobs", ()))
        implementation = wanted(weights, top_k=top_k, threads=threads, **variant.options)
        return Layer(variant, implementation, weights.d_model, weights.form.precision)
