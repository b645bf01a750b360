"""The breakdown's experiments, and what is said of runs whose factors are known."""

from __future__ import annotations

from math import isnan

import numpy as np
import pandas as pd
import pytest

import moe
from moe.analysis.breakdown import CONTROLLED, SWITCHES, THREADS, Breakdown, inside_mojo, to_pytorch, variants_of
from moe.analysis.factors import steps
from moe.implementations import parse_variant
from moe.report import breakdown, figures, sentences, tables
from moe.report.findings import breakdown as said
from moe.run import Measurement

from .synthetic_pages import ROUNDS, a_run

FACTORS = (*SWITCHES, THREADS)


def chain_of(found: Breakdown, name: str) -> pd.DataFrame:
    """The steps of the ladder or the bridge."""
    rows = steps(found.run)
    return rows[rows.chain == name]


def step_of(found: Breakdown, place: int) -> Measurement:
    """What was measured at a step of the ladder."""
    step = chain_of(found, "ladder").iloc[place]
    return next(m for m in found.run.measurements if (m.label, m.threads) == (step.label, step.threads))


def text_of(found: Breakdown) -> str:
    """What the page says of both experiments."""
    rows = moe.factors(found.run)
    both = [said.split(found, rows, name) for name in ("mojo", "numpy to torch")]
    return " ".join([*said.headline(found, rows), *both, *sentences.trust(found.summary, found.run)])


def test_every_combination_is_a_variant_that_exists() -> None:
    mojo, framework = inside_mojo(SWITCHES, with_threads=True), to_pytorch(with_threads=True)
    assert len({(p.variant, p.all_threads) for p in mojo.places()}) == 64
    assert len({(p.variant, p.all_threads) for p in framework.places()}) == 16
    names = variants_of([mojo, framework])
    assert len(names) == 32 + 8
    assert names[0] == CONTROLLED
    assert [str(parse_variant(name)) for name in names] == names


def test_what_is_no_factor_is_on() -> None:
    places = inside_mojo(["simd"], with_threads=False).places()
    assert [p.variant for p in places] == [
        "mojo[batch=on,simd=off,tile=on,specialize=on,pool=on]",
        "mojo[batch=on,simd=on,tile=on,specialize=on,pool=on]",
    ]
    assert all(p.all_threads for p in places)


def test_factors_come_back_from_a_run() -> None:
    found = a_run()
    factors = {f.name: f.times.value for f in found.attribution(found.mojo).factors}
    expected = {"batch": 1.5, "simd": 6.0, "tile": 2.0, "specialize": 1.0, "pool": 1.1, "threads": 2**0.9}
    assert factors == pytest.approx(expected, rel=0.02)
    framework = {f.name: f.times.value for f in found.attribution(found.framework).factors}
    assert framework["float32"] == pytest.approx(2, rel=0.02)
    assert framework["framework"] == pytest.approx(1.3, rel=0.02)
    assert framework["batch"] == pytest.approx(1.5, rel=0.02)


def test_ladder_and_bridge_multiply_to_their_ends() -> None:
    found = a_run()
    for name in ("ladder", "bridge"):
        chain = chain_of(found, name)
        assert isnan(chain.step_times.iloc[0])
        assert chain.step_times.prod() == pytest.approx(chain.so_far.iloc[-1], rel=1e-12)
    assert list(chain_of(found, "ladder").turned_on) == ["nothing", *FACTORS]
    assert list(chain_of(found, "bridge").label) == [
        "numpy[dtype=float64,batch=off]",
        "numpy[dtype=float64,batch=on]",
        *["numpy[dtype=float32,batch=on]"] * 2,
        "torch[dtype=float32]",
        "mojo[batch=on,simd=on,tile=on,specialize=on,pool=on]",
    ]


