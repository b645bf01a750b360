"""Tensors in safetensors files, mapped and read as float32; nothing in a file is believed before it is checked.

A file is 8 bytes with its header's length, the header in JSON, which gives every tensor's type, shape and place, and
then the tensors' bytes without a gap (https://huggingface.co/docs/safetensors).
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moe.problem import Float32Array

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
LENGTH = 8  # bytes of the number before the header
MOST_HEADER = 100_000_000  # bytes, as the format's own library has it; of an index and config.json too
READ = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
# Bytes of a number of each type that has whole ones.
BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, of which only the place is known."""

    path: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int  # in the file
    nbytes: int

    def words(self) -> NDArray[Any]:
        """Its numbers, mapped; those of BF16 as whole numbers, which `widened` reads."""
        if self.path.stat().st_size < self.begin + self.nbytes:
            raise ValueError(f"{self.path}: has become shorter since its header was read")
        return np.memmap(self.path, READ[self.dtype], "r", self.begin, self.shape)


def widened(words: NDArray[Any]) -> Float32Array:
    """What `Stored.words` gives, or a part of it, in float32."""
    if words.dtype == np.uint16:  # a bfloat16 is a float32's upper half
        return (words.astype(np.uint32) << 16).view(np.float32)
    return words.astype(np.float32)


class Shards:
    """The tensors of a folder by name; of several files only those are opened in which a tensor is asked for.

    Raises ValueError, naming the file, where it is missing or is not what it says.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._headers: dict[str, dict[str, Stored]] = {}
        if (folder / SINGLE).is_file():
            self._file_of = dict.fromkeys(self._header(SINGLE), SINGLE)
        elif (folder / INDEX).is_file():
            self._file_of = _weight_map(folder / INDEX)
        else:
            raise ValueError(f"{folder}: has neither {SINGLE} nor {INDEX}")

    def names(self) -> list[str]:
        """Of all tensors, also of those whose file is not here."""
        return list(self._file_of)

    def __contains__(self, name: str) -> bool:
        return name in self._file_of

    def __getitem__(self, name: str) -> Stored:
        """A tensor; raises KeyError where the folder names none of that name."""
        file = self._file_of[name]
        if name not in self._header(file):
            raise ValueError(f"{self._folder / file}: lacks {name!r}, which {INDEX} says is there")
        return self._headers[file][name]

    def _header(self, file: str) -> dict[str, Stored]:
        if file not in self._headers:
            self._headers[file] = _read_header(self._folder / file)
        return self._headers[file]


def read_json(path: Path) -> dict[str, Any]:
    """An object in a JSON file; raises ValueError for anything else."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        if (size := path.stat().st_size) > MOST_HEADER:
            raise ValueError(f"has {size} bytes, at most {MOST_HEADER} are read")
        return _object(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from error


def _weight_map(path: Path) -> dict[str, str]:
    """The file of each tensor's name; none of them outside the folder."""
    found = read_json(path).get("weight_map")
    if not isinstance(found, dict):
        raise ValueError(f"{path}: has no weight_map")
    for name, file in found.items():
        plain = isinstance(file, str) and file.isprintable() and not set(file) & {"/", "\\", ":"}
        if not plain or not file.endswith(".safetensors"):
            raise ValueError(f"{path}: {name!r} must be in a .safetensors file of this folder, got {file!r}")
    return found


def _read_header(path: Path) -> dict[str, Stored]:
    """All tensors of a file; raises ValueError unless they fill it, one after the other."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            length = int.from_bytes(file.read(LENGTH), "little")
            if length > min(MOST_HEADER, size - LENGTH):
                raise ValueError(
                    f"a header of {length} bytes can't be in a file of {size}: truncated, or another format"
                )
            header = _object(file.read(length))
        header.pop("__metadata__", None)
        found = [_entry(path, LENGTH + length, name, entry) for name, entry in header.items()]
        _require_filled(found, LENGTH + length, size)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    return {stored.name: stored for stored in found}


def _entry(path: Path, origin: int, name: str, entry: Any) -> Stored:
    """A tensor as a header has it, in a file whose tensors begin at `origin`."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (begin, end, *shape))
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole or not isinstance(dtype, str) or not isinstance(shape, list) or begin > end:
        raise ValueError(f"{name!r} must have dtype, shape and data_offsets, got {repr(entry)[:200]}")
    if dtype in BYTES and end - begin != BYTES[dtype] * prod(shape):
        raise ValueError(f"{name!r} is {dtype} {tuple(shape)}, which {end - begin} bytes are not")
    return Stored(path, name, dtype, tuple(shape), origin + begin, end - begin)


def _require_filled(found: list[Stored], origin: int, size: int) -> None:
    """Raise ValueError unless tensors lie side by side from `origin` to the end of a file."""
    ordered = sorted(found, key=lambda stored: (stored.begin, stored.nbytes))
    places = [(origin, ""), *((stored.begin + stored.nbytes, stored.name) for stored in ordered)]
    for (end, _), stored in zip(places, ordered, strict=False):
        if stored.begin != end:
            raise ValueError(
                f"{stored.name!r} begins at byte {stored.begin}, expected {end}: tensors overlap or lack bytes"
            )
    if places[-1][0] != size:
        raise ValueError(f"has {size} bytes, its header says {places[-1][0]}: truncated, or with something behind it")


def _object(text: bytes) -> dict[str, Any]:
    """An object in JSON that says nothing twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(a for (a, _), (b, _) in pairwise(sorted(pairs, key=lambda pair: pair[0])) if a == b)
            raise ValueError(f"says {twice!r} twice")
        return found

    data = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    if not isinstance(data, dict):
        raise ValueError(f"must hold a JSON object, got {repr(data)[:200]}")
    return data
