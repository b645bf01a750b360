"""Claims files, and verdicts on runs whose times are known."""

from __future__ import annotations

import dataclasses
import json
import shlex
from math import isnan, nan
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

import moe
from moe.analysis.verdicts import (
    FAILED,
    FAILS,
    HOLDS,
    NO_GPU,
    NO_QUANTITY,
    NOT_INSTALLED,
    NOT_MEASURED,
    REGION,
    UNDECIDED,
    UNMEASURABLE,
    VERDICTS,
    Trial,
)
from moe.claims import Claims, load_claims
from moe.cli import main
from moe.config import parse_config
from moe.measure.replay import replay
from moe.report import claims as experiment
from moe.report.claims import trial_of
from moe.report.findings import claims as findings
from moe.report.parameters import NOTEBOOKS
from moe.report.pipeline import try_claims
from moe.run import RunFileError, load_run

from .conftest import validate_run
from .made_claims import PUBLISHED, RATIO, a_claim, a_comparison, a_protocol, a_replay, claims_file
from .opposite import one, other
from .synthetic import synthetic_run
from .synthetic_pages import a_run

MISBEHAVING = Path(__file__).with_name("misbehaving.py")


def judged(folder: Path, quantity: dict[str, Any], claimed: float | list[float], *runs: Any) -> Any:
    """The row of the one claim's verdict."""
    claims = load_claims(claims_file(folder, a_claim("it", quantity, claimed)))
    (row,) = findings.verdicts(Trial(claims, runs or [a_comparison()])).itertuples()
    assert row.reason
    return row


@pytest.mark.parametrize(
    ("quantity", "claimed", "verdict", "measured"),
    [
        (RATIO, 4.0, HOLDS, 4.0),
        (RATIO, [3, 5], HOLDS, 4.0),
        (RATIO, 382.87, FAILS, 4.0),
        (RATIO, 1.0, FAILS, 4.0),
        ({"throughput": "mojo"}, 409_600, HOLDS, 409_600),
        ({"throughput": "torch"}, 23_451_277, FAILS, 204_800),
        ({"ratio": ["mojo", "torch-naive"]}, 4.0, UNMEASURABLE, None),
        ({"none": "it names no program"}, 4.0, UNMEASURABLE, None),
        ({"factor": "simd", "experiment": "inside Mojo"}, 15, UNMEASURABLE, None),
        ({"order": {"a": {"ratio": ["torch", "numpy"]}, "b": RATIO}}, 0, FAILS, 1),
        ({"order": {"b": RATIO, "a": {"ratio": ["torch", "numpy"]}}}, 0, HOLDS, 0),
        ({"order": {"b": RATIO, "a": {"none": "it names nothing"}}}, 0, UNMEASURABLE, None),
        (
            {"order": {"b": RATIO, "a": {"ratio": ["torch", "numpy"]}, "c": {"none": "it names nothing"}}},
            *(0, UNMEASURABLE, 0),
        ),
        ({"ratio": ["numpy", "mojo"]}, [0, 1], HOLDS, 0.25),
    ],
)
def test_a_verdict(
    tmp_path: Path, quantity: dict[str, Any], claimed: Any, verdict: str, measured: float | None
) -> None:
    found = judged(tmp_path, quantity, claimed)
    assert found.verdict == verdict
    assert found.measured == pytest.approx(nan if measured is None else measured, rel=0.03, nan_ok=True)


def test_what_this_run_cannot_tell_is_not_judged(tmp_path: Path) -> None:
    assert judged(tmp_path, RATIO, 4.9, a_comparison(noise=0.2)).verdict == UNMEASURABLE
    few = synthetic_run({"numpy": 0.02, "mojo": 0.005}, (1, 2), rounds=3)
    assert judged(tmp_path, RATIO, 4.0, few).verdict == UNMEASURABLE


CUDA = "torch[device=cuda,transfer=on]"


