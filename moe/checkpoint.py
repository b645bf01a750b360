"""A model's own layer from a Hugging Face folder: config.json and safetensors; nothing else need be installed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe.config import FLOAT32_BYTES, MoEConfig, require_known
from moe.families import ALIASES, EXPERTS, FAMILIES, GATED, PLAIN, PREFIXES, REFUSED, TOP_K, Family, Part
from moe.form import Form
from moe.problem import Float32Array, Problem, Weights
from moe.processor import require_memory
from moe.ranges import SIZE, SIZE_OR_NONE, Range
from moe.safetensors import READ, Shards, Stored, read_json, widened
from moe.weights import DIMENSIONS, ROUTER

MOST_NAMED = 12  # layers in a message
COLUMNS = 16  # of float32, a cache line: all columns at once took four times as long
Sizes = Mapping[str, int]  # by letter


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """One layer of a model: its weights, how many experts a token takes, and where it comes from.

    `folder` is the name of its folder alone.
    """

    weights: Weights = field(repr=False)
    top_k: int
    model_type: str
    folder: str
    layer: int

    def config(self, tokens: int = 16, seed: int = 0) -> MoEConfig:
        """Its sizes and form, with as many tokens, which the seed makes."""
        empty = np.empty((0, self.weights.d_model), np.float32)
        return replace(Problem(self.weights, empty, self.top_k).config, tokens=tokens, seed=seed)

    def require(self, config: MoEConfig) -> None:
        """Raise ValueError unless `config` is this layer, with whatever tokens."""
        own = self.config(config.tokens, config.seed)
        if config != own:
            named = f"layer {self.layer} of {self.folder}"
            raise ValueError(f"{named} is {own.label}, not {config.label}: only tokens can be chosen")

    @cached_property
    def origin(self) -> dict[str, Any]:
        """What a run's file says of it; the digest is that of all its numbers."""
        digest = sha256()
        for name, array in self.weights.arrays().items():
            digest.update(f"{name} {array.shape}".encode())
            digest.update(array.data)
        return {
            "folder": self.folder, "layer": self.layer, "model_type": self.model_type, "sha256": digest.hexdigest(),
        }  # fmt: skip


def load_checkpoint(folder: str | Path, *, layer: int) -> Checkpoint:
    """The experts and the router of one layer of the model in a folder.

    That holds config.json, and model.safetensors or shards with their index, in float32, float16 or bfloat16; only
    those shards need to be there that have the layer. Where all of its tensors but the router's are bfloat16 its
    precision is that, else float32. Raises ValueError, naming the file, for what can't be read (docs/models.md has
    what can), and MemoryError for a layer that this machine has no room for.
    """
    folder = Path(folder)
    SIZE_OR_NONE.check("layer", layer)
    said: Mapping[str, Any] = read_json(folder / "config.json")
    with _naming(folder / "config.json"):
        said, model_type = _of_language(said)
        family = _family(said, model_type)
        sizes = _sizes(said, family)
        form = _form(said, family, sizes)
    shards = Shards(folder)
    with _naming(folder):
        begin = _beginning(shards, family, layer)
        parts = {name: part for name, part in family.parts.items() if _is_there(name, said, family, sizes)}
        stored = {name: _tensors(shards, begin, part, sizes, said) for name, part in parts.items()}
    numbers = sum(prod(sizes[letter] for letter in DIMENSIONS[name]) for name in parts)
    require_memory(FLOAT32_BYTES * numbers, f"layer {layer} of {folder} in float32")
    if all(tensor.dtype == "BF16" for name in set(stored) - set(ROUTER) for tensor in stored[name]):
        form = replace(form, precision="bfloat16")
    arrays = {name: _read(stored[name], part, DIMENSIONS[name], sizes) for name, part in parts.items()}
    return Checkpoint(Weights(**arrays, form=form), sizes["k"], model_type, folder.resolve().name, layer)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Say which file it is about, where that is missing in an error."""
    try:
        yield
    except KeyError as error:
        raise ValueError(f"{path}: has no {error.args[0]}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error


def _of_language(said: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """What config.json says of the language model, which may be one part of several, and that part's type."""
    inner = said.get("text_config")
    if isinstance(inner, dict):
        said = {"model_type": said["model_type"]} | inner
    name = said["model_type"]
    return said, ALIASES.get(name, name) if isinstance(name, str) else str(name)


def _family(said: Mapping[str, Any], model_type: str) -> Family:
    """The family that config.json names; raises ValueError for one that is not known or differs from what is."""
    if reason := REFUSED.get(model_type):
        raise ValueError(f"{model_type} can't be computed: {reason}")
    require_known("model_type", [model_type], FAMILIES)
    family = FAMILIES[model_type]
    for key, allowed in family.only.items():
        if said.get(key) is not None and said[key] not in allowed:
            raise ValueError(f"{model_type} with {key}={said[key]!r} is not supported")
    return family


def _sizes(said: Mapping[str, Any], family: Family) -> Sizes:
    """The layer's sizes by their letters, and how often an axis may hold a weight."""

    def first(*keys: str) -> Any:
        return next((said[key] for key in keys if said.get(key) is not None), said.get(keys[0]))

    found = {}
    for letter, keys in (("d", ("hidden_size",)), ("f", (family.d_ff,)), ("E", EXPERTS), ("k", TOP_K)):
        found[letter] = first(*keys)
        SIZE.check(" or ".join(keys), found[letter])
    Range(1, found["E"], whole=True).check(" or ".join(TOP_K), found["k"])
    shared = 0
    if family.shared_d_ff:
        shared = said[family.shared_d_ff]
    elif family.shared_experts:
        key, usual = family.shared_experts
        count = said.get(key, usual) or 0
        SIZE_OR_NONE.check(key, count)
        shared = count * found["f"]
    return found | {"s": shared, "1": 1, "2": 2}


