from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from moe.analysis.goals import IN_PYTORCH, Shape, judge
from moe.config import PRESETS, MoEConfig, parse_config
from moe.implementations.registry import REGISTRY
from moe.report.marks import goals_table, result_lines, write_between
from moe.run import Run
from moe.shapes import GOALS_MARK, Asked, goal_shapes, measure_goals, peer_shapes, render_goals

from .synthetic import synthetic_run

TIMES = {"mojo": 0.02, "torch": 0.05, "torch-onednn": 0.03}
FLOPS_PER_S = 1.2e11  # the preset seed then takes 17.9 ms at least, 89 % of the kernel's 20 ms


def a_run(threads: tuple[int, ...] = (1,), noise: float = 0.0) -> Run:
    run = synthetic_run(TIMES, threads, noise=noise)
    probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
    run.limits = [
        {"threads": t, "by": "probes", "flops_per_s": FLOPS_PER_S * t, "bandwidth": probes} for t in threads
    ]
    return run


def verdicts(goal: Shape, run: Run) -> dict[str, str]:
    return {v.what: v.verdict for result in judge(goal, [run]) for v in result.verdicts}


def test_the_goals_are_of_shapes_that_exist() -> None:
    goals = goal_shapes()
    assert len(goals) >= 9
    for goal in goals:
        assert parse_config(goal.config).tokens > 0
        assert set(goal.share) | set(goal.beyond_us) == {1, 2} or goal.of
        assert not goal.of or goal.of in [g.name for g in goals[: goals.index(goal)]]
    assert {n for n, entry in REGISTRY.items() if entry.peer and entry.library == "torch"} == set(IN_PYTORCH) - {
        "torch"
    }


GROUPED = {shape.name: shape for shape in goal_shapes() if shape.group}
# Of the published layer at as many rows an expert as a gated shape has, or else at the most that are fewer.
LIKE = {
    "seed-1024": "seed",
    "medium-512": "medium",
    "granite-1024": "medium",
    "granite-256": "olmoe",
    "olmoe-256": "olmoe",
    "qwen3-256": "decode-16",
}


def test_groups_are_of_layers_at_many_few_and_one_token() -> None:
    for group, precision in (("bfloat16", "bfloat16"), ("gated", "float32")):
        own = [shape for shape in GROUPED.values() if shape.group == group]
        configs = [parse_config(shape.config) for shape in own]
        assert {config.precision for config in configs} == {precision}
        by_layer: dict[object, list[int]] = {}
        for config in configs:
            by_layer.setdefault(config.with_tokens(1), []).append(config.tokens)
        assert all(tokens[-2:] == [16, 1] and len(tokens) > 2 for tokens in by_layer.values())
        assert {config.num_experts for config in configs} == {4, 8, 32, 64, 128}
        assert {config.expert for config in configs} == {"swiglu"} | ({"relu"} if group == "bfloat16" else set())
        assert all(set(shape.share) == {1, 2} for shape in own)


def test_gated_experts_are_to_reach_three_points_less_than_the_published_layer() -> None:
    goals = {shape.name: shape for shape in goal_shapes()}
    for name, shape in ((n, s) for n, s in GROUPED.items() if s.group == "gated"):
        config = parse_config(shape.config)
        one = "decode-1" if config.d_model == PRESETS["seed"].d_model else "decode-1-wide"
        like = {1: one, 16: "decode-16"}.get(config.tokens) or LIKE[name.removeprefix("gated-")]
        published = goals[like]
        for threads, share in published.share.items():
            assert shape.share[threads] == pytest.approx(share - 0.03), (name, like, threads)


def test_an_unknown_shape_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean seed"):
        measure_goals(Asked(["sead"], [1], 1.0, tmp_path))


@pytest.mark.parametrize(("share", "expected"), [(0.85, "reached"), (0.95, "missed")])
def test_a_share_is_of_the_limit_measured_in_the_same_run(share: float, expected: str) -> None:
    goal = Shape("seed", "seed", "arithmetic", share={1: share})
    assert verdicts(goal, a_run())["share of the limit"] == expected