@pytest.mark.parametrize(
    ("quantity", "claimed", "unjudged"),
    [
        (RATIO, 4.0, ""),
        (RATIO, 382.87, ""),
        ({"throughput": CUDA}, 524_975, NO_GPU),
        ({"ratio": ["mojo", CUDA]}, 44.7, NO_GPU),
        ({"ratio": ["mojo", "no-such-library"]}, 4.0, NOT_INSTALLED),
        ({"ratio": ["mojo", "torch-naive"]}, 4.0, NOT_MEASURED),
        ({"factor": "simd", "experiment": "inside Mojo"}, 15, NOT_MEASURED),
        ({"none": "it names no program"}, 4.0, NO_QUANTITY),
        ({"order": {"a": RATIO, "b": {"ratio": ["torch", "numpy"]}, "c": {"ratio": [CUDA, "torch"]}}}, 0, NO_GPU),
    ],
)
def test_what_keeps_a_claim_from_being_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantity: dict[str, Any], claimed: float, unjudged: str
) -> None:
    monkeypatch.setattr("moe.claims.parse_variant", lambda name: name)
    claims = load_claims(claims_file(tmp_path, a_claim("it", quantity, claimed)))
    not_here = a_replay({CUDA: "no device", "no-such-library": "no module"})
    (row,) = findings.verdicts(Trial(claims, [a_comparison()], not_here)).itertuples()
    assert row.unjudged == unjudged
    assert (row.verdict == UNMEASURABLE) == bool(unjudged)
    kind = unjudged if unjudged in findings.SAID else row.verdict
    assert row.word == findings.SAID[kind][0]
    assert row.beside == (
        ("↑ more" if row.measured > claimed else "↓ less") + " than claimed" if kind == "fails" else row.word
    )


def test_what_the_reader_has_installed_changes_no_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = load_claims(claims_file(tmp_path, a_claim("it", {"ratio": ["mojo", "jax"]}, 4.0)))
    run = a_comparison()

    def asked(*_: object) -> Any:
        raise AssertionError("the reader's machine was asked")

    for asks in ("moe.implementations.contract.find_spec", "moe.implementations.registry.load"):
        monkeypatch.setattr(asks, asked)
    (row,) = findings.verdicts(Trial(claims, [run])).itertuples()
    assert (row.unjudged, row.missing) == (NOT_MEASURED, "jax: not measured at T=1024 d=256 f=1024 E=4 k=2")
    (row,) = findings.verdicts(Trial(claims, [run], a_replay({"jax": "no jax then"}))).itertuples()
    assert (row.unjudged, row.missing) == (NOT_INSTALLED, "jax: no jax then")
    run.measurements[-1] = dataclasses.replace(
        run.measurements[0], label="jax", implementation="jax", status="not_run", reason="no jax here", code="other"
    )
    (row,) = findings.verdicts(Trial(claims, [run])).itertuples()
    assert (row.unjudged, row.missing) == (NOT_INSTALLED, "jax: no jax here")


def test_what_was_measured_and_cannot_be_told_is_undecided(tmp_path: Path) -> None:
    found = judged(tmp_path, RATIO, 4.9, a_comparison(noise=0.2))
    assert (found.verdict, found.unjudged, found.word) == (UNMEASURABLE, UNDECIDED, "? undecided")


def test_what_failed_is_no_library_that_is_missing(tmp_path: Path) -> None:
    run = a_comparison()
    for m in run.measurements:
        if m.label == "mojo":
            m.status, m.samples_s = "failed", []
    assert judged(tmp_path, RATIO, 4.0, run).unjudged == FAILED


def test_a_throughput_that_only_the_replay_has_is_undecided(tmp_path: Path) -> None:
    claims = a_protocol(tmp_path, "numpy[dtype=float64]")
    claims.by_id["it"]["quantity"]["throughput"] = "numpy[dtype=float64]"
    run = replay(claims, 1)
    (row,) = findings.verdicts(Trial(claims, [a_comparison()], run)).itertuples()
    assert row.measured == pytest.approx(8 / (sum(run.measurements[0].samples_s[0]) / 3))
    assert row.unjudged == UNDECIDED
    assert "timed in one process, by the source's own protocol" in row.reason


def test_a_claim_that_holds_elsewhere_holds_in_a_region(tmp_path: Path) -> None:
    elsewhere = synthetic_run({"numpy": 0.08, "mojo": 0.005}, noise=0.01)
    for m in elsewhere.measurements:
        m.config = moe.MoEConfig(8, 64, 128, 4, 2)
    found = judged(tmp_path, RATIO, 16.0, a_comparison(), elsewhere)
    assert found.verdict == REGION
    assert "T=8 d=64" in found.reason
    # A throughput there is that of another layer.
    found = judged(tmp_path, {"throughput": "mojo"}, 1600, a_comparison(), elsewhere)
    assert found.verdict == FAILS


