"""A notebook's parameters: read from its parameters cell, set by a profile and the command line, checked.

Papermill itself runs on with a misspelt name and injects a wrong type; here both stop everything first.
"""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from moe.config import field_names, unknown_name
from moe.implementations.numpy_layer import most_threads
from moe.implementations.own_files import own_file
from moe.processor import usable_cores
from moe.ranges import THREADS
from moe.variant import Variant

NOTEBOOKS = Path(__file__).resolve().parent.parent.parent / "notebooks"
TYPES: Mapping[str, type] = {"int": int, "float": float, "str": str, "bool": bool}
RUN = "run"  # set by the pipeline, not by a user
CONFIG = "config"  # the layer, as --config says it; each of its fields may be given by itself
FIELDS = field_names()


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell: `name: type = default  # help`."""

    name: str
    type: type
    default: Any
    help: str = ""

    def parse(self, text: str) -> Any:
        """A value from the command line; raises ValueError naming the parameter and its type."""
        try:
            if self.type is bool:
                return {"true": True, "false": False}[text.lower()]
            value = self.type(text)
        except (KeyError, ValueError):
            raise ValueError(f"parameter {self.name} must be of type {self.type.__name__}, got {text!r}") from None
        return self.check(value)

    def check(self, value: Any) -> Any:
        """A value from a profile; raises ValueError as `parse` does."""
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            with suppress(OverflowError):
                value = float(value)
        if type(value) is not self.type:
            raise ValueError(f"parameter {self.name} must be of type {self.type.__name__}, got {value!r}")
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"parameter {self.name} must be a finite number, got {value!r}")
        return value


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook; raises ValueError unless one cell is tagged and each line annotated."""
    import nbformat  # which takes a second to load, for kernels as well, which read none

    cells = nbformat.read(notebook, as_version=4).cells
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        raise ValueError(f"{notebook.name} must have one cell tagged `parameters`, it has {len(tagged)}")
    found = {}
    source = tagged[0].source
    for line in ast.parse(source).body:
        if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value):
            raise ValueError(f"{notebook.name}: each parameter must look like `name: type = default`")
        kind = TYPES[ast.unparse(line.annotation)]
        _, _, comment = source.splitlines()[line.lineno - 1].encode()[line.end_col_offset :].decode().partition("#")
        found[line.target.id] = Parameter(line.target.id, kind, ast.literal_eval(line.value), comment.strip())
    return found


def parameter_lines(notebooks: Sequence[str]) -> list[str]:
    """Every parameter that a user can set, by notebook: its type, what it is, and its value in each profile."""
    profiles = {name: load_profile(name) for name in _profiles()}
    lines: list[str] = []
    for notebook in notebooks:
        lines += ["", f"{notebook}:"] if lines else [f"{notebook}:"]
        parameters = read_parameters(NOTEBOOKS / f"{notebook}.ipynb")
        parameters.pop(RUN, None)
        for name, parameter in parameters.items():
            lines.append(f"  {name} ({parameter.type.__name__}): {parameter.help}")
            found = {p: chosen.get(notebook, {}).get(name, parameter.default) for p, chosen in profiles.items()}
            if len(set(found.values())) == 1:
                found = {"every profile": next(iter(found.values()))}
            lines += [f"      {profile}: {json.dumps(value)}" for profile, value in found.items()]
    return [*lines, "", f"config's fields may be given by themselves, as tokens=4096: {', '.join(FIELDS)}"]


def _profiles() -> list[str]:
    return sorted(path.stem for path in (NOTEBOOKS / "profiles").glob("*.yaml"))