def test_a_variant_that_failed_is_named_and_the_rest_goes_on() -> None:
    found = a_run()
    broken = next(m for m in found.run.measurements if "simd=off" in m.variant)
    broken.status, broken.reason, broken.samples_s, broken.processes = "failed", "killed by SIGSEGV", [], []
    with pytest.raises(ValueError, match=r"inside Mojo: .*: killed by SIGSEGV"):
        found.attribution(found.mojo)
    rows, chains = moe.factors(found.run), steps(found.run)
    assert "killed by SIGSEGV" in text_of(found)
    assert "from NumPy to PyTorch all of batch" in text_of(found)
    assert "none was measured" in tables.factors(rows, "mojo")
    assert figures.factors(rows, "mojo").empty
    assert chain_of(found, "ladder").empty  # its first step failed
    assert "its first or its last step was not measured" in said.chain(chains, "ladder")
    assert "<figure" not in figures.show_steps(chains, "ladder", "ladder", "why", None).data


def test_what_failed_after_some_rounds_has_no_results() -> None:
    found = a_run()
    step = step_of(found, 2)
    step.status, step.reason = "failed", "killed by SIGKILL"
    assert found.missing(found.mojo) == [f"{step.variant}: killed by SIGKILL"]
    chain = chain_of(found, "ladder")
    assert list(chain.turned_on) == ["nothing", "batch", "simd + tile", "specialize", "pool", "threads"]
    assert chain.step_times.iloc[2] == pytest.approx(12, rel=0.02)
    assert len(figures.waterfall(chain).axes[0].get_yticks()) == len(chain)
    assert ">simd + tile<" in tables.steps(chain, "ladder")


def test_without_a_process_in_common_nothing_is_resolved() -> None:
    found = a_run()
    late = step_of(found, -1)
    late.processes = [9 + p for p in late.processes]
    split = found.attribution(found.mojo)
    assert split.total.value == pytest.approx(1.5 * 6 * 2 * 1.1 * 2**0.9, rel=0.5)
    assert not split.total.bounded
    assert not any((split.resolved, *(factor.resolved for factor in split.factors)))
    assert list(chain_of(found, "ladder").resolved) == [False, True, True, True, False, True, False]
    assert "there is nothing to split" in text_of(found)


def test_rounds_that_not_all_variants_have_count() -> None:
    """With 79 variants and a tenth of their turns disturbed hardly any round has all of them."""
    found = a_run()
    random = np.random.default_rng(5)
    for m in found.run.measurements:
        m.rounds = list(range(ROUNDS))
        m.disturbed = [bool(out) for out in random.random(ROUNDS) < 0.1]
        m.samples_s = [[s * (1 + out) for s in turn] for turn, out in zip(m.samples_s, m.disturbed, strict=True)]
    assert all(any(m.disturbed[r] for m in found.run.measurements) for r in range(ROUNDS))
    split = found.attribution(found.mojo)
    factors = {f.name: f.times.value for f in split.factors}
    expected = {"batch": 1.5, "simd": 6.0, "tile": 2.0, "specialize": 1.0, "pool": 1.1, "threads": 2**0.9}
    assert factors == pytest.approx(expected, rel=0.02)
    assert [f.name for f in split.factors if f.resolved] == [name for name in FACTORS if name != "specialize"]
    assert list(chain_of(found, "ladder").resolved) == [False, True, True, True, False, True, True]
    assert chain_of(found, "ladder").so_far_resolved.iloc[1:].all()


def test_a_disturbed_variant_takes_the_intervals_of_what_it_is_in() -> None:
    found = a_run()
    step_of(found, 2).disturbed = [True] * ROUNDS
    split = found.attribution(found.mojo)
    assert split.resolved  # by the variants at the ends
    assert not any(factor.resolved or factor.times.bounded for factor in split.factors)
    chain = chain_of(found, "ladder")
    assert list(chain.step_times_high.notna()) == [False, True, False, False, *[True] * 3]
    assert chain.so_far.iloc[2] == pytest.approx(9, rel=0.02)
    assert not chain.so_far_resolved.iloc[2]


