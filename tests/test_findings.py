"""What pages say first, of runs that can find anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from moe.analysis import Interval, summarise
from moe.analysis.scaling import Scaling
from moe.analysis.verdicts import Trial
from moe.claims import load_claims
from moe.report import index
from moe.report.findings import claims, comparison, scaling
from moe.report.findings.words import MOST_WORDS, fitting, rounded, words_in
from moe.report.index import Findings, Page

from .made_claims import PUBLISHED, RATIO, a_claim, a_comparison, a_protocol, a_replay, claims_file
from .synthetic import synthetic_run
from .synthetic_pages import CALL_S, FLOPS_PER_S, a_sweep
from .test_first_screens import made


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(1.2624, 1.257, 1.267), "1.26"),
        (Interval(1.41, 1.21, 1.54), "1.4"),
        (Interval(24.1, 20.3, 32.8), "24"),
        (Interval(8.77, 7.36, 10.5), "8.8"),
        (Interval(77_700, 73_400, 85_500), "78,000"),
        (Interval(3.0, 1.0, 1000.0), "3.0"),
        (Interval(1.5, 1.5, 1.5), "1.50"),
        (Interval(3.49, 0.0, float("inf")), "3.5"),
    ],
)
def test_a_number_is_no_finer_than_its_interval(interval: Interval, text: str) -> None:
    assert rounded(interval) == text


def test_sentences_of_too_many_words_leave_out_their_remarks() -> None:
    long = [f"It is {'so ' * (MOST_WORDS - 4)}fast (by 3 %)."]
    assert fitting(long) == [f"It is {'so ' * (MOST_WORDS - 4)}fast."]
    assert fitting(["It is fast (by 3 %)."]) == ["It is fast (by 3 %)."]


def sweep_headline(**how: Any) -> list[str]:
    said = scaling.headline({"": Scaling(a_sweep(**how))})
    assert words_in(said) <= MOST_WORDS
    assert len(said) <= 3
    return said


EVEN = {"call_s": dict.fromkeys(CALL_S, 5e-6), "rate": dict.fromkeys(CALL_S, 1e11)}


def test_a_sweep_says_first_who_is_faster_where() -> None:
    fast = sweep_headline(noise=0.001)
    assert fast[0].startswith("Mojo is faster than PyTorch at all of the ")
    assert re.fullmatch(r"It is from [\d.,]+ times as fast at \d.+ to [\d.,]+ times at \d.+\.", fast[1])
    assert fast[2].startswith("How sure: clear (NumPy timed twice differs by up to ")
    slow = sweep_headline(call_s=CALL_S | {"mojo": 1e-3}, rate=FLOPS_PER_S | {"mojo": 1e9}, noise=0.001)
    assert slow[0].startswith("Mojo is slower than PyTorch at all of the ")
    mixed = sweep_headline(call_s=CALL_S | {"mojo": 5e-3}, rate=FLOPS_PER_S | {"mojo": 2e11}, noise=0.001)
    assert "Mojo is faster than PyTorch at " in mixed[0]
    assert "slower at " in mixed[0]


def test_a_sweep_says_where_two_are_equal_and_where_nothing_is_decided() -> None:
    assert "within 5.0 % of PyTorch at all of the" in sweep_headline(**EVEN, noise=0.001)[0]
    undecided = sweep_headline(**EVEN, noise=0.6)
    assert undecided[0].startswith("Whether Mojo or PyTorch is faster is undecided at the ")
    assert undecided[-1].startswith("How sure: too noisy to cite (")
    assert len(undecided) == 2


def test_cells_that_noise_hides_are_undecided_and_no_lead_is_read_from_them() -> None:
    run = a_sweep(noise=0.001)
    few = [m for m in run.measurements if m.threads == 1 and m.control]
    assert few
    for m in few:
        m.samples_s = [[s * 5 ** (place % 2) for s in turn] for place, turn in enumerate(m.samples_s)]
    lead, most, sure = scaling.headline({"": Scaling(run)})
    whole = len(Scaling(run).problems)
    assert lead.startswith(f"Mojo is faster than PyTorch at {whole - 1} and undecided at 1 of the {whole} measured")
    assert most.startswith("Decided: from ")
    assert " on 1 thread" not in most
    assert sure.startswith("How sure: too noisy on 1 thread, clear on 2 threads (NumPy timed twice differs by up to ")
    assert " % and 0." in sure


def test_a_sweep_without_one_of_the_two_says_so() -> None:
    alone = sweep_headline(call_s={"numpy": 5e-5, "torch": 1e-3}, noise=0.001)
    assert alone[0] == "Mojo was not measured here, so Mojo and PyTorch can't be compared."
    assert alone[1].startswith("NumPy is the fastest of the others at ")
    run = a_sweep()
    for m in run.measurements:
        m.status, m.samples_s, m.processes = "not_run", [], []
    assert scaling.headline({"": Scaling(run)})[0].startswith("Nothing was measured")


def test_a_disturbed_or_unfinished_sweep_says_so() -> None:
    run = a_sweep(noise=0.001)
    for m in run.measurements:
        m.disturbed = [True] * len(m.samples_s)
    assert scaling.headline({"": Scaling(run)})[-1].startswith(
        "How sure: too noisy to cite (the machine was disturbed during "
    )
    run = a_sweep(noise=0.001)
    for m in run.measurements:
        if m.details["cell"] == 0:
            m.status, m.code, m.samples_s, m.processes = "not_run", "not_reached", [], []
    assert scaling.headline({"": Scaling(run)})[-1].endswith("; time ran out before 1 cell.")


def test_several_machines_are_counted_together() -> None:
    whole = len(Scaling(a_sweep()).problems)
    said = scaling.headline({"one": Scaling(a_sweep(noise=0.001)), "two": Scaling(a_sweep(noise=0.001))})
    assert f"all of the {2 * whole} measured" in said[0]


def trial_headline(folder: Path, *entries: dict[str, Any], runs: list[Any] | None = None) -> list[str]:
    not_here = a_replay({"torch[device=cuda]": "no device", "jax": "no jax"})
    said = claims.headline(Trial(load_claims(claims_file(folder, *entries)), runs or [a_comparison()], not_here))
    assert words_in(said) <= MOST_WORDS
    assert len(said) <= 3
    return said


def test_claims_are_counted_and_the_farthest_off_is_named(tmp_path: Path) -> None:
    gpu = {"ratio": ["torch[device=cuda]", "torch"]}
    entries = [
        a_claim("a", RATIO, 4.0),
        a_claim("b", RATIO, 382.87),
        a_claim("c", {"throughput": "torch"}, 23_451_277),
        a_claim("d", gpu, 4.0),
        a_claim("e", {"none": "it names nothing"}, 4.0),
        a_claim("f", {"ratio": ["mojo", "jax"]}, 4.0),
    ]
    said = trial_headline(tmp_path, *entries)
    assert said[0] == (
        "Of 6 published claims 1 holds here, 2 do not hold, 1 needs a GPU to be judged, "
        "1 needs missing software and 1 can't be measured here."
    )
    assert said[1].startswith("The published 382.87 times NumPy does not hold: Mojo is ")
    assert len(said) == 2


def test_where_no_claim_holds_that_is_said_first(tmp_path: Path) -> None:
    wrong = [a_claim("a", RATIO, 382.87), a_claim("b", {"throughput": "torch"}, 23_451_277)]
    assert trial_headline(tmp_path, *wrong)[0] == "None of 2 published claims holds here."
    jax = a_claim("c", {"ratio": ["mojo", "jax"]}, 4.0)
    assert trial_headline(tmp_path, *wrong, jax)[0] == (
        "Of 3 published claims none was seen to hold here: 2 do not hold and 1 needs missing software."
    )
    assert trial_headline(tmp_path, jax)[0] == "Of 1 published claim 1 needs missing software."


def test_a_claim_that_is_off_by_far_does_not_say_which_is_faster_where_that_is_untold(tmp_path: Path) -> None:
    noisy = synthetic_run({"numpy": 0.02, "torch": 0.01, "mojo": 0.019}, (1, 2), noise=0.3)
    said = trial_headline(tmp_path, a_claim("a", RATIO, 382.87), runs=[noisy])[1]
    assert said.startswith("The published 382.87 times NumPy does not hold: Mojo is at most 2.6 times")
    said = trial_headline(tmp_path, a_claim("a", RATIO, 0.01), runs=[noisy])[1]
    assert said.startswith("The published 0.01 times NumPy does not hold: Mojo is at least 0.")


def test_claims_of_which_none_is_off_or_none_can_be_judged(tmp_path: Path) -> None:
    assert trial_headline(tmp_path, a_claim("a", RATIO, 4.0))[1] == "No number that could be judged is off."
    noisy = a_comparison(noise=0.5)
    said = trial_headline(tmp_path, a_claim("a", RATIO, 4.0), runs=[noisy])
    assert said == [
        "Of 1 published claim 1 is undecided.",
        "The published 4 times NumPy can't be judged by these runs, nor can any other published number.",
    ]


def test_what_a_source_is_known_for_is_told_also_where_it_can_not_be_judged(tmp_path: Path) -> None:
    both = [a_claim("a", RATIO, 382.87), a_claim("b", {"ratio": ["torch", "numpy"]}, 90.0)]
    run = a_comparison()
    assert trial_headline(tmp_path, *both, runs=[run])[1].startswith("The published 382.87 times NumPy does not hold")
    for m in run.measurements:
        if m.variant == "mojo":
            m.status, m.reason, m.samples_s, m.processes = "not_run", "Mojo is not installed: install it", [], []
    said = trial_headline(tmp_path, *both, runs=[run])
    assert said[1] == "The published 382.87 times NumPy can't be judged by these runs: Mojo is not installed."
    assert said[2].startswith("The published 90 times NumPy does not hold: PyTorch is")
    noisy = trial_headline(
        tmp_path, a_claim("a", RATIO, 4.0), a_claim("b", RATIO, 0.001), runs=[a_comparison(noise=0.5)]
    )
    assert noisy[1] == "The published 4 times NumPy can't be judged by these runs: they do not tell."


def test_what_was_divided_instead_of_measured_is_said(tmp_path: Path) -> None:
    said = claims.headline(Trial(a_protocol(tmp_path, "numpy"), [a_comparison()]))
    assert said[1] == (
        "None of the published numbers could be judged by these runs; the source's row “divided” was never measured: "
        "it is “numpy” timed again and its time divided by 4."
    )
    published = claims.headline(Trial(load_claims(PUBLISHED), [a_comparison()]))
    remark = "(its source never timed Mojo)"
    assert published[1].startswith(f"The published 382.87 times NumPy does not hold {remark}: Mojo is ")
    assert published[2].startswith("The source's row “")
    assert published[2].endswith(" timed again and its time divided by 39.")
    crowded = load_claims(PUBLISHED)
    for place, row in enumerate(crowded.rows):
        row["name"] = f"{place} " + "word " * 10
    assert claims.headline(Trial(crowded, [a_comparison()])) == published[:2]
    # Where the ratio of it can't be judged, that comes first.
    alone = a_comparison()
    for m in alone.measurements:
        if m.implementation == "mojo":
            m.status, m.samples_s, m.processes = "not_run", [], []
    said = claims.headline(Trial(load_claims(PUBLISHED), [alone]))[1]
    assert said.startswith("The published 382.87 times NumPy ")
    assert "divided by 39" in said
    assert words_in(published) <= MOST_WORDS


def test_the_index_begins_with_its_pages_sentences_as_far_as_there_is_room(tmp_path: Path) -> None:
    def page(name: str, *lines: str) -> Page:
        return Page(name, name, tmp_path / "none.svg", Findings(lines, "", "", []))

    found = [page("comparison", "Mojo leads.", "More."), page("claims", "Many.", "382 does not hold.")]
    assert index.headline(found) == ["Mojo leads.", "382 does not hold."]
    long = page("breakdown", "word " * MOST_WORDS)
    assert index.headline([*found, long]) == ["Mojo leads.", "382 does not hold."]
    assert index.headline([page("breakdown", "Vectors do."), *found])[-1] == "Vectors do."
    sure = page("comparison", "Mojo leads.", "It is near the limit.", "How sure: usable (by 19 %).")
    assert index.headline([sure, found[1]]) == ["Mojo leads; how sure: usable (by 19 %).", "382 does not hold."]
    # Remarks stand as far as there is room, short ones rather than long ones, and of two as long the earlier one.
    for words, kept in ((72, (True, True)), (73, (True, False)), (76, (False, False))):
        two = [page("claims", "", f"{'x ' * words} y (one two): z."), page("breakdown", "a (three four five).")]
        assert tuple("(" in line for line in index.headline(two)) == kept
    alike = [page("claims", "", f"{'x ' * 74} y (one two): z."), page("breakdown", "a (three four).")]
    assert ["(" in line for line in index.headline(alike)] == [True, False]
    # Where there is no room for it, it is said in brief, without numbers of parts, and in place of the last page's.
    nearly = page("breakdown", f"{'x ' * 70}y.")
    assert index.headline([sure, found[1], nearly])[0] == "Mojo leads; how sure: usable."
    parts = page("breakdown", f"{'x ' * 69}y (tile, 2 ×).")
    assert index.headline([sure, found[1], parts])[::2] == ["Mojo leads; how sure: usable.", f"{'x ' * 69}y."]
    full = page("breakdown", f"{'x ' * 71}y.")
    in_full = "Mojo leads; how sure: usable (by 19 %)."
    assert index.headline([sure, found[1], full]) == [in_full, "382 does not hold."]
    failed = Page("comparison", "t", tmp_path / "none.svg", failed="why")
    assert index.headline([failed]) == ["Of this report no page could be made that says what was found."]


def test_the_index_says_how_sure_it_is_where_that_differs_between_threads(tmp_path: Path) -> None:
    def page(name: str, *lines: str) -> Page:
        return Page(name, name, tmp_path / "none.svg", Findings(lines, "", "", []))

    run = made(noise=0.01)
    for m in run.measurements:
        m.disturbed = [m.threads == 2 and place > 2 for place in range(len(m.samples_s))]
    published = "The published 382.87 times NumPy does not hold: Mojo is 1.6 times NumPy here on 2 threads."
    whole = "Optimisations and threads make Mojo's kernel 40 × its plain version at 32 tokens"
    most = "mostly vector instructions"
    given = f"{whole}: {most} (simd, 6.5 ×) and tiles in registers (tile, 2.3 ×)."
    others = [page("claims", "", published), page("breakdown", given)]
    first, *rest = index.headline([page("comparison", *comparison.headline(summarise(run))), *others])
    assert first.endswith("; noise hides which is fastest on 2 threads; how sure: clear on 1 thread, too noisy on 2.")
    assert rest == [published, f"{whole}: {most} and tiles in registers."]
    assert words_in([first, *rest]) <= MOST_WORDS
