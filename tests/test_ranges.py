"""Numbers that are none, or make no sense, wherever a number is taken: one line that names what was expected."""

from __future__ import annotations

from dataclasses import fields
from math import inf, nan
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

import moe
from moe import cli
from moe.cli import main
from moe.config import RANGES as SIZES
from moe.measure import protocol
from moe.measure.protocol import Protocol
from moe.ranges import Range
from moe.report import breakdown, claims, comparison, parameters, scaling
from moe.report.parameters import NOTEBOOKS, Parameter, load_profile, read_parameters, resolve
from moe.selfcheck import selfcheck

NONE: list[Any] = [inf, -inf, nan, 1e300, -1, True, "5", None, 2**80]
WORDS = ["inf", "-inf", "nan", "1e400", "-1", "1e300", "true", "", "0x10"]
TINY = moe.MoEConfig(4, 8, 16, 3, 2)
ARGUMENTS = {
    "comparison": comparison.arguments,
    "breakdown": breakdown.arguments,
    "scaling": scaling.arguments,
    "claims": claims.arguments,
}
OPTIONS = [
    (command, option)
    for command, options in {
        "check": ["--threads", "--layer"],
        "bench": ["--threads", "--budget", "--target", "--timeout", "--memory", "--layer"],
        "sweep": ["--budget", "--timeout", "--memory", "--layer"],
        "goals": ["--threads", "--budget"],
        "peers": ["--threads", "--budget"],
        "selfcheck": ["--runs", "--budget"],
    }.items()
    for option in options
]


def test_every_option_that_takes_a_number_is_here() -> None:
    commands = next(a for a in cli._parser()._actions if a.dest == "==SUPPRESS==" or a.nargs == "A...").choices
    assert isinstance(commands, dict)
    typed = [
        (name, action.option_strings[0])
        for name, command in commands.items()
        for action in command._actions
        if action.type not in (None, Path)
    ]
    assert sorted(typed) == sorted(OPTIONS)


@pytest.mark.parametrize(("command", "option"), OPTIONS)
def test_a_wrong_number_leaves_with_2_and_one_line(
    command: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in [*WORDS, *(() if option == "--layer" else ("0",))]:  # layers are counted from 0
        with pytest.raises(SystemExit) as leaving:
            main([command, f"{option}={word}"])
        printed = capsys.readouterr()
        assert leaving.value.code == 2
        assert printed.err.startswith(f"moe {command}: argument {option}: expected ")
        assert printed.err.endswith(f", got {word!r}\n")
        assert (printed.err.count("\n"), printed.out) == (1, "")


@pytest.mark.parametrize("name", SIZES)
def test_a_layers_numbers_are_whole_and_in_range(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for value in [*NONE, 2.0]:
        with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least "):
            moe.MoEConfig(**{name: value})
    for word in WORDS:
        assert main(["bench", "--config", f"{name}={word}", "--anyway"]) == 2
        assert main(["sweep", "numpy", "--over", f"{name}=1,{word}"]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 2
        assert all(line.startswith("moe: ") and name in line for line in lines)


def test_every_field_of_the_protocol_has_a_range() -> None:
    assert {f.name for f in fields(Protocol)} == {*protocol.RANGES, "cache"}


@pytest.mark.parametrize("name", protocol.RANGES)
def test_a_protocols_numbers_are_in_range(name: str) -> None:
    for value in NONE:
        if value is not None or name not in protocol.MAY_BE_NONE:
            with pytest.raises(ValueError, match=f"^{name} must be a .*number .*, got "):
                Protocol(**{name: value})
            with pytest.raises(ValueError, match=f"^{name} must be"):
                moe.compare(["numpy"], TINY, progress=False, **{name: value})


def test_threads_and_top_k_are_in_range() -> None:
    weights = moe.make_problem(TINY).weights
    for value in [*NONE, 0, 1.0]:
        with pytest.raises(ValueError, match=r"^threads must be a whole number"):
            moe.create("numpy", weights, top_k=1, threads=value)
        with pytest.raises(ValueError, match=r"^top_k must be between 1 and num_experts"):
            moe.create("numpy", weights, top_k=value)
        with pytest.raises(ValueError, match=r"^threads must be a whole number"):
            moe.compare(["numpy"], TINY, [value], progress=False)
        if value != "5":  # an axis is of texts too
            with pytest.raises(ValueError, match=r"^axis threads must"):
                moe.sweep(["numpy"], {"threads": [value]}, TINY, progress=False)
        with pytest.raises(ValueError, match=r"^runs must be"):
            next(iter(selfcheck(value, 1.0)))


def test_a_notebooks_numbers_are_finite() -> None:
    number = Parameter("budget_s", float, 1.0)
    for word in ("inf", "nan", "-inf", "1e400"):
        with pytest.raises(ValueError, match=r"^parameter budget_s must be a finite number, got "):
            number.parse(word)
    for value in (inf, nan, True, "5", 10**400):
        with pytest.raises(ValueError, match=r"^parameter budget_s must be "):
            number.check(value)
    assert number.check(5) == 5.0


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_notebooks_numbers_are_in_range(name: str) -> None:
    right = resolve("smoke", [], [name])[name]
    ARGUMENTS[name](**right)
    known = read_parameters(NOTEBOOKS / f"{name}.ipynb")
    numeric = [key for key in right if known[key].type in (int, float)]
    assert numeric
    for key in numeric:
        for value in (-1, 2**80, nan) if known[key].type is float else (-1, 2**80):
            with pytest.raises(ValueError, match=f"{key} must be "):
                ARGUMENTS[name](**{**right, key: value})
    for key in ("threads", "token_counts", "sizes", "skews", "experts", "d_models", "model_tokens"):
        for word in ("nan", "-1", "1e400", str(2**80)) if key in right else ():
            used = {**right, key: word} | ({"models": "switch-base-8"} if "models" in right else {})
            with pytest.raises(ValueError, match=r"must be|must have"):
                ARGUMENTS[name](**used)


def test_an_empty_list_of_tokens_is_refused() -> None:
    right = resolve("smoke", ["token_counts="], ["scaling"])["scaling"]
    with pytest.raises(ValueError, match="token_counts must be whole numbers like"):
        scaling.arguments(**right)


def test_a_profiles_numbers_are_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "NOTEBOOKS", tmp_path)
    (tmp_path / "profiles").mkdir()
    nbformat.write(nbformat.read(NOTEBOOKS / "comparison.ipynb", 4), tmp_path / "comparison.ipynb")
    (tmp_path / "profiles" / "endless.yaml").write_text(yaml.safe_dump({"comparison": {"budget_s": inf}}))
    with pytest.raises(ValueError, match="budget_s must be a finite number, got inf"):
        load_profile("endless")


def test_a_range_says_what_it_holds() -> None:
    assert str(Range(0, 5, above=True)) == "a number greater than 0, at most 5"
    assert 0 not in Range(0, 5, above=True)
    assert 5 in Range(0, 5, whole=True)
    assert 5.0 not in Range(0, 5, whole=True)
