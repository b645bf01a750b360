"""Files of tensors: what they hold, and every lie in their headers and indices."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from moe.safetensors import INDEX, SINGLE, Shards, widened

from .checkpoints import data_of, file_of, header_of, mixtral, write_file, write_folder

TENSORS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5,
    "half": np.array([1.5, -2.0, 65504.0], np.float16),
    "brain": np.array([0x3F80, 0xC049, 0x7F80, 0x0001], np.uint16).reshape(2, 2),
    "eight": np.array([7], np.uint8),
}
Header = dict[str, Any]


def write(folder: Path, change: Callable[[Header], Any] = lambda header: header, data: bytes | None = None) -> Shards:
    """A folder with TENSORS whose header has been changed."""
    header = header_of(TENSORS)
    header = change(header) or header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / SINGLE).write_bytes(file_of(text, data_of(TENSORS) if data is None else data))
    return Shards(folder)


def test_numbers_of_every_type_that_is_read(tmp_path: Path) -> None:
    shards = write(tmp_path, lambda header: {"__metadata__": {"format": "pt"}, **header})
    assert shards.names() == list(TENSORS)
    for name in ("a", "half"):
        assert np.array_equal(widened(shards[name].words()), TENSORS[name].astype(np.float32))
        assert widened(shards[name].words()).dtype == np.float32
    found = widened(shards["brain"].words())
    assert found.tolist() == [[1.0, -3.140625], [np.inf, 2.0**-133]]  # a denormal stays one
    assert shards["eight"].dtype == "F8_E4M3"
    assert "b" not in shards
    with pytest.raises(KeyError):
        shards["b"]


def test_the_formats_own_library_writes_what_is_read(tmp_path: Path) -> None:
    library = pytest.importorskip("safetensors.numpy")
    library.save_file({"a": TENSORS["a"], "half": TENSORS["half"]}, tmp_path / SINGLE, metadata={"format": "np"})
    shards = Shards(tmp_path)
    for name in ("a", "half"):
        assert np.array_equal(widened(shards[name].words()), TENSORS[name].astype(np.float32))
    write_file(tmp_path / SINGLE, {"a": TENSORS["a"]})
    assert np.array_equal(library.load_file(tmp_path / SINGLE)["a"], TENSORS["a"])


def entry(name: str, **changes: Any) -> Callable[[Header], Any]:
    return lambda header: {**header, name: {**header[name], **changes}}


LIES: dict[str, tuple[Callable[[Header], Any], str]] = {
    "another length": (entry("a", data_offsets=[0, 20]), "'a' is F32 (2, 3), which 20 bytes are not"),
    "another shape": (entry("a", shape=[2, 4]), "'a' is F32 (2, 4), which 24 bytes are not"),
    "another type": (entry("a", dtype="F16"), "'a' is F16 (2, 3), which 24 bytes are not"),
    "overlapping": (entry("half", data_offsets=[22, 28]), "tensors overlap or lack bytes"),
    "a gap": (entry("half", data_offsets=[26, 32]), "tensors overlap or lack bytes"),
    "out of the file": (entry("eight", shape=[9], data_offsets=[38, 47]), "its header says"),
    "negative": (entry("a", data_offsets=[-24, 0]), "'a' must have dtype, shape and data_offsets"),
    "backwards": (entry("a", data_offsets=[24, 0]), "'a' must have dtype, shape and data_offsets"),
    "not whole": (entry("a", shape=[2.0, 3]), "'a' must have dtype, shape and data_offsets"),
    "true": (entry("a", shape=[True, 6]), "'a' must have dtype, shape and data_offsets"),
    "one offset": (entry("a", data_offsets=[0]), "'a' must have dtype, shape and data_offsets"),
    "no shape": (entry("a", shape=None), "'a' must have dtype, shape and data_offsets"),
    "no entry": (lambda header: {**header, "a": 5}, "'a' must have dtype, shape and data_offsets"),
    "a list": (lambda header: b"[1]", "must hold a JSON object"),
    "no JSON": (lambda header: b'{"a": ', "Expecting value"),
    "no text": (lambda header: b'{"\xff\xfe": 1}', "can't decode"),
    "twice": (lambda header: b'{"a": 1, "b": 2, "a": 3}', "says 'a' twice"),
    "deep": (lambda header: b"[" * 200_000, "recursion"),
    "digits": (lambda header: b'{"a": ' + b"9" * 10_000 + b"}", "integer string conversion"),
    "nothing": (lambda header: b"{}", "its header says 10: truncated"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_in_one_line(lie: str, tmp_path: Path) -> None:
    change, said = LIES[lie]
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        write(tmp_path, change)
    assert str(error.value).startswith(f"{tmp_path / SINGLE}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("cut", [0, 1, 7, 8, 9, 100, -1])
def test_a_truncated_file_is_refused(cut: int, tmp_path: Path) -> None:
    write(tmp_path)
    whole = (tmp_path / SINGLE).read_bytes()
    (tmp_path / SINGLE).write_bytes(whole[:cut])
    with pytest.raises(ValueError, match="truncated"):
        Shards(tmp_path)
    (tmp_path / SINGLE).write_bytes(whole + b"0")
    with pytest.raises(ValueError, match="with something behind it"):
        Shards(tmp_path)


def test_a_header_longer_than_any_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / SINGLE).open("wb") as file:
        file.write((200_000_000).to_bytes(8, "little"))
        file.truncate(300_000_000)  # which takes no room
    with pytest.raises(ValueError, match="a header of 200000000 bytes can't be"):
        Shards(tmp_path)


def test_a_file_that_becomes_shorter_is_not_mapped_beyond_its_end(tmp_path: Path) -> None:
    shards = write(tmp_path)
    (tmp_path / SINGLE).write_bytes((tmp_path / SINGLE).read_bytes()[:-20])
    with pytest.raises(ValueError, match="has become shorter"):
        shards["brain"].words()


def test_only_the_files_that_are_asked_for_need_be_there(tmp_path: Path) -> None:
    tensors = mixtral()
    write_folder(tmp_path, tensors, shards=3)
    shards = Shards(tmp_path)
    names = list(tensors)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert shards.names() == names
    assert np.array_equal(shards[names[0]].words(), tensors[names[0]])
    with pytest.raises(ValueError, match=r"model-00002-of-00003.safetensors: no such file"):
        shards[names[1]]


@pytest.mark.parametrize(
    "file",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "x.bin",
        "",
        "x\0.safetensors",
        3,
    ],
)
def test_an_index_names_files_of_its_folder_alone(file: object, tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": file}}))
    write_file(tmp_path.parent / "x.safetensors", {"a": TENSORS["a"]})
    with pytest.raises(ValueError, match=r"'a' must be in a .safetensors file of this folder"):
        Shards(tmp_path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"has neither {SINGLE} nor {INDEX}"):
        Shards(tmp_path)
    (tmp_path / INDEX).write_text("{}")
    with pytest.raises(ValueError, match="has no weight_map"):
        Shards(tmp_path)
    write_file(tmp_path / "one.safetensors", {"a": TENSORS["a"]})
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"b": "one.safetensors", "c": ".safetensors"}}))
    shards = Shards(tmp_path)
    with pytest.raises(ValueError, match=f"one.safetensors: lacks 'b', which {INDEX} says is there"):
        shards["b"]
    (tmp_path / ".safetensors").mkdir()
    with pytest.raises(ValueError, match="no such file"):
        shards["c"]


FUZZED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZED
@given(
    place=st.integers(0, 2**10),
    value=st.integers(0, 255),
    cut=st.integers(0, 400),
    kind=st.sampled_from(["flip", "cut", "add"]),
)
def test_any_byte_may_be_wrong(place: int, value: int, cut: int, kind: str, tmp_path: Path) -> None:
    """Every tensor that is found lies inside the file, or one line says why there is none."""
    write(tmp_path)
    whole = bytearray((tmp_path / SINGLE).read_bytes())
    if kind == "flip":
        whole[place % len(whole)] = value
    elif kind == "cut":
        del whole[max(0, len(whole) - cut) :]
    else:
        whole[place % len(whole) : place % len(whole)] = bytes([value])
    (tmp_path / SINGLE).write_bytes(whole)
    read_all(tmp_path, len(whole))


def read_all(folder: Path, size: int) -> None:
    """What there is of a folder's tensors, or one line that says why there is nothing."""
    said, found = "", []
    try:
        shards = Shards(folder)
        found = [shards[name] for name in shards.names()]
    except ValueError as error:
        said = str(error)
    assert "\n" not in said
    for stored in found:
        assert 8 <= stored.begin <= stored.begin + stored.nbytes <= size
        if stored.dtype in ("F32", "F16", "BF16") and 0 not in stored.shape:
            assert widened(stored.words()).shape == stored.shape