def load_profile(name: str) -> dict[str, dict[str, Any]]:
    """A profile's parameters by notebook; what it does not name is as the notebook has it.

    Raises ValueError for an unknown profile or a wrong parameter.
    """
    if not NOTEBOOKS.is_dir():
        raise ValueError(f"{NOTEBOOKS} not found: the package must be installed editable (`make env`)")
    if name not in _profiles():
        raise ValueError(unknown_name("profile", name, _profiles()))
    profile: dict[str, dict[str, Any]] = yaml.safe_load(
        (NOTEBOOKS / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    )
    for notebook, values in profile.items():
        parameters = read_parameters(NOTEBOOKS / f"{notebook}.ipynb")
        for key, value in values.items():
            if key not in parameters:
                raise ValueError(f"profile {name}: " + unknown_name("parameter", key, list(parameters)))
            values[key] = parameters[key].check(value)
    return profile


def resolve(profile: str, assignments: Sequence[str], notebooks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The parameters of each of `notebooks`: its defaults, the profile's, then `KEY=VALUE` from the command line.

    An assignment goes to every notebook that has the parameter, one of a layer's fields to every notebook that has
    a layer: all mean the same. Raises ValueError for one that none has.
    """
    chosen = load_profile(profile)
    known = {name: read_parameters(NOTEBOOKS / f"{name}.ipynb") for name in notebooks}
    for parameters in known.values():
        parameters.pop(RUN, None)
    values = {
        name: {key: p.default for key, p in parameters.items()} | chosen.get(name, {})
        for name, parameters in known.items()
    }
    for assignment in assignments:
        if "=" not in assignment:
            raise ValueError(f"parameter must look like KEY=VALUE, got {assignment!r}")
    given = [assignment.split("=", 1) for assignment in assignments]
    # A layer's fields change the layer that is chosen, wherever they stand.
    for key, text in sorted(given, key=lambda pair: pair[0] in FIELDS):
        taken_by = CONFIG if key in FIELDS else key
        takers = [name for name, parameters in known.items() if taken_by in parameters]
        if not takers:
            every = sorted({k for parameters in known.values() for k in parameters} | set(FIELDS))
            raise ValueError(unknown_name("parameter", key, every))
        for name in takers:
            values[name][taken_by] = _value(known[name][taken_by], values[name][taken_by], key, text)
    return values


def _value(parameter: Parameter, before: Any, key: str, text: str) -> Any:
    """A parameter's new value; a layer keeps the number of tokens that a page has for itself, unless told another."""
    if parameter.name != CONFIG:
        return parameter.parse(text)
    own = [part for part in before.split(",") if part.startswith("tokens=") and "tokens=" not in text]
    return ",".join([text, *own] if key == CONFIG else [before, f"{key}={text}"])


def words(text: str) -> list[str]:
    """A list of names or numbers as its parts.

    Commas and blanks separate them: not those inside brackets, which hold options, nor in the name of a file that is
    there.
    """
    parts = re.split(r"([,\s])", text)  # words, with what separates them in between
    found = []
    while parts:
        first = ["".join(parts[: count + 1]) for count in range(0, len(parts), 2)]
        whole = [word for word in first if _is_there(word)] or [w for w in first if w.count("[") == w.count("]")]
        found.append((whole or first[-1:])[0])
        del parts[: 2 * first.index(found[-1]) + 2]
    return [word for word in found if word]


def _is_there(name: str) -> bool:
    """Whether a name, with options or without, is that of a class in a file that is there."""
    try:
        own = own_file(Variant.read(name).name)
        return own is not None and own[0].is_file()
    except (ValueError, OSError, RuntimeError):  # a name that no file can have, links in a circle
        return False


def numbers(name: str, text: str, like: str = "whole numbers like 1, 16, 256") -> list[int]:
    """A list of numbers; raises ValueError, naming the parameter and what it is `like`, for anything else."""
    try:
        return [int(word) for word in words(text)]
    except ValueError:
        raise ValueError(f"{name} must be {like}, got {text!r}") from None


def thread_counts(text: str) -> list[int]:
    """`1,2` as numbers; `auto` is 1, 2, 4 … and every usable core. Raises ValueError for anything else.

    On more cores than the baseline takes threads, `auto` ends with as many as it takes: beyond there is nothing to
    compare with.
    """
    if text == "auto":
        cores = min(usable_cores(), most_threads() or usable_cores())
        return sorted({2**i for i in range(cores.bit_length()) if 2**i <= cores} | {cores})
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"threads must be auto or numbers like 1,2, got {text!r}") from None
    for count in counts:
        THREADS.check("threads", count)
    return counts