def test_a_factor_is_judged_by_its_share_and_holds_in_a_region_between_least_and_most(tmp_path: Path) -> None:
    run = a_run(together=2.0).run  # simd gives 6 without tiles, 12 with them
    simd = {"factor": "simd", "experiment": "inside Mojo"}
    assert judged(tmp_path, simd, 8.5, run).verdict == HOLDS
    assert judged(tmp_path, simd, 12.0, run).verdict == REGION
    assert judged(tmp_path, simd, 30.0, run).verdict == FAILS
    few = a_run(switches=("simd", "tile")).run
    assert "pool is no factor" in judged(tmp_path, {"factor": "pool", "experiment": "inside Mojo"}, 2, few).missing
    for m in run.measurements:
        m.config = dataclasses.replace(m.config, d_model=64)
    assert "was measured at T=1024 d=64" in judged(tmp_path, simd, 8.5, run).missing


def test_a_claim_that_only_repeats_one_process_varies_as_it_did(tmp_path: Path) -> None:
    run = a_comparison()
    steady, shaky = ([1.0, 1.01, 0.99], [1.0, 1.5, 0.5])
    for m in run.measurements:
        m.processes = list(range(len(m.samples_s)))
        scale = m.samples_s[0][0]
        m.samples_s = [[scale * s for s in (steady if m.label == "mojo" else shaky)] for _ in m.samples_s]
    variation = {"variation": ["mojo", "numpy"]}
    assert judged(tmp_path, variation, [0, 1], run).verdict == HOLDS
    assert judged(tmp_path, variation, [10, 100], run).verdict == FAILS
    # The end of a range is a bound: a tenth more than none more is more.
    more = {"variation": ["numpy", "mojo"]}
    for m in run.measurements:
        m.samples_s = [[1.0, 1.1, 0.9] if m.label == "mojo" else [1.0, 1.12, 0.88] for _ in m.samples_s]
    assert judged(tmp_path, more, [0, 1], run).verdict == FAILS


def test_what_a_claim_implies_is_held_against_the_machines_limits(tmp_path: Path) -> None:
    flops = moe.PRESETS["seed"].flops
    found = judged(tmp_path, {"throughput": "mojo"}, 1024 * 2e12 / flops)  # just what two threads can do
    assert found.flops_per_s == pytest.approx(2e12)
    assert found.share_of_limit == pytest.approx(1.0)
    # A ratio's is its baseline's times as much: NumPy takes 10 ms on two threads.
    found = judged(tmp_path, RATIO, 8.0)
    assert found.flops_per_s == pytest.approx(8 * flops / 0.01, rel=0.03)
    assert isnan(judged(tmp_path, {"none": "nothing"}, 8.0).share_of_limit)


def published() -> Claims:
    return load_claims(PUBLISHED)


def test_the_published_claims_are_all_there() -> None:
    claims = published()
    numbers = {end for claim in claims.by_id.values() for end in claim["claimed"] or ()}
    assert {61252, 3948, 524975, 23451277, 0.06, 8.57, 133, 44.7, 382.87, 15, 2, 1.3, 39, 65, 100, 20} <= numbers
    assert claims.config == moe.PRESETS["seed"]
    for claim in claims.by_id.values():
        if "throughput" in claim["quantity"]:
            assert f"{claim['claimed'][0]:,}" in claim["quote"]


