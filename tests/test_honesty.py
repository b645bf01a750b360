"""What a row's times must agree with, on turns that are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

import moe
from moe.analysis import limits_of
from moe.measure.child import WorkerFailedError
from moe.measure.honesty import Doubts, Turn, checked, doubt, impossible

from .synthetic import synthetic_run

# Ten forwards of 2 ms, with what honest ones take beside them.
HONEST = Turn([2e-3] * 10, flush=0.0, framed=0.0213, processor=0.0212, threads=1, converting=1e-4, copy=1e-4)


def test_an_honest_layer_raises_no_doubt() -> None:
    assert doubt([HONEST] * 5) == ""
    # Threads that spin for the next piece of work use all that they were given, and no more.
    assert doubt([replace(HONEST, threads=2, processor=0.0426)] * 5) == ""
    # Emptied caches are no part of forwards; an array library's own form is a copy or two.
    assert doubt([replace(HONEST, flush=0.5, framed=0.5213)] * 5) == ""
    assert doubt([replace(HONEST, converting=10 * 5e-4)] * 5) == ""
    # One that takes longer than a brief forward does not hide it.
    brief = replace(HONEST, samples=[6e-5] * 100, framed=0.02, processor=0.02, copy=0.0)
    assert doubt([replace(brief, converting=100 * 1e-4)] * 5) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"framed": 0.2}, "more passed by the clock of the process that asked"),
        ({"samples": [1e-6] * 10}, "more passed by the clock"),
        ({"processor": 0.04}, "the processor time of 1.88 cores where 1 were to be used"),
        ({"converting": 0.05}, "to_native takes"),
        ({"converting": 0.01, "copy": 0.0, "framed": 0.031}, "to_native takes 1 ms, a forward 2 ms"),
        ({"samples": [6e-6] * 10, "framed": 1e-3, "processor": 1e-3, "converting": 2e-3, "copy": 0}, "takes 0.2 ms"),
    ],
)
def test_what_can_not_be_believed_is_named(change: dict[str, object], reason: str) -> None:
    assert reason in doubt([replace(HONEST, **change)] * 3)  # type: ignore[arg-type]


def test_some_slow_conversions_early_in_a_run_are_no_reason_to_end_it() -> None:
    slow = replace(HONEST, converting=0.05)
    doubts = Doubts()
    undisturbed = [False] * 7
    for place, turn in enumerate((slow, slow, HONEST, slow)):
        doubts.note(1, place, turn)
        doubts.note(2, place, turn)
        assert doubts.of(1, undisturbed, ended=False) == ""
    doubts.note(1, 4, slow)
    assert "to_native takes" in doubts.of(1, undisturbed, ended=False)
    assert "to_native takes" in doubts.of(2, undisturbed, ended=True)
    for place in range(4, 7):
        doubts.note(2, place, HONEST)
    assert doubts.of(2, undisturbed, ended=True) == ""


def test_what_is_judged_is_what_is_undisturbed_in_the_end() -> None:
    doubts = Doubts()
    for place in range(4, 8):  # of a run that is continued: the first four are an earlier process's
        doubts.note(1, place, replace(HONEST, framed=0.2))
    assert doubts.of(1, [False] * 4 + [True] * 4, ended=True) == doubts.of(1, [False] * 6, ended=True) == ""
    assert "more passed by the clock" in doubts.of(1, [True] * 4 + [False] * 4, ended=True)


def test_forwards_that_take_the_time_of_others_are_named_where_they_make_a_row() -> None:
    moved = replace(HONEST, samples=[1e-4] * 9 + [0.0191])
    assert "a few take the time of many" in doubt([moved] * 5)
    assert doubt([moved] * 5, ended=False) == doubt([moved] * 3) == ""
    assert "a few take the time of many" in doubt([moved] * 4)  # of which a row has an interval
    # Honest turns in between are no excuse where the row's value is that of the others.
    assert "a few take the time of many" in doubt([moved, moved, HONEST] * 2)
    assert doubt([moved, HONEST, HONEST] * 2) == ""
    # Idling until all look alike helps only so far.
    assert "0.65 ms or less" in doubt([replace(HONEST, samples=[0.65e-3] * 15 + [6.3e-3])] * 5)
    # A first forward that takes twice as long, where three are timed, hides nothing.
    slow_first = replace(HONEST, samples=[10e-3, 5e-3, 5e-3])
    assert doubt([slow_first] * 5) == ""
    # Three of four turns decide, whatever the fourth has.
    longer = replace(HONEST, samples=[1.4e-3] * 9 + [8e-3])
    assert "a few take the time of many" in doubt([longer] * 9 + [replace(HONEST, samples=[1.4e-3] * 10)])
    assert doubt([longer] * 5 + [replace(HONEST, samples=[1.4e-3] * 10)] * 5) == ""


def test_emptied_caches_leave_no_room_for_what_is_put_off() -> None:
    put_off = replace(HONEST, samples=[1e-6] * 10, flush=0.3, framed=0.32)
    assert "more passed by the clock" in doubt([put_off] * 3)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0, "0.1", None])
@pytest.mark.parametrize("key", ["converting_s", "flush_s"])
def test_what_a_worker_says_beside_its_samples_is_a_time(key: str, wrong: object) -> None:
    reply = {"samples": [1e-3, 2e-3], "converting_s": 1e-4, "flush_s": 0.0}
    assert checked(reply, 2) is reply
    with pytest.raises(WorkerFailedError, match="no times for what is beside"):
        checked({**reply, key: wrong}, 2)


def test_tricks_that_take_turns_are_added_up() -> None:
    ways = [replace(HONEST, framed=0.2), replace(HONEST, processor=0.04), replace(HONEST, converting=0.05)]
    reason = doubt([*ways, *ways, HONEST])
    assert "most of its 7 turns can't be believed: time is missing in 2, " in reason
    assert "was used in 2, and to_native took long in 2" in reason
    assert doubt([*ways, HONEST, HONEST, HONEST]) == ""
    assert "most of its 4 turns" in doubt([*ways, HONEST])  # of which a row has an interval
    assert doubt(ways) == doubt([*ways, HONEST], ended=False) == ""  # too few for that


def test_processor_time_of_many_threads_is_counted_in_ticks() -> None:
    """Up to one a thread too many: honest libraries were seen to use 19 of 16 cores in 20 ms."""
    many = replace(HONEST, threads=16, processor=19 * 0.0213)
    assert doubt([many] * 5) == ""
    assert "the processor time of 21 cores where 16" in doubt([replace(many, processor=21 * 0.0213)] * 5)
    assert doubt([replace(HONEST, processor=0.04)] * 2) == ""


def test_one_odd_turn_of_several_is_no_doubt() -> None:
    odd = replace(HONEST, framed=0.2, processor=0.1, converting=0.5)
    assert doubt([HONEST, odd, HONEST]) == ""
    assert doubt([odd, HONEST, odd]) != ""


def test_turns_that_are_too_short_for_another_clock_say_nothing_of_it() -> None:
    assert doubt([replace(HONEST, samples=[1e-5], framed=9e-3, processor=1e-3)] * 5) == ""


def run_at(seconds: float) -> moe.Run:
    """A run of mojo at so many seconds a forward, with 100 GFLOP/s on one thread."""
    run = synthetic_run({"numpy": 1.0, "mojo": seconds}, (1, 2))
    for threads, rate in ((1, 1e11), (2, 1.5e11)):
        probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
        run.limits.append({"threads": threads, "by": "probes in Mojo", "flops_per_s": rate, "bandwidth": probes})
    return run


def test_what_arithmetic_can_not_do_is_no_record() -> None:
    least = moe.PRESETS["seed"].flops / 1e11
    possible, impossible_ = run_at(least / 1.2), run_at(least / 1.3)
    assert [impossible(possible, m) for m in possible.measurements] == [""] * 6
    reasons = {(m.label, m.threads): impossible(impossible_, m) for m in impossible_.measurements}
    # Two threads could reach twice what one does, whatever their own probes say.
    assert "not possible" in reasons["mojo", 1]
    assert "not possible" in reasons["mojo", 2]
    assert reasons["numpy", 1] == ""


def test_bfloat16_may_be_twice_as_fast_and_no_faster() -> None:
    least = moe.PRESETS["seed"].flops / 2e11
    for seconds, verdict in ((least / 1.2, ""), (least / 1.3, "not possible")):
        run = run_at(seconds)
        mojo = next(m for m in run.measurements if m.label == "mojo")
        mojo.config = replace(mojo.config, precision="bfloat16")
        assert impossible(run, mojo).startswith(verdict)
        assert bool(impossible(run, mojo)) == bool(verdict)


def test_a_few_honest_rounds_do_not_make_a_record_possible() -> None:
    run = run_at(1e-6)
    mojo = next(m for m in run.measurements if m.label == "mojo")
    mojo.samples_s[0] = mojo.samples_s[1] = [0.1]
    assert "not possible" in impossible(run, mojo)


def test_without_the_probe_there_is_no_verdict() -> None:
    run = run_at(1e-6)
    for entry in run.limits:
        entry["by"] = "the best of several matrix products in NumPy"
    assert limits_of(run, 1) is not None
    assert {impossible(run, m) for m in run.measurements} == {""}