def _form(said: Mapping[str, Any], family: Family, sizes: Sizes) -> Form:
    knobs = {"shared_d_ff": sizes["s"], **family.form(said)}
    if family.activation:
        known = GATED if "w3" in family.parts else PLAIN
        name = said.get(family.activation) or next(iter(known))
        if name not in known:
            raise ValueError(f"{family.activation} must be one of {', '.join(known)}, got {name!r}")
        knobs["expert"] = known[name]
    return Form(**knobs)


def _is_there(name: str, said: Mapping[str, Any], family: Family, sizes: Sizes) -> bool:
    return bool(said.get(family.without.get(name, ""), True) and (sizes["s"] or not name.startswith("shared")))


def _beginning(shards: Shards, family: Family, layer: int) -> str:
    """What the layer's names begin with; raises ValueError for a layer that is not there or has no experts."""
    router = family.parts["gate"].name
    for prefix in PREFIXES:
        if f"{prefix}.{layer}.{router}" in shards:
            return f"{prefix}.{layer}."
    layers: dict[int, bool] = {}
    for prefix, name in ((p, n) for n in shards.names() for p in PREFIXES if n.startswith(f"{p}.")):
        number, _, rest = name.removeprefix(f"{prefix}.").partition(".")
        if number.isascii() and number.isdecimal() and len(number) < len(str(SIZE.most)):
            layers[int(number)] = layers.get(int(number), False) or rest == router
    with_experts = _listed([number for number, has in layers.items() if has])
    if layer in layers:
        raise ValueError(f"layer {layer} has no experts (no {router}); with experts: {with_experts}")
    raise ValueError(f"has no layer {layer}; layers: {_listed(list(layers))}, with experts: {with_experts}")


def _listed(numbers: Sequence[int]) -> str:
    ordered = sorted(numbers)
    if len(ordered) > 1 and ordered[-1] - ordered[0] == len(ordered) - 1:
        return f"{ordered[0]} to {ordered[-1]}"
    more = ["…"] if len(ordered) > MOST_NAMED else []
    return ", ".join([*map(str, ordered[:MOST_NAMED]), *more]) or "none"


def _tensors(shards: Shards, begin: str, part: Part, sizes: Sizes, said: Mapping[str, Any]) -> list[Stored]:
    """The tensors that hold a weight, one or one an expert, none of which has been read."""
    count = sizes["E"] if "{e}" in part.name else 1
    shape = tuple(prod(sizes[letter] for letter in axis) for axis in part.axes.split())
    found = []
    for name in (begin + part.name.replace("{e}", str(expert)) for expert in range(count)):
        if name not in shards:
            raise ValueError(_missing(shards, name, said))
        tensor = shards[name]
        if tensor.dtype not in READ:
            raise ValueError(f"{tensor.path}: {name} is {tensor.dtype}, only {', '.join(READ)} can be read")
        if tensor.shape != shape:
            raise ValueError(f"{tensor.path}: {name} has shape {tensor.shape}, expected {shape} by config.json")
        found.append(tensor)
    return found


def _missing(shards: Shards, name: str, said: Mapping[str, Any]) -> str:
    if f"{name}_blocks" in shards:
        return f"{name} is MXFP4 ({name}_blocks), only {', '.join(READ)} can be read"
    quantised = said.get("quantization_config")
    how = quantised.get("quant_method") if isinstance(quantised, dict) else None
    return f"lacks {name}" + (f" (its weights are quantised: {how})" if how else "")


def _read(stored: Sequence[Stored], part: Part, order: str, sizes: Sizes) -> Float32Array:
    """What lies in one tensor, or in one an expert, as a weight whose axes are `order`."""
    found = np.empty([sizes[letter] for letter in order], np.float32)
    if "{e}" in part.name:
        for expert, tensor in zip(found, stored, strict=True):
            _fill(expert, _arranged(tensor.words(), part, order[1:], sizes))
        return found
    words = _arranged(stored[0].words(), part, order, sizes)
    for target, own in zip(found, words, strict=True) if len(order) > 2 else [(found, words)]:
        _fill(target, own)
    return found


def _fill(target: Float32Array, words: NDArray[Any]) -> None:
    """Widen a tensor of one or two axes into its place; one that lies the other way round a few columns at a time."""
    turned = words.ndim > 1 and words.strides[0] < words.strides[1]
    step = COLUMNS if turned else target.shape[-1]
    for start in range(0, target.shape[-1], step):
        columns = slice(start, start + step)
        target[..., columns] = widened(words[..., columns])


def _arranged(words: NDArray[Any], part: Part, order: str, sizes: Sizes) -> NDArray[Any]:
    """A view of what lies in a tensor with the axes `order`."""
    letters = part.axes.replace(" ", "")
    words = words.reshape([sizes[letter] for letter in letters])
    for letter, place in (("2", part.half), ("1", 0)):
        if letter in letters and letter not in order:
            words = np.moveaxis(words, letters.index(letter), 0)[place]
            letters = letters.replace(letter, "")
    return words.transpose([letters.index(letter) for letter in order])