def test_what_was_not_asked_for_is_not_said_to_be_missing() -> None:
    found = a_run()
    found.run.measurements = [
        m for m in found.run.measurements if m.implementation == "mojo" or m.variant == CONTROLLED
    ]
    rows = moe.factors(found.run)
    assert "inside Mojo" in text_of(found)
    assert "PyTorch" not in " ".join(said.headline(found, rows))
    assert "was not asked for" in said.split(found, rows, "numpy to torch")
    assert "was not asked for" in said.interactions(found, rows, "numpy to torch")
    assert figures.factors(rows, "numpy to torch").empty
    assert chain_of(found, "bridge").empty


def test_sentences_follow_the_run() -> None:
    rows = moe.factors((found := a_run()).run)
    text = said.split(found, rows, "mojo")
    parts = text.split("accounts for, on a log scale: ")[1].split("; ")
    assert parts[0].startswith("simd 5")  # log 6 of log 36.9 is half of it
    assert next(part for part in parts if "specialize" in part).rstrip(".").endswith("not resolved)")
    assert "No two factors" in said.interactions(found, rows, "mojo")
    flat = a_run(("specialize",), threads=(1,))
    assert "there is nothing to split" in said.split(flat, moe.factors(flat.run), "mojo")
    assert "framework" in said.chain(steps(found.run), "bridge")


def test_one_core_has_no_threads_to_turn_on() -> None:
    found = a_run(("simd",), threads=(1,))
    assert found.mojo.factors == ("simd",)
    assert found.framework.factors == ("batch", "float32", "framework")
    assert found.attribution(found.mojo).total.value == pytest.approx(6, rel=0.02)
    assert len(chain_of(found, "ladder")) == 2


def test_tables_hold_every_factor_and_step() -> None:
    found = a_run()
    html = tables.factors(moe.factors(found.run), "mojo")
    assert all(f">{name}<" in html for name in FACTORS)
    ladder = tables.steps(steps(found.run), "ladder")
    assert all(f">{name}<" in ladder for name in FACTORS)


def test_lines_of_a_step_are_those_that_were_counted_where_it_was_measured() -> None:
    found = a_run()
    assert "lines of Mojo" not in tables.steps(steps(found.run), "ladder")
    for m in found.run.measurements:
        m.details["kernel_lines"] = {"nothing": 700, "tile": 123, "threads": 45}
    chains = steps(found.run)
    assert list(chain_of(found, "ladder").lines.dropna()) == [700, 123, 45]
    assert ">123<" in tables.steps(chains, "ladder")
    assert "lines of Mojo" not in tables.steps(chains, "bridge")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"switches": " "}, "switches must name at least one of batch, simd"),
        ({"switches": "simt"}, "unknown switch 'simt'; did you mean simd"),
        ({"sizes": "0, 8, 32"}, "sizes must be numbers of tokens like 1, 8, 64, got '0, 8, 32'"),
        ({"precisions": "1, 16, 256"}, "precisions must be one or two numbers of tokens like 1, 256, got '1, 16"),
        ({"precisions": "0"}, "precisions must be one or two numbers of tokens like 1, 256, got '0'"),
        ({"sizes": "few"}, "sizes must be numbers of tokens like 1, 8, 64, got 'few'"),
        ({"threads": "x"}, "threads must be auto or numbers"),
        ({"budget_s": 0.0}, "budget_s must be a number greater than 0"),
        ({"config": "smoke,top_k=9"}, "top_k must be at most"),
        ({"config": "smoky"}, "unknown preset or model 'smoky'; did you mean smoke"),
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object], message: str) -> None:
    right = {
        **{"config": "tokens=16,d_model=8,d_ff=8", "switches": "simd"},
        **{"frameworks": True, "sizes": "1, 8", "threads": "1,2", "budget_s": 1.0, "processes": 2},
        "precisions": "1, 256",
    }
    assert breakdown.arguments(**right)["implementations"][0] == CONTROLLED
    with pytest.raises(ValueError, match=message):
        breakdown.arguments(**{**right, **wrong})
