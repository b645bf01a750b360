"""The breakdown's experiments, and what is said of runs whose factors are known."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import pytest

import moe
from moe.analysis.breakdown import CONTROLLED, SWITCHES, THREADS, Breakdown, inside_mojo, to_pytorch, variants_of
from moe.implementations import parse_variant
from moe.measure.plan import plan
from moe.report import breakdown, breakdown_figures, breakdown_views
from moe.run import Run

from .synthetic import MACHINE, PARITY, PROTOCOL

FACTORS = (*SWITCHES, THREADS)
SPEED = {"batch=on": 1.5, "simd=on": 6.0, "tile=on": 2.0, "specialize=on": 1.0, "pool=on": 1.1, "dtype=float32": 2.0}
ROUNDS = 12


def a_run(
    switches: tuple[str, ...] = SWITCHES,
    threads: tuple[int, ...] = (1, 2),
    noise: float = 0.01,
    speed: Mapping[str, float] = SPEED,
    together: float = 1.0,
) -> Breakdown:
    """Every variant takes the time that its options and threads say; PyTorch is 1.3 times as fast as NumPy.

    Vectors and tiles give `together` times as much together as apart.
    """
    random = np.random.default_rng(8)
    several = len(threads) > 1
    names = variants_of([inside_mojo(switches, with_threads=several), to_pytorch(with_threads=several)])
    measurements = plan([parse_variant(name) for name in names], moe.PRESETS["seed"], threads)
    drift = np.cumsum(random.normal(0, 0.05, ROUNDS))
    for m in measurements:
        gain = prod(times for option, times in speed.items() if option in m.variant) * m.threads**0.9
        gain *= together if "simd=on" in m.variant and "tile=on" in m.variant else 1.0
        gain *= 1.3 if m.implementation.startswith("torch") else 1.0
        gain *= 1.5 if m.implementation == "torch" else 1.0
        m.status, m.parity, m.processes = "ok", PARITY, [i * 4 // ROUNDS for i in range(ROUNDS)]
        m.samples_s = [[float(s)] * 3 for s in np.exp(drift + random.normal(0, noise, ROUNDS)) / gain]
        m.others_cores = m.stolen_cores = [0.0] * ROUNDS
    run = Run(
        dict(MACHINE),
        {"moe": "1", "python": "3"},
        {**PROTOCOL, "threads": list(threads)},
        measurements,
        complete=True,
    )
    return Breakdown(run)


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
    for steps in (found.ladder(), found.bridge()):
        last = steps[-1].so_far
        assert last is not None
        assert steps[0].times is None
        assert prod(s.times.value for s in steps if s.times) == pytest.approx(last.value, rel=1e-12)
    assert [s.turned_on for s in found.ladder()] == ["nothing", *FACTORS]
    assert [s.measurement.variant for s in found.bridge()] == [
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
    text = " ".join(breakdown_views.headline(found))
    assert "killed by SIGSEGV" in text
    assert "from NumPy to PyTorch all of batch" in text
    assert "nothing" in breakdown_views.split_table(found, found.mojo)
    assert breakdown_figures.split(found, found.mojo)
    assert breakdown_figures.ladder(found)
    assert found.ladder() == []  # its first step failed
    assert "its first or its last step was not measured" in breakdown_views.ladder(found)


def test_what_failed_after_some_rounds_has_no_results() -> None:
    found = a_run()
    step = found.ladder()[2].measurement
    step.status, step.reason = "failed", "killed by SIGKILL"
    assert found.missing(found.mojo) == [f"{step.variant}: killed by SIGKILL"]
    steps = found.ladder()
    assert [s.turned_on for s in steps] == ["nothing", "batch", "simd + tile", "specialize", "pool", "threads"]
    assert steps[2].times is not None
    assert steps[2].times.value == pytest.approx(12, rel=0.02)
    assert breakdown_figures.ladder(found)
    assert ">simd + tile<" in breakdown_views.steps_table(found, "ladder", steps)


def test_without_a_process_in_common_nothing_is_resolved() -> None:
    found = a_run()
    late = found.ladder()[-1].measurement
    late.processes = [9 + p for p in late.processes]
    split = found.attribution(found.mojo)
    assert split.total.value == pytest.approx(1.5 * 6 * 2 * 1.1 * 2**0.9, rel=0.5)
    assert not split.total.bounded
    assert not any((split.resolved, *(factor.resolved for factor in split.factors)))
    assert [step.resolved for step in found.ladder()] == [False, True, True, True, False, True, False]
    assert "there is nothing to split" in breakdown_views.split(found, found.mojo)
    assert breakdown_views.headline(found)


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
    assert [step.resolved for step in found.ladder()] == [False, True, True, True, False, True, True]
    assert all(step.so_far_resolved for step in found.ladder()[1:])


def test_a_disturbed_variant_takes_the_intervals_of_what_it_is_in() -> None:
    found = a_run()
    found.ladder()[2].measurement.disturbed = [True] * ROUNDS
    split = found.attribution(found.mojo)
    assert split.resolved  # by the variants at the ends
    assert not any(factor.resolved or factor.times.bounded for factor in split.factors)
    steps = found.ladder()
    assert [bool(step.times and step.times.bounded) for step in steps] == [False, True, False, False, *[True] * 3]
    assert steps[2].so_far is not None
    assert steps[2].so_far.value == pytest.approx(9, rel=0.02)
    assert not steps[2].so_far_resolved


def test_what_was_not_asked_for_is_not_said_to_be_missing() -> None:
    found = a_run()
    found.run.measurements = [
        m for m in found.run.measurements if m.implementation == "mojo" or m.variant == CONTROLLED
    ]
    text = " ".join(breakdown_views.headline(found))
    assert "inside Mojo" in text
    assert "PyTorch" not in text
    assert "was not asked for" in breakdown_views.interactions(found, found.framework)
    assert breakdown_figures.split(found, found.framework)
    assert breakdown_figures.bridge(found)


def test_sentences_follow_the_run() -> None:
    text = breakdown_views.split(found := a_run(), found.mojo)
    parts = text.split("accounts for: ")[1].split("; ")
    assert parts[0].startswith("simd 5")  # log 6 of log 36.9 is half of it
    assert next(part for part in parts if "specialize" in part).rstrip(".").endswith("not resolved)")
    assert "No two factors" in breakdown_views.interactions(found, found.mojo)
    flat = a_run(("specialize",), threads=(1,))
    assert "there is nothing to split" in breakdown_views.split(flat, flat.mojo)
    assert "framework" in breakdown_views.bridge(found)


def test_one_core_has_no_threads_to_turn_on() -> None:
    found = a_run(("simd",), threads=(1,))
    assert found.mojo.factors == ("simd",)
    assert found.framework.factors == ("batch", "float32", "framework")
    assert found.attribution(found.mojo).total.value == pytest.approx(6, rel=0.02)
    assert len(found.ladder()) == 2


def test_tables_hold_every_factor_and_step() -> None:
    found = a_run()
    html = breakdown_views.split_table(found, found.mojo)
    assert all(f">{name}<" in html for name in FACTORS)
    ladder = breakdown_views.steps_table(found, "ladder", found.ladder())
    assert all(f">{name}<" in ladder for name in FACTORS)
    assert "lines of Mojo" in ladder
    assert "lines of Mojo" not in breakdown_views.steps_table(found, "bridge", found.bridge())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"switches": " "}, "switches must name at least one of batch, simd"),
        ({"switches": "simt"}, "unknown switch 'simt'; did you mean simd"),
        ({"sizes": "0, 8, 32"}, "sizes must be numbers of tokens like 1, 8, 64, got '0, 8, 32'"),
        ({"sizes": "few"}, "sizes must be numbers of tokens like 1, 8, 64, got 'few'"),
        ({"threads": "x"}, "threads must be auto or numbers"),
        ({"budget_s": 0.0}, "budget_s must be a number greater than 0"),
        ({"config": "smoke,top_k=9"}, "top_k must be at most"),
        ({"config": "smoky"}, "unknown preset 'smoky'; did you mean smoke"),
    ],
)
def test_wrong_parameters_are_refused(wrong: dict[str, object], message: str) -> None:
    right = {
        **{"config": "tokens=16,d_model=8,d_ff=8", "switches": "simd"},
        **{"frameworks": True, "sizes": "1, 8", "threads": "1,2", "budget_s": 1.0, "processes": 2},
    }
    assert breakdown.arguments(**right)["implementations"][0] == CONTROLLED
    with pytest.raises(ValueError, match=message):
        breakdown.arguments(**{**right, **wrong})
