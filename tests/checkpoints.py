"""Small checkpoints written here, without any library, by what the format says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[Any]]

D, F, EXPERTS, TOP_K = 4, 6, 3, 2
CONFIG: dict[str, Any] = {
    "model_type": "mixtral", "hidden_size": D, "intermediate_size": F, "num_local_experts": EXPERTS,
    "num_experts_per_tok": TOP_K, "hidden_act": "silu", "num_hidden_layers": 2,
}  # fmt: skip
TYPES = {"float32": "F32", "float16": "F16", "uint16": "BF16", "uint8": "F8_E4M3", "int64": "I64"}


def mixtral(seed: int = 0) -> Tensors:
    """Tensors of layer 1 of a model whose layer 0 has no experts."""
    random = np.random.default_rng(seed)
    shapes = {"gate": (EXPERTS, D)}
    for expert in range(EXPERTS):
        shapes |= {f"experts.{expert}.w1": (F, D), f"experts.{expert}.w2": (D, F), f"experts.{expert}.w3": (F, D)}
    own = {
        f"model.layers.1.block_sparse_moe.{name}.weight": random.standard_normal(shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    return {"model.layers.0.mlp.up_proj.weight": np.ones((2, 2), np.float32), **own}


def header_of(tensors: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What a file's header says of tensors that lie one behind the other."""
    found, begin = {}, 0
    for name, array in tensors.items():
        entry = {"dtype": TYPES[array.dtype.name], "shape": list(array.shape)}
        found[name] = entry | {"data_offsets": [begin, begin + array.nbytes]}
        begin += array.nbytes
    return found


def file_of(header: bytes, data: bytes, length: int | None = None) -> bytes:
    """A file's bytes; `length` is what it says of its header's."""
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def data_of(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Tensors' bytes, one behind the other."""
    return b"".join(array.tobytes() for array in tensors.values())


def write_file(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """A safetensors file."""
    path.write_bytes(file_of(json.dumps(header_of(tensors)).encode(), data_of(tensors)))


def write_folder(folder: Path, tensors: Tensors, config: Mapping[str, Any] = CONFIG, shards: int = 1) -> None:
    """A model's folder, in one file or in several with an index."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        write_file(folder / "model.safetensors", tensors)
        return
    names = list(tensors)
    files = [f"model-{number + 1:05}-of-{shards:05}.safetensors" for number in range(shards)]
    for number, file in enumerate(files):
        write_file(folder / file, {name: tensors[name] for name in names[number::shards]})
    index = {"weight_map": {name: files[place % shards] for place, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
