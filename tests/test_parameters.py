"""The list of the notebooks' parameters, which is what they say of themselves."""

from __future__ import annotations

import re

import pytest

from moe.cli import main
from moe.config import MoEConfig, parse_config
from moe.report.parameters import FIELDS, NOTEBOOKS, RUN, read_parameters, resolve
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
    assert found["claims"].rstrip().endswith(", ".join(FIELDS))


def layers(*assignments: str) -> tuple[MoEConfig, MoEConfig]:
    """The layers of the comparison and of the breakdown at profile `quick`."""
    found = resolve("quick", assignments, ["comparison", "breakdown"])
    return parse_config(found["comparison"]["config"]), parse_config(found["breakdown"]["config"])


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_a_profile_means_one_layer_on_both_pages(profile: str) -> None:
    compared, broken_down = (
        parse_config(found["config"]) for found in resolve(profile, [], ["comparison", "breakdown"]).values()
    )
    assert broken_down == compared.with_tokens(broken_down.tokens)


def test_a_layers_fields_are_given_by_themselves_or_together() -> None:
    wide, wide_too = layers("num_experts=1", "top_k=1", "d_model=32")
    assert (wide.num_experts, wide.top_k, wide.d_model) == (1, 1, 32)
    assert wide_too == wide.with_tokens(32)
    assert layers("tokens=8", "config=small") == (parse_config("small,tokens=8"),) * 2  # in any order
    assert layers("config=small") == (parse_config("small"), parse_config("small,tokens=32"))
    with pytest.raises(ValueError, match="unknown parameter 'd_modle'; did you mean d_model"):
        layers("d_modle=8")


def test_values_are_each_profiles_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = listed(capsys)["comparison"]
    for profile in ("smoke", "quick", "full"):
        chosen = resolve(profile, [], ["comparison"])["comparison"]
        assert re.search(rf"  budget_s \(float\): .*\n(?:      .*\n)*      {profile}: {chosen['budget_s']}\n", text)
    assert '  threads (str): 1, 2, 4 … and all cores, or numbers like "1,2"\n      every profile: "auto"\n' in text
