"""The list of the notebooks' parameters, which is what they say of themselves."""

from __future__ import annotations

import re

import pytest

from moe.cli import main
from moe.report.parameters import NOTEBOOKS, RUN, load_profile, read_parameters
from moe.report.pipeline import EXPERIMENTS


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What is said of each notebook."""
    assert main(["report", "--parameters"]) == 0
    parts = re.split(r"^(\w+):\n", capsys.readouterr().out, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_parameter_is_listed_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    found = listed(capsys)
    assert list(found) == list(EXPERIMENTS)
    for notebook, text in found.items():
        named = re.findall(r"^  (\w+) \((?:int|float|str|bool)\): \S", text, flags=re.MULTILINE)
        assert [*named, RUN] == [*(k for k in read_parameters(NOTEBOOKS / f"{notebook}.ipynb") if k != RUN), RUN]
        assert RUN not in named


def test_values_are_each_profiles_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = listed(capsys)["comparison"]
    for profile in ("smoke", "quick", "full"):
        chosen = load_profile(profile)["comparison"]
        assert re.search(rf"  budget_s \(float\): .*\n(?:      .*\n)*      {profile}: {chosen['budget_s']}\n", text)
    assert '  threads (str): 1, 2, 4 … and all cores, or numbers like "1,2"\n      every profile: "auto"\n' in text
