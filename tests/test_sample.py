"""The committed sample report is one that this code could have made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from moe.report.findings.words import MOST_WORDS, words_in
from moe.report.pipeline import EXPERIMENTS
from moe.run import load_run

from .conftest import validate_run

SAMPLE = Path(__file__).parent.parent / "docs" / "sample"


@pytest.mark.parametrize("name", ["index", *EXPERIMENTS])
def test_links_lead_to_files_or_sections(name: str) -> None:
    page = BeautifulSoup((SAMPLE / f"{name}.html").read_text(), "html.parser")
    for link in page.select('a:not([href^="https://"])'):
        target = str(link["href"]).removesuffix("#report")
        assert page.find(id=target[1:]) if target.startswith("#") else (SAMPLE / target).exists(), target


def test_its_findings_are_those_of_its_runs() -> None:
    index = BeautifulSoup((SAMPLE / "index.html").read_text(), "html.parser").get_text()
    index = index.replace("\N{NO-BREAK SPACE}", " ")
    for name, experiment in EXPERIMENTS.items():
        validate_run(json.loads((SAMPLE / f"{name}.json").read_text()))
        said = list(experiment.findings(SAMPLE / f"{name}.json").headline)
        assert words_in(said) <= MOST_WORDS
        assert all(line in index for line in said)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_its_runs_name_no_folder_of_the_machine_that_made_them(name: str) -> None:
    run = load_run(SAMPLE / f"{name}.json")
    files = {file for m in run.measurements for file in m.details.get("files", {}).values()}
    assert files
    assert not {file for file in files if Path(file).is_absolute() or ":" in file}