NUMBERS = st.one_of(st.integers(-3, 60), st.integers(), st.floats(), st.none(), st.booleans(), st.text(max_size=3))
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from(["F32", "BF16", "F16", "I64", "F4", "F8_E4M3"]), NUMBERS),
        "shape": st.one_of(st.lists(NUMBERS, max_size=3), NUMBERS),
        "data_offsets": st.one_of(st.lists(NUMBERS, max_size=3), NUMBERS),
    },
)


@FUZZED
@example(header={"": "\n"}, size=0)
@given(header=st.dictionaries(st.text(max_size=3), st.one_of(ENTRIES, NUMBERS), max_size=3), size=st.integers(0, 60))
def test_any_header_is_believed_only_as_far_as_the_file_goes(header: Header, size: int, tmp_path: Path) -> None:
    text = json.dumps(header).encode()
    (tmp_path / SINGLE).write_bytes(file_of(text, bytes(size)))
    read_all(tmp_path, 8 + len(text) + size)


@FUZZED
@example(index={"\n": None})
@example(index={"a": "\n.safetensors"})
@given(
    index=st.one_of(
        NUMBERS,
        st.dictionaries(
            st.text(max_size=4),
            st.one_of(
                NUMBERS,
                st.dictionaries(
                    st.text(max_size=3),
                    st.one_of(NUMBERS, st.sampled_from(["one.safetensors", "../one.safetensors"])),
                    max_size=3,
                ),
            ),
            max_size=3,
        ),
    )
)
def test_any_index_is_one_or_is_refused(index: Any, tmp_path: Path) -> None:
    write_file(tmp_path / "one.safetensors", {"a": TENSORS["a"]})
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": index}))
    read_all(tmp_path, (tmp_path / "one.safetensors").stat().st_size)