def test_noise_that_covers_the_goal_resolves_nothing() -> None:
    goal = Shape("seed", "seed", "arithmetic", share={1: 0.9})
    assert verdicts(goal, a_run(noise=0.2))["share of the limit"] == "not resolved"


def test_the_nearest_of_pytorch_is_the_fastest_one() -> None:
    goal = Shape("seed", "seed", "arithmetic", over_torch={1: 2})
    (result,) = judge(goal, [a_run()])
    assert result.nearest is not None
    assert result.nearest[0] == "torch-onednn"
    assert {v.what: v.verdict for v in result.verdicts} == {"× torch": "reached", "× torch-onednn": "reached"}
    assert {name: ratio.value for name, ratio in result.over.items()} == {
        "torch": pytest.approx(2.5),
        "torch-onednn": pytest.approx(1.5),
    }


def test_time_beyond_the_limit_is_good_when_small() -> None:
    # 20 ms are 2,081 µs more than the limit's own time.
    for most, expected in ((2000, "missed"), (2200, "reached")):
        goal = Shape("seed", "seed", "arithmetic", beyond_us={1: most})
        assert verdicts(goal, a_run())["µs beyond the limit"] == expected


def test_a_goal_may_be_a_share_of_another_shapes() -> None:
    seed = judge(Shape("seed", "seed", "arithmetic"), [a_run()])
    goal = Shape("skewed", "seed", "balance", share={1: 0.9}, of="seed")
    (again,) = judge(goal, [a_run()], seed)
    assert again.verdicts[0].what == "share of seed's"
    assert again.verdicts[0].measured.value == pytest.approx(1)
    assert judge(goal, [a_run()])[0].verdicts[0].what == "× torch-onednn"


def test_lines_and_page_show_what_was_measured(tmp_path: Path) -> None:
    results = judge(Shape("seed", "seed", "arithmetic", share={1: 0.95, 2: 0.92}), [a_run((1, 2))])
    lines = result_lines(results)
    assert "89.6 [89.6–89.6] % of the limit" in lines[0]
    assert "goal 0.95: missed" in lines[1]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{GOALS_MARK}\nold\n{GOALS_MARK}\nafter\n")
    call = results[0].latency_s.scaled(1e-4)
    write_between(page, GOALS_MARK, goals_table(results, {"a call": call}, a_run()))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| seed (1024, 256, 1024, 4, 2) | 2 | 10,000 [10,000–10,000] |" in text
    assert "95 % of the limit: missed" in text
    assert "- a call: 2.00 [2.00–2.00] µs" in text


def test_a_table_of_the_kernel_alone_has_no_columns_of_others_and_counts_what_was_reached() -> None:
    run = a_run((1, 2))
    run.measurements = [m for m in run.measurements if m.label == "mojo"]
    text = goals_table(judge(Shape("seed", "seed", share={1: 0.95, 2: 0.85}), [run]), {}, run)
    assert "2 goals: 1 missed, 1 reached." in text
    assert "| 10,000 [10,000–10,000] | 89.6 [89.6–89.6] (arithmetic) | 85 % of the limit: reached |" in text
    assert "torch" not in text.partition("\n")[2]


def test_a_layer_that_a_run_lacks_is_taken_from_one_that_was_added(tmp_path: Path) -> None:
    run = a_run((1, 2))
    goal = Shape("seed", "seed", "arithmetic", share={1: 0.95})
    lacking = dataclasses.replace(run, measurements=[m for m in run.measurements if m.label != "torch-onednn"])
    assert "torch-onednn" not in judge(goal, [lacking])[0].over
    assert "torch-compile at seed on 1 thread, seed on 2 threads." in goals_table(judge(goal, [lacking]), {}, run)
    kept = [m for m in run.measurements if m.label in ("mojo", "torch-onednn")]
    added = dataclasses.replace(run, measurements=kept)
    over = judge(goal, [lacking, added])[0].over
    assert over["torch-onednn"].value == pytest.approx(judge(goal, [run])[0].over["torch-onednn"].value)
    assert list(over) == [name for name in IN_PYTORCH if name in over]
    with pytest.raises(ValueError, match="did you mean torch-grouped"):
        measure_goals(Asked(["seed"], [1], 1.0, tmp_path), ["torch-groupd"])