def test_parts_are_multiplied_and_compared_with_the_whole(tmp_path: Path) -> None:
    lines = findings.products(Trial(published(), []))
    assert "8.57 × 44.7 = 383.1 (torch-over-numpy, mojo-over-torch), and 382.87 × is claimed" in lines[0]
    assert lines[0].endswith("they fit.")
    assert "15 × 2 × 1.3 = 39" in lines[1]
    assert lines[1].endswith("they fit.")
    assert lines[2].endswith("they do not fit, by 1.15 times.")
    assert "3–5 × 2 × 2 = 12–20" in lines[3]
    assert lines[3].endswith("they do not fit, by 1.40 times.")
    assert "39 by division, and 1.15 by timing one program twice" in lines[4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("source"), "'source' is a required property"),
        (lambda d: d["claims"].clear(), "claims"),
        (lambda d: d["claims"][0].update(claimed="many"), r"claims\[0\].claimed"),
        (lambda d: d["claims"][0].update(claimed=[5, 3]), "rising range"),
        (lambda d: d["claims"][0].update(quantity={"speed": "mojo"}), r"claims\[0\].quantity"),
        (lambda d: d["claims"][0].update(quantity={"throughput": "mojjo"}), "did you mean mojo"),
        (lambda d: d["claims"][0].update(claimed=float("nan")), "rising range"),
        (lambda d: d["claims"][0].pop("claimed"), "claimed must be given"),
        (lambda d: d["claims"][0].update(quantity={"factor": "smid", "experiment": "inside Mojo"}), "quantity"),
        (lambda d: d["claims"][0].update(quantity={"order": {"a": {"order": {}}, "b": RATIO}}), "quantity"),
        (lambda d: d["claims"].append(d["claims"][0]), "got 'it' twice"),
        (lambda d: d.update(products=[{"parts": ["it", "other"], "whole": "it"}]), "unknown claim 'other'"),
        (lambda d: d["source"].update(layer="sead"), "did you mean seed"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, change: Any, message: str) -> None:
    path = claims_file(tmp_path, a_claim("it", RATIO, 4.0))
    data = yaml.safe_load(path.read_text())
    change(data)
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ValueError, match=message) as error:
        load_claims(path)
    assert str(path) in str(error.value)
    path.write_text("a: [")
    with pytest.raises(ValueError, match="can't be read as claims"):
        load_claims(path)


def test_a_replay_does_what_the_source_did(tmp_path: Path) -> None:
    claims = a_protocol(tmp_path, "numpy[dtype=float64]", f"{MISBEHAVING}:Exits", f"{MISBEHAVING}:GivesNaN", "numpy")
    path = tmp_path / "claims.json"
    replay(claims, 1, path)
    run = load_run(path)
    validate_run(json.loads(path.read_text()))
    assert [m.status for m in run.measurements] == ["ok", "failed", "failed", "ok", "ok"]
    assert "exited with code 3" in run.measurements[1].reason
    assert "disagrees with the reference" in run.measurements[2].reason
    first, *_, divided = Trial(claims, [], run).replayed.itertuples()
    m = run.measurements[0]
    assert [len(turn) for turn in m.samples_s] == [3]
    assert first.replayed == pytest.approx(8 / (sum(m.samples_s[0]) / 3))
    assert not first.hollow
    assert divided.hollow
    assert divided.replayed == pytest.approx(4 * 8 * 3 / sum(run.measurements[-1].samples_s[0]))
    table = BeautifulSoup(findings.replay_table(Trial(claims, [], run)), "html.parser")
    shown = [row.find_all("td")[2].get_text() for row in table.select("tbody tr")]
    assert shown[-1].startswith("(")
    assert not shown[0].startswith("(")
    assert "exited with code 3" in shown[1]
    headings = [heading.get_text() for heading in table.select("th")]
    assert headings[5] == f"× {claims.rows[0]['fair']}"
    assert {row.find_all("td")[5].get_text() for row in table.select("tbody tr")} == {"–"}  # nothing was compared
    assert run.protocol["not_here"] == {}
    with pytest.raises(RunFileError, match="exists"):
        replay(claims, 1, path)


def test_a_claims_file_goes_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given relative to where the command is started, while a notebook runs in the report's folder."""
    a_protocol(tmp_path, "numpy")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report").mkdir()
    asked = experiment.arguments(claims="claims.yaml", threads="1", budget_s=1.0)
    experiment.measure(**asked, path=tmp_path / "report" / "claims.json")
    a_comparison().save(tmp_path / "report" / "comparison.json")
    monkeypatch.chdir(tmp_path / "report")
    trial = experiment.load("claims.json", claims="claims.yaml", threads="1", budget_s=1.0)
    assert list(trial.replayed["name"]) == ["numpy", "divided"]


def test_a_replay_of_another_file_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    run = replay(a_protocol(tmp_path, "numpy"), 1)
    assert Trial(published(), [], run).replayed.empty


@pytest.mark.long
def test_every_claim_has_a_verdict_in_the_report(smoke: Path) -> None:
    """At any profile: what its runs can't tell says so."""
    page = BeautifulSoup((smoke / "claims.html").read_text(), "html.parser")
    rows = page.select("#T_verdicts tbody tr")
    claims = published().by_id
    assert len(rows) == len(claims)
    for row, (name, claim) in zip(rows, claims.items(), strict=True):
        quote, verdict, _, _, why = (cell.get_text() for cell in row.find_all("td"))
        assert quote == f"“{claim['quote']}” ({name})"
        assert verdict in {word for word, *_ in findings.SAID.values()}
        assert len(why) > 5 or verdict == findings.SAID[HOLDS][0]
    trial = trial_of(smoke)
    assert list(trial.verdicts.id) == list(claims)
    assert f"Of {len(claims)} published claims" in page.get_text()


