"""Whatever a third party's code does costs its own line, in every command."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import moe
from moe.cli import main
from moe.config import PRESETS
from moe.doctor import diagnose
from moe.edges import FORMS
from moe.implementations import availability, create, installed_names, names, parse_variant, registry
from moe.implementations.foreign import ForeignError, words_of
from moe.measure.lines import known_lines
from moe.report.explore import Explorer
from moe.run import load_run

pytestmark = pytest.mark.usefixtures("brief")

# What each does, and where.
DEEDS = {
    "exit": ("raise SystemExit('bye')", "SystemExit: bye"),
    "raise": ("raise KeyError('lost')", "KeyError: 'lost'"),
    "cancel": ("import asyncio; raise asyncio.CancelledError('stop')", "CancelledError: stop"),
    "mislead": ("from moe.implementations.registry import load; load('nobody')", "unknown implementation 'nobody'"),
    "mute": ("raise type('Mute', (Exception,), {'__str__': lambda e: 1 / 0})", "Mute: it can't be printed"),
}
PLACES = ("module", "class", "available", "constructor", "forward")
LAYER = """
from moe.implementations.numpy_layer import NumpyLayer

{module}
class Theirs(NumpyLayer):
    name = "theirs"
    {class_}

    @staticmethod
    def available():
        {available}
        return True, ""

    def __init__(self, weights, *, top_k, threads):
        {constructor}
        super().__init__(weights, top_k=top_k, threads=threads)

    def forward(self, x):
        {forward}
        return super().forward(x)
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """Install a package of a third party, that does one thing in one place; gives its implementation's name."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(deed: str, place: str, extra: str = "") -> str:
        does = dict.fromkeys(("module", "class_", "available", "constructor", "forward"), "pass")
        does["class_" if place == "class" else place] = deed
        (tmp_path / "theirs.py").write_text(LAYER.format(**does))
        info = tmp_path / "theirs-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\ntheirs = theirs:Theirs{extra}\n")
        return "theirs"

    yield install
    registry.load_again()
    sys.modules.pop("theirs", None)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("deed", DEEDS)
def test_it_costs_its_own_line(
    deed: str,
    place: str,
    installed: Callable[[str, str], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = DEEDS[deed]
    name = installed(code, place)
    monkeypatch.setattr("moe.check.PRESETS", {"smoke": PRESETS["smoke"]})
    monkeypatch.setattr("moe.check.FORMS", {"gelu": FORMS["gelu"]})
    monkeypatch.setattr("moe.doctor.names", lambda: [name, "numpy"])
    lines, healthy = diagnose()
    assert not healthy
    assert [line for line in lines if line.startswith("theirs") and said in line]
    assert lines[-1].split() == ["numpy", "works"]
    assert main(["check", name, "numpy", "--threads", "1"]) == (1 if place in ("constructor", "forward") else 0)
    out = capsys.readouterr().out
    assert said in out
    assert "numpy        1 thread   smoke              ok " in out
    assert main(["list"]) == 0
    assert ("theirs         not run: " in capsys.readouterr().out) == (place in ("module", "class", "available"))


@pytest.mark.parametrize("deed", ["exit", "mislead"])
def test_a_run_goes_on_without_it(
    deed: str, place: str, installed: Callable[[str, str], str], tmp_path: Path
) -> None:
    code, said = DEEDS[deed]
    name = installed(code, place)
    path = tmp_path / "run.json"
    assert str(parse_variant(name)) == name
    arguments = ["bench", "numpy", name, "--config", "smoke,tokens=4", "--budget", "0.5", "--anyway"]
    failed = place in ("constructor", "forward")
    assert main([*arguments, "--json", str(path)]) == (1 if failed else 0)
    numpy, theirs, control = load_run(path).measurements
    assert (numpy.status, control.status) == ("ok", "ok")
    assert theirs.status == ("failed" if failed else "not_run")
    assert said in theirs.reason


@pytest.mark.long
def test_a_sweep_and_the_explorer_go_on_without_it(
    installed: Callable[[str, str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = installed(DEEDS["exit"][0], "module")
    path = tmp_path / "run.json"
    over = ["--over", "tokens=1,2", "--config", "smoke", "--budget", "20", "--anyway", "--json", str(path)]
    assert main(["sweep", "numpy", name, *over]) == 0
    assert [m.status for m in load_run(path).measurements if m.label == "numpy"] == ["ok", "ok"]
    explorer = Explorer()
    explorer._budget.value = 1
    assert "SystemExit: bye" in explorer.race("numpy", name).data


def test_a_layer_says_what_it_does_where_it_is_used(installed: Callable[[str, str], str]) -> None:
    name = installed(DEEDS["exit"][0], "constructor")
    problem = moe.make_problem(PRESETS["smoke"])
    with pytest.raises(ForeignError, match=r"^SystemExit: bye \(.*raise SystemExit\('bye'\)\)$"):
        create(name, problem.weights, top_k=1)


def test_ctrl_c_stays_what_it_is(installed: Callable[[str, str], str]) -> None:
    name = installed("raise KeyboardInterrupt", "available")
    with pytest.raises(KeyboardInterrupt):
        availability(name)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("return True", "TypeError"),
        ("return [], [], []", "ValueError"),
        ("import numpy; return numpy.ones(2), ''", "truth"),
    ],
)
def test_what_is_no_answer_is_not_run(answer: str, said: str, installed: Callable[[str, str], str]) -> None:
    available, reason = availability(installed(answer, "available"))
    assert not available
    assert said in reason


def test_what_is_no_class_is_not_run(installed: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    installed("pass", "module")
    found = {"odd": EntryPoint("odd", "theirs:__doc__", registry.ENTRY_POINTS)}
    monkeypatch.setattr(registry, "_entry_points", lambda: found)
    assert str(parse_variant("odd")) == "odd"
    available, reason = availability("odd")
    assert (available, "has no attribute 'available'" in reason) == (False, True)
    assert known_lines("odd") == {}


def test_lines_that_cannot_be_counted_are_not_known(installed: Callable[[str, str], str]) -> None:
    name = installed("sources = staticmethod(lambda: exit())", "class")
    assert known_lines(name) == {}


@pytest.mark.parametrize(("own", "said"), [("threads = '1'", "TypeError: 'str' object"), ("library = 'libm.so'", "")])
def test_attributes_are_their_own_affair(own: str, said: str, installed: Callable[[str, str], str]) -> None:
    name = installed(own, "class")
    effort = {"budget_s": 0.5, "processes": 1, "turn_s": 0.0, "warm_up_s": 0.0, "warm_up_most_s": 0.0}
    run = moe.compare(["numpy", name], PRESETS["smoke"].with_tokens(4), progress=False, **effort)
    assert json.loads(run.to_json())
    numpy, theirs, _ = run.measurements
    assert numpy.status == "ok"
    assert theirs.status == ("failed" if said else "ok")
    assert theirs.reason.startswith(said)


@pytest.mark.parametrize("there", [True, False])
def test_one_that_names_its_extra_is_measured_when_named_or_there(
    there: bool, installed: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = installed("pass" if there else "return False, 'pip install theirs[more]'", "available", " [more]")
    assert name not in names()
    assert name in names(peers=True)
    assert (name in installed_names()) == there
    assert main(["list"]) == 0
    assert ("theirs         not run: pip install theirs[more]" in capsys.readouterr().out) != there


def test_an_entry_point_of_no_form_costs_its_own_line(
    installed: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = installed("pass", "module", ":and so on")
    assert name in names()
    assert main(["list"]) == 0
    assert "theirs         not run: " in capsys.readouterr().out


def test_a_plug_in_without_a_description_is_listed(
    installed: Callable[[str, str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    installed("pass", "module")
    theirs = registry.load("theirs")
    assert isinstance(theirs.description, str)  # NumpyLayer's
    registry.load("theirs").__bases__ = (type("Bare", (), {"__init__": lambda self, weights, **_: None}),)
    assert main(["list"]) == 0
    assert "theirs         it does not say what it is" in capsys.readouterr().out


def test_errors_in_words() -> None:
    assert words_of(ValueError("no")) == "ValueError: no"
    assert words_of(ForeignError("SystemExit: 1")) == "SystemExit: 1"
    assert words_of(asyncio.CancelledError("stop")) == "CancelledError: stop"
