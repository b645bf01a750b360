"""What the first screen says, for what a run can find: at most three plain sentences of 80 words together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle

import moe
from moe.analysis import summarise
from moe.analysis.breakdown import CONTROLLED, Breakdown
from moe.report.findings import breakdown, comparison
from moe.report.findings.words import MOST_WORDS, words_in
from moe.run import Run

from .synthetic import synthetic_run
from .synthetic_pages import a_run

MOST_SENTENCES = 3
FAST: Mapping[str, float] = {"numpy": 0.02, "torch": 0.015, "mojo": 0.01}


def checked(lines: list[str]) -> list[str]:
    assert len(lines) <= MOST_SENTENCES
    assert words_in(lines) <= MOST_WORDS
    assert all(line.endswith(".") and "nan" not in line for line in lines)
    return lines


def said(run: Run) -> list[str]:
    return checked(comparison.headline(summarise(run)))


def made(seconds: Mapping[str, float] = FAST, noise: float = 0.02, rounds: int = 12) -> Run:
    """On one thread and on two, with limits."""
    run = synthetic_run(dict(seconds), (1, 2), rounds=rounds, noise=noise)
    return with_limits(run, 2.5e11)


def with_limits(run: Run, flops_per_s: float, read_bytes_per_s: float = 1e12) -> Run:
    probes = [{"bytes": 2**22, "read_bytes_per_s": read_bytes_per_s, "triad_bytes_per_s": read_bytes_per_s}]
    run.limits = [{"threads": t, "by": "probes", "flops_per_s": flops_per_s * t, "bandwidth": probes} for t in (1, 2)]
    return run


def without(run: Run, label: str, reason: str) -> Run:
    for m in run.measurements:
        if m.label == label:
            m.status, m.reason, m.samples_s, m.processes = "not_run", reason, [], []
    return run


def test_mojo_is_the_fastest() -> None:
    fastest, limit, sure = said(made())
    assert fastest == (
        "At 1,024 tokens Mojo is the fastest: on 1 thread 1.50 × [1.46–1.54] as fast as PyTorch, the next, and "
        "1.97 × NumPy; on 2 threads 1.53 × [1.46–1.55] PyTorch and 2.03 × NumPy."
    )
    reached = "Mojo reaches 85 and 87 % of what the machine can calculate on 1 and 2 threads, NumPy 43.2 and 43 %."
    assert limit == reached
    assert sure == "How sure: clear (NumPy timed twice differs by up to 4.9 %)."


def test_the_next_is_numpy_itself_and_is_said_once() -> None:
    fastest = said(made({"numpy": 0.02, "torch": 0.03, "mojo": 0.01}))[0]
    assert "] as fast as NumPy, the next; on 2 threads 2.03 × [1.94–2.12] NumPy." in fastest
    assert fastest.count("NumPy") == 2


def test_another_is_faster() -> None:
    fastest, limit, _ = said(made({"numpy": 0.02, "torch": 0.008, "mojo": 0.01}, noise=0.01))
    assert "PyTorch is the fastest: on 1 thread 1.25 × [1.23–1.27] as fast as Mojo, and 2.50 × NumPy; on" in fastest
    assert limit.startswith("PyTorch reaches")


def test_mojo_is_ahead_on_one_thread_and_behind_on_two() -> None:
    run = made(noise=0.01)
    for m in run.measurements:
        if m.label == "mojo" and m.threads == 2:
            m.samples_s = [[3 * s for s in turn] for turn in m.samples_s]
    fastest, limit, _ = said(run)
    assert "Mojo is the fastest: on 1 thread 1.5" in fastest
    assert "; PyTorch is the fastest: on 2 threads 1.98 × [1.97–2.03] as fast as Mojo, and 1.3" in fastest
    assert limit.startswith("Mojo reaches 85.7 % on 1 thread and PyTorch reaches 57.2 % on 2 threads of what")


def test_a_difference_is_not_resolved() -> None:
    fastest = said(made({"numpy": 0.0100, "torch": 0.0101, "mojo": 0.0100}, noise=0.1))[0]
    assert "Mojo and NumPy, the best other, can't be told apart on 1 thread (0." in fastest
    assert fastest.count("can't be told apart") == 1
    assert "is the fastest" not in fastest


def test_ahead_of_the_next_and_not_resolved_from_the_baseline() -> None:
    run = made({"numpy": 0.0112, "torch": 0.011, "mojo": 0.01}, noise=0.001)
    for m in run.measurements:
        if m.label == "numpy" and not m.control:
            swings = cycle((1.3, 0.75, 1.25, 0.8))
            m.samples_s = [[swing * s for s in turn] for turn, swing in zip(m.samples_s, swings, strict=False)]
    fastest, _, sure = said(run)
    assert sure.startswith("How sure: usable, sizes are rough (")
    assert (
        "Mojo is faster than PyTorch: on 1 thread 1.10 × [1.10–1.10] as fast as PyTorch, the next, but can't be"
        in fastest
    )
    assert "; on 2 threads 1.10 × [1.10–1.10] PyTorch, but can't be told from NumPy." in fastest
    assert "is the fastest" not in fastest


def test_what_is_too_noisy_has_no_ranking() -> None:
    fastest, limit, sure = said(made(noise=1.5))
    assert fastest == "At 1,024 tokens noise hides which is fastest on 1 thread and on 2 threads."
    assert limit == "Nor can it be told how near that is to the machine's limit."
    assert sure.startswith("How sure: too noisy to cite (")
    half = made(noise=0.01)
    for m in half.measurements:
        m.disturbed = [m.threads == 2 and place > 2 for place in range(len(m.samples_s))]
    fastest, limit, _ = said(half)
    assert fastest.endswith(" NumPy; noise hides which is fastest on 2 threads.")
    assert limit.startswith("Mojo reaches ")
    assert "on 2 threads" not in limit


def test_too_few_rounds_leave_it_undecided() -> None:
    fastest, _, sure = said(made(rounds=3))
    assert "the fastest is undecided on 1 thread (Mojo about 1.5 × PyTorch) and on 2 threads (Mojo" in fastest
    assert sure == "How sure: not known (3 rounds, 4 needed: --budget 80)."


def test_mojo_is_missing() -> None:
    run = without(made(noise=0.01), "mojo", "no compiler here: " + "install one " * 20)
    fastest, limit, _ = said(run)
    assert fastest.startswith("Mojo was not measured (no compiler here: install one")
    assert (
        "…); at 1,024 tokens PyTorch is the fastest: on 1 thread 1.33 × [1.31–1.35] as fast as NumPy; on 2 threads"
        in fastest
    )
    assert limit.startswith("PyTorch reaches")
    same = without(made({"numpy": 0.02, "torch": 0.0199, "mojo": 0.01}, noise=0.1), "mojo", "gone")
    assert "NumPy and PyTorch can't be told apart on 1 thread and on 2 threads." in said(same)[0]
    ahead = without(made({"numpy": 0.02, "torch": 0.019, "mojo": 0.01}, noise=0.1), "mojo", "gone")
    assert "PyTorch and NumPy can't be told apart on 1 thread (1.0" in said(ahead)[0]
    alone = without(without(made(), "mojo", "gone"), "torch", "gone")
    assert "NumPy is the fastest on 1 thread and on 2 threads." in said(alone)[0]
    few = without(made(rounds=3, noise=0.0), "mojo", "gone")
    assert "the fastest is undecided on 1 thread (PyTorch about 1.3 × NumPy)" in said(few)[0]


def test_nothing_was_measured() -> None:
    run = synthetic_run({"numpy": 0.02})
    for m in run.measurements:
        m.status, m.reason, m.samples_s, m.processes = "failed", "killed by SIGKILL", [], []
    assert said(run) == ["Nothing was measured: killed by SIGKILL."]
    assert said(replace(run, measurements=[])) == ["Nothing was measured."]


def test_what_limits_it() -> None:
    assert "of what the machine can read from memory" in said(with_limits(made(), 1e15, 9e8))[1]
    assert "(limit not measured well)" in said(with_limits(made(), 1e11))[1]
    run = made()
    run.limits = []
    assert said(run)[1] == "The machine's limit was not measured, so nothing is said of how near this is to it."


def test_how_sure_it_is() -> None:
    def sure(run: Run) -> str:
        return said(run)[2]

    assert sure(made(noise=0.01)).startswith("How sure: clear (NumPy timed twice differs by up to ")
    assert sure(made(noise=0.15)).startswith("How sure: usable, sizes are rough (")
    half = made(noise=0.01)
    for m in (m for m in half.measurements if m.control and m.threads == 2):
        m.samples_s = [[s * 1.3 ** (place % 2) for s in turn] for place, turn in enumerate(m.samples_s)]
    assert re.fullmatch(
        r"How sure: clear on 1 thread \(NumPy timed twice differs by up to 2.1 %\), usable on 2 \(\d+ %\)\.",
        sure(half),
    )
    noisy = sure(made(noise=1.5))
    assert noisy.startswith("How sure: too noisy to cite (NumPy timed twice differs by up to ")
    assert "%" not in noisy
    disturbed = made(noise=0.01)
    for m in disturbed.measurements:
        m.disturbed = [m.threads == 2 and place > 2 for place in range(len(m.samples_s))]
    assert sure(disturbed).startswith("How sure: clear on 1 thread (NumPy timed twice differs by up to 2.1 %), ")
    assert sure(disturbed).endswith(", too noisy on 2 (36 of 48 turns were disturbed).")
    cut = made(noise=0.01)
    cut.complete = False
    assert sure(cut).endswith("; the run was cut short.")


def of_breakdown(found: Breakdown) -> list[str]:
    return checked(breakdown.headline(found, moe.factors(found.run)))


def test_what_makes_mojo_fast() -> None:
    mojo, framework, sure = of_breakdown(a_run())
    assert mojo.startswith("Optimisations and threads make Mojo's kernel 3")
    assert re.search(r"× \[3[\d.]+–3[\d.]+\] its plain version at 1,024 tokens: mostly vector ", mojo)
    assert "vector instructions (simd, 6.0" in mojo
    assert framework.startswith("Against plain NumPy (float64, token by token, fewer threads) PyTorch is ")
    assert "] as fast at 1,024 tokens: mostly float32 (2.0" in framework
    assert sure.startswith("How sure: clear (NumPy timed twice")


def test_a_factor_as_large_as_the_last_that_is_named_is_named_too() -> None:
    alike = a_run(speed={"simd=on": 6.0, "tile=on": 2.0, "batch=on": 2.0})
    (mojo, *_) = of_breakdown(alike)
    assert "mostly vector instructions (simd, 6.0" in mojo
    assert "tile, 2.0" in mojo
    assert "batch, 2.0" in mojo


def test_optimisations_that_make_it_slower_or_do_nothing() -> None:
    slow, *_ = of_breakdown(a_run(speed={"simd=on": 0.5, "tile=on": 0.8}, threads=(1,)))
    assert re.match(r"Optimisations make Mojo's kernel 0\.398 × \[0\.3\d*–0\.4\d*\] its plain version at ", slow)
    assert slow.endswith(" tokens: no part makes it faster.")
    nothing, *_ = of_breakdown(a_run(("specialize",), threads=(1,)))
    assert nothing.endswith(" tokens: not resolved.")


def test_a_breakdown_that_lacks_something() -> None:
    found = a_run()
    broken = next(m for m in found.run.measurements if "simd=off" in m.variant)
    broken.status, broken.reason, broken.samples_s, broken.processes = "failed", "killed", [], []
    first, second, *_ = of_breakdown(found)
    assert first.startswith("Against plain NumPy"), "what is known goes first"
    assert "inside Mojo can't be told: a variant of it was not measured (killed)." in second
    few = a_run()
    for m in few.run.measurements:
        m.samples_s, m.processes = m.samples_s[:3], [0, 1, 2]
    undecided = of_breakdown(few)[0]
    assert undecided.startswith("Optimisations and threads make Mojo's kernel about 3")
    assert undecided.endswith(" version at 1,024 tokens: undecided (3 rounds, 4 needed: --budget 80).")
    only = a_run()
    only.run.measurements = [
        m for m in only.run.measurements if m.implementation == "mojo" or m.variant == CONTROLLED
    ]
    assert len(of_breakdown(only)) == 2