def test_the_command_writes_what_it_found(smoke: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "verdicts.json"
    assert main(["claims", str(PUBLISHED), "--from", str(smoke), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert [entry["id"] for entry in found] == list(published().by_id)
    keys = {"id", "claimed", "measured", "low", "high", "verdict", "why", "reason", "implied_share_of_limit"}
    assert all(set(entry) == keys and entry["verdict"] in VERDICTS for entry in found)
    assert [entry["claimed"] for entry in found if entry["id"] == "gpu"] == [[3, 5]]
    assert all((entry["why"] is not None) == (entry["verdict"] == UNMEASURABLE) for entry in found)
    assert capsys.readouterr().out.count("\n") == len(found) + 1
    assert main(["claims", "nothing.yaml"]) == 2
    assert main(["claims", str(PUBLISHED), "--from", str(tmp_path)]) == 2


def test_without_a_folder_the_command_measures(tmp_path: Path, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measure(profile: str, parameters: dict[str, dict[str, Any]], command: str, *, wait: bool) -> Path:
        assert not wait
        asked.append((profile, parameters, command))
        return smoke

    monkeypatch.setattr("moe.report.pipeline.measure_report", measure)
    path = claims_file(tmp_path, a_claim("it", {"ratio": ["torch-compile", "numpy"]}, 4.0))
    path.write_text(path.read_text().replace("layer: seed", "layer: medium,tokens=7"))
    try_claims(str(path), None, "smoke")
    ((profile, parameters, command),) = asked
    assert profile == "smoke"
    assert shlex.split(command) == ["moe", "claims", str(path), "--profile", "smoke"]
    assert parameters["claims"]["claims"] == str(path)
    compared, broken_down = (parse_config(parameters[name]["config"]) for name in ("comparison", "breakdown"))
    assert (compared.tokens, compared.d_model) == (7, 1024)
    assert "torch-compile" in parameters["comparison"]["implementations"]
    assert (broken_down.tokens, broken_down.d_ff) == (64, 2048)


@pytest.mark.parametrize("quantity", [RATIO, {"none": "it names <script>"}])
def test_a_page_of_one_hostile_claim(
    quantity: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its words are text everywhere; what there is nothing of says so instead of failing."""
    (tmp_path / "asked").mkdir()
    path = claims_file(tmp_path / "asked", a_claim("$x_1^", quantity, 9.0))
    experiment.measure(path, 1, tmp_path / "claims.json")
    beside = a_comparison()
    beside.machine = load_run(tmp_path / "claims.json").machine
    beside.save(tmp_path / "comparison.json")
    shown: list[str] = []
    monkeypatch.setattr("moe.report.show.HTML", shown.append)
    cells = [c.source for c in nbformat.read(NOTEBOOKS / "claims.ipynb", 4).cells if c.cell_type == "code"]
    exec("\n".join([cells[0], f"run = {str(tmp_path / 'claims.json')!r}", *cells[1:]]), {})
    page = "".join(shown)
    assert "<script>" not in page
    assert "The source's protocol was not replayed" in BeautifulSoup(page, "html.parser").get_text()
    asked = BeautifulSoup(page, "html.parser").select("#T_physical tbody tr")
    assert len(asked) == (1 if quantity == RATIO else 0)
    figure = (tmp_path / "figures" / "claims.svg").read_text()
    assert ("none of this was measured" in figure) == (quantity != RATIO)
    assert "none of this was measured" in (tmp_path / "figures" / "replay.svg").read_text()


def test_sentences_follow_the_runs(smoke: Path) -> None:
    fast, slow = (Trial(published(), [run]) for run in (one(), other()))
    assert not set(findings.extremes(fast)) & set(findings.extremes(slow))
    assert findings.counts(fast) != findings.counts(slow)
    assert findings.ratios_sentence(fast) != findings.ratios_sentence(slow)
    assert "was not replayed" in findings.replay_sentence(fast)
    assert "as published" in findings.replay_sentence(trial_of(smoke))