def test_a_limit_and_what_is_special_stand_beside_a_share() -> None:
    run = a_run()
    shape = Shape("of-bfloat16", "seed,num_experts=8", share={1: 0.9}, fewer=True)
    kernel = next(m for m in run.measurements if m.label == "mojo" and not m.control)
    kernel.details["note"] = "bfloat16 widened in registers"
    (result,) = judge(shape, [run])
    assert result.bound == "arithmetic"
    (line, *_) = result_lines([result])
    assert "k=2, 4 of 8 experts held, bfloat16 widened in registers, warm)" in line
    assert line.endswith("% of the limit (arithmetic)")
    table = goals_table([result], {}, run)
    assert "(1024, 256, 1024, 4, 2) (4 of 8 experts held, bfloat16 widened in registers) |" in table
    assert "89.6 [89.6–89.6] (arithmetic)" in table


def test_a_form_is_not_taken_from_a_run_of_another_layer() -> None:
    run, other = a_run(), a_run()
    run.measurements = [m for m in run.measurements if m.label != "torch-onednn"]
    for m in other.measurements:
        m.config = dataclasses.replace(m.config, num_experts=3)
    (result,) = judge(Shape("seed", "seed"), [run, other])
    assert list(result.over) == ["torch"]


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("no marks")
    with pytest.raises(ValueError, match="twice"):
        write_between(page, GOALS_MARK, "text")
    assert page.read_text() == "no marks"


