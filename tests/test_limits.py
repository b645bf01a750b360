from __future__ import annotations

from dataclasses import replace

import pytest

import moe
from moe import mojo_build
from moe.analysis import limits_of, summarise
from moe.analysis.limits import Limits, bound_of
from moe.measure import limits as limits_module
from moe.measure.limits import MachineLimits
from moe.report import tables
from moe.run import Measurement

from .synthetic import synthetic_run

LIMITS = Limits(1, flops_per_s=1e11, read_bytes_per_s={4 * 2**20: 1e11, 128 * 2**20: 1e10})


def measurement(config: moe.MoEConfig) -> Measurement:
    return Measurement("numpy", "numpy", {}, config, 1)


def test_many_tokens_are_bound_by_arithmetic() -> None:
    config = moe.PRESETS["seed"]
    bound = bound_of(measurement(config), LIMITS)
    assert (bound.by, bound.seconds) == ("arithmetic", pytest.approx(config.flops / 1e11))


@pytest.mark.parametrize(
    ("features", "probed", "times"),
    [
        (["avx2"], None, 2),  # nothing was measured
        (["avx2"], 1e11, 1),
        (["avx512f", "avx2"], 2e11, 2),
        (["avx512f", "avx2"], 0.9e11, 1),  # a slowed probe: no processor is slower than in float32
        (["avx512f", "amx_bf16", "avx2"], 2e11, 16),  # which probes do not use
        (["asimd"], 1e11, 4),
    ],
)
def test_products_in_bfloat16_have_a_peak_of_their_own(
    features: list[str], probed: float | None, times: float
) -> None:
    config = replace(moe.PRESETS["seed"], precision="bfloat16")
    run = synthetic_run({"numpy": 0.04, "mojo": 0.03})
    probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
    entry = {"threads": 1, "by": "probes in Mojo", "flops_per_s": 1e11, "bandwidth": probes}
    run.limits.append(entry | ({} if probed is None else {"bfloat16_flops_per_s": probed}))
    run.machine["vector_features"] = features
    limits = limits_of(run, 1)
    assert limits is not None
    assert limits.arithmetic_s(config) == pytest.approx(config.flops / (times * 1e11))
    assert limits.arithmetic_s(moe.PRESETS["seed"]) == pytest.approx(config.flops / 1e11)


def test_one_token_is_bound_by_memory_at_the_nearest_probe() -> None:
    config = moe.MoEConfig(1, 256, 1024, 4, 2)
    bound = bound_of(measurement(config), LIMITS)
    assert (bound.by, bound.seconds) == ("memory", pytest.approx(config.expected_bytes / 1e11))
    assert LIMITS.bandwidth(100 * 2**20) == 1e10


def test_one_token_of_many_experts_is_read_from_where_the_whole_layer_lies() -> None:
    config = moe.MoEConfig(1, 256, 1024, 128, 2)  # reads 4 MiB of 256
    bound = bound_of(measurement(config), LIMITS)
    assert (bound.by, bound.seconds) == ("memory", pytest.approx(config.expected_bytes / 1e10))


def test_a_share_of_the_limit_is_in_the_summary() -> None:
    run = synthetic_run({"numpy": 0.04, "mojo": 0.03})
    assert summarise(run).rows[0].share_of_limit is None
    for flops in (2e11, 2e11, 2e11):
        probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
        run.limits.append({"threads": 1, "by": "probes in Mojo", "flops_per_s": flops, "bandwidth": probes})
    limits = limits_of(run, 1)
    assert limits is not None
    assert limits.flops_per_s == 2e11
    share = summarise(run).rows[0].share_of_limit
    assert share is not None
    assert share.value == pytest.approx(moe.PRESETS["seed"].flops / 2e11 / 0.04)
    assert limits_of(run, 2) is None


def test_the_peak_is_what_probes_reach_when_nothing_slows_them() -> None:
    run = synthetic_run({"numpy": 0.04, "mojo": 0.03}, (1, 2))
    probes = [{"bytes": 2**22, "read_bytes_per_s": 1e11, "triad_bytes_per_s": 1e11}]
    run.limits = [
        {"threads": 1, "by": "p", "flops_per_s": f, "bandwidth": [{**probes[0], "read_bytes_per_s": f}]}
        for f in (*[2e11] * 2, *[1e11] * 3)
    ]
    for m in run.measurements:
        m.capacities = [[2.1e11 * m.threads] * 2 for _ in m.samples_s]
    run.measurements[0].capacities[3] = None
    run.measurements[0].capacities[4] = [9e11, 9e11]
    limits = limits_of(run, 1)
    assert limits is not None
    assert limits.flops_per_s == pytest.approx(2.1e11)
    assert limits.read_bytes_per_s == {2**22: 1e11}
    for m in run.measurements:
        m.capacities = [[1e10, 1e10] for _ in m.samples_s]
    limits = limits_of(run, 1)
    assert limits is not None
    assert limits.flops_per_s == 1e11  # the median of the longer probes


def test_probes_measure_something_plausible(mojo: str) -> None:
    found = MachineLimits(1).measure()
    assert 1e8 < found["flops_per_s"] < 1e13
    for probe in found["bandwidth"]:
        assert 1e7 < probe["read_bytes_per_s"] < 1e13
        assert 1e7 < probe["triad_bytes_per_s"] < 1e13
    sizes = [probe["bytes"] for probe in found["bandwidth"]]
    assert sizes == sorted(set(sizes))


def test_the_peak_of_bfloat16_is_probed_where_it_is_asked_for(mojo: str) -> None:
    machine = MachineLimits(1)
    assert "bfloat16_flops_per_s" not in machine.measure()
    assert 1e8 < machine.measure(bfloat16=True)["bfloat16_flops_per_s"] < 1e14


def test_without_mojo_products_in_numpy_stand_in_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise mojo_build.MojoBuildError("not here")

    monkeypatch.setattr(mojo_build, "find_toolchain", missing)
    monkeypatch.setattr(limits_module, "PRODUCTS", 2)
    found = MachineLimits(1).measure()
    assert found["by"] == "the best of several matrix products in NumPy"
    assert 1e8 < found["flops_per_s"] < 1e13
    assert [probe["bytes"] for probe in found["bandwidth"]] == sorted({p["bytes"] for p in found["bandwidth"]})
    run = synthetic_run({"numpy": 0.04, "torch": 0.03})
    run.limits.append(found)
    summary = summarise(run)
    assert "by the best of several matrix products in NumPy" in tables.machine(summary)


def test_a_cold_forward_is_bound_by_memory_past_the_last_cache() -> None:
    config = moe.MoEConfig(1, 256, 1024, 4, 2)
    cold = measurement(config)
    cold.cache = "cold"
    assert bound_of(cold, LIMITS).seconds == pytest.approx(config.expected_bytes / 1e10)