def test_a_page_is_made_from_a_folder_without_measuring(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{GOALS_MARK}{GOALS_MARK}")
    with pytest.raises(ValueError, match="not found"):
        render_goals(tmp_path, page)
    a_run().save(tmp_path / "seed.json")
    (tmp_path / "goals.json").write_text(
        json.dumps({"calls_s": {"a call": {"value": 2e-6, "low": 1e-6, "high": 3e-6}}})
    )
    a_run().save(tmp_path / "gated-seed-1.json")
    render_goals(tmp_path, page)
    assert "| seed (1024, 256, 1024, 4, 2) | 1 | 20,000 [20,000–20,000] |" in page.read_text()
    assert "gated" not in page.read_text()
    assert "- a call: 2.00 [1.00–3.00] µs" in page.read_text()
    render_goals(tmp_path, page, ["bfloat16", "gated"])
    assert "| gated-seed-1 (1024, 256, 1024, 4, 2) | 1 | 20,000" in page.read_text()
    assert "| seed (" not in page.read_text()
    with pytest.raises(ValueError, match="name none, or a group"):
        render_goals(tmp_path, page, ["gated-seed-1"])


def test_runs_of_other_versions_stand_in_no_table_together(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{GOALS_MARK}{GOALS_MARK}")
    (tmp_path / "goals.json").write_text('{"calls_s": {}}')
    with pytest.raises(ValueError, match="has no run"):
        render_goals(tmp_path, page)
    a_run().save(tmp_path / "seed.json")
    older = a_run()
    older.versions["numpy"] = "1"
    older.save(tmp_path / "seed+torch-compile.json")
    with pytest.raises(ValueError, match="other machines or versions"):
        render_goals(tmp_path, page)


def asked_of(
    monkeypatch: pytest.MonkeyPatch, folder: Path, *names: str, beside: Sequence[str] = IN_PYTORCH
) -> dict[str, MoEConfig]:
    """What is measured where these are named, by shape."""
    asked: dict[str, MoEConfig] = {}

    def measured(_: object, config: MoEConfig, *__: object, path: Path, **___: object) -> Run:
        asked[path.stem] = config
        return a_run()

    monkeypatch.setattr("moe.shapes.compare", measured)
    monkeypatch.setattr("moe.shapes._calls", lambda: {})
    assert measure_goals(Asked(names, [1, 2], 1.0, folder), beside) == 0
    return asked


def test_groups_are_measured_where_they_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    published = [shape.name for shape in goal_shapes() if not shape.group]
    assert list(asked_of(monkeypatch, tmp_path)) == published
    assert set(asked_of(monkeypatch, tmp_path, "bfloat16")) == {
        n for n, s in GROUPED.items() if s.group == "bfloat16"
    }
    assert list(asked_of(monkeypatch, tmp_path, "gated-seed-1", "seed")) == ["seed", "gated-seed-1"]
    assert list(asked_of(monkeypatch, tmp_path, "seed", beside=[])) == ["seed"]
    assert list(asked_of(monkeypatch, tmp_path, "seed", beside=["torch"])) == ["seed+torch"]
    assert [shape for shape in peer_shapes() if shape.group] == list(GROUPED.values())


def test_a_layer_holds_as_many_experts_as_memory_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Two of each form, a control of one, and the problem's own: 1 + 2 * 7 copies, in bfloat16 1 + 7.
    expert = parse_config("qwen3-30b-a3b").expert_weights * 4
    monkeypatch.setattr("moe.shapes.usable_memory", lambda: 15 * 64.5 * expert / 0.8)
    names = ("gated-qwen3-1", "bfloat16-qwen3-1", "gated-granite-1", "seed")
    held = {name: config.num_experts for name, config in asked_of(monkeypatch, tmp_path, *names).items()}
    assert held == {"seed": 4, "bfloat16-qwen3-1": 120, "gated-granite-1": 32, "gated-qwen3-1": 64}


def test_the_kernel_measured_alone_leaves_what_was_measured_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def alone(*_: object, path: Path, **__: object) -> Run:
        run = a_run()
        run.measurements = [m for m in run.measurements if m.label == "mojo"]
        run.save(path, force=True)
        return run

    monkeypatch.setattr("moe.shapes.compare", alone)
    monkeypatch.setattr("moe.shapes._calls", lambda: {})
    a_run().save(tmp_path / "seed.json")
    assert measure_goals(Asked(["seed"], [1], 1.0, tmp_path), []) == 0
    assert capsys.readouterr().out.startswith("seed (")
    (result,) = json.loads((tmp_path / "goals.json").read_text())["results"]
    assert set(result["over"]) == {"torch", "torch-onednn"}
    older = a_run()
    older.versions["numpy"] = "1"
    older.save(tmp_path / "seed.json", force=True)
    assert measure_goals(Asked(["seed"], [1], 1.0, tmp_path), []) == 0
    assert [path.name for path in sorted(tmp_path.glob("seed*"))] == ["seed.json"]


def test_a_summary_holds_what_may_stand_beside_the_newest_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    newest = a_run()

    def saves(*_: object, path: Path, **__: object) -> Run:
        newest.save(path, force=True)
        return newest

    monkeypatch.setattr("moe.shapes.compare", saves)
    monkeypatch.setattr("moe.shapes._calls", lambda: {})
    a_run().save(tmp_path / "many-small.json")
    older = a_run()
    older.versions["numpy"] = "1"
    older.save(tmp_path / "seed.json")
    assert measure_goals(Asked(["skewed"], [1], 1.0, tmp_path)) == 0
    assert capsys.readouterr().out.startswith("skewed (")
    saved = json.loads((tmp_path / "goals.json").read_text())
    assert [result["shape"] for result in saved["results"]] == ["many-small", "skewed"]
    assert saved["versions"] == newest.versions
    # What is only added to a shape that was measured with other versions is shown for itself.
    assert measure_goals(Asked(["seed"], [1], 1.0, tmp_path), ["torch"]) == 0
    assert capsys.readouterr().out.startswith("seed (")
