"""The kernel's switches: every setting is right, and off means off."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import moe
from moe import mojo_build
from moe.analysis.attribution import Attribution, attribute
from moe.analysis.pairing import Grid
from moe.check import check_layer
from moe.implementations.mojo_kernel import SWITCHES, setting_number

from .agreement import layer_for, parity_of, the_edges, the_problem, the_references
from .assembly import ask_at_once, assembly, lanes

pytestmark = pytest.mark.long

SETTINGS = [dict(zip(SWITCHES, s, strict=True)) for s in itertools.product(("on", "off"), repeat=len(SWITCHES))]
# Compiled beforehand, so that sixteen settings of it cost no further compilation.
SEED = moe.PRESETS["seed"]

# Packed arithmetic of x86 and of ARM; a scalar's register is moved, and set to zero, by instructions for vectors too.
PACKED_X86 = re.compile(
    r"^\s+v?(?:p?(?:add|sub|mul|min|max)|div|fn?m(?:add|sub)\d*)\w*p[sd]\b|^\s+vp(?:add|sub|mul)\w*", re.M
)
PACKED_ARM = re.compile(r"^\s+(?:f|s|u)?(?:add|sub|mul|mla|div|min|max)\w*\s+v\d+\.\d+[bhsd]", re.M)
SCALAR = re.compile(r"^\s+(?:vfmadd\d+ss|fmadd\s+s\d+)", re.M)


def written(setting: dict[str, str], **more: str) -> str:
    options = ",".join(f"{key}={value}" for key, value in {**setting, **more}.items())
    return f"mojo[{options}]"


def test_numbers_of_settings_are_different() -> None:
    assert sorted(setting_number(**setting) for setting in SETTINGS) == list(range(16))


@pytest.mark.parametrize("setting", SETTINGS, ids=written)
def test_every_setting_on_every_edge(mojo: str, setting: dict[str, str]) -> None:
    for edge, problem in the_edges().items():
        for threads in (1, 2):
            parity = parity_of(written(setting), problem, edge, threads)
            assert parity.passed, (edge, threads, parity.reason)


@pytest.mark.parametrize("setting", SETTINGS, ids=written)
def test_every_setting_compiled_for_its_sizes(mojo: str, setting: dict[str, str]) -> None:
    for tokens in (0, 1, 5, 70):
        config = SEED.with_tokens(tokens)
        problem = the_problem(config)
        layer = layer_for(written(setting, specialize="on"), problem, 2)
        assert layer.implementation.library.path == mojo_build.build(mojo_build.prepared_sizes()[1]).path
        parity = check_layer(layer, problem, partial(the_references.of, config))
        assert parity.passed, (tokens, parity.reason)


@pytest.mark.parametrize("option", ["simd=no", "specialize=1", "pool="])
def test_a_switch_is_on_or_off(mojo: str, option: str) -> None:
    problem = moe.make_problem(moe.PRESETS["smoke"])
    with pytest.raises(ValueError, match=r"one of on, off|key=value"):
        moe.create(f"mojo[{option}]", problem.weights, top_k=2)


def assembly_of(sources: Path = mojo_build.SOURCE, **switches: str) -> str:
    return assembly(f"form_of({setting_number(**switches, pool='on')})", sources)


def packed(text: str) -> Counter[str]:
    found = [*PACKED_X86.findall(text), *PACKED_ARM.findall(text)]
    return Counter(line.split()[0] for line in found)


@pytest.mark.parametrize("tile", ["on", "off"])
@pytest.mark.parametrize("batch", ["on", "off"])
def test_one_lane_means_no_packed_arithmetic(mojo: str, tile: str, batch: str) -> None:
    one = assembly_of(simd="off", tile=tile, batch=batch)
    assert not packed(one)
    assert SCALAR.search(one)


def test_vectors_mean_packed_arithmetic(mojo: str) -> None:
    assert packed(assembly_of(simd="on", tile="on", batch="on")).total() > 100


def counted(sources: Path, *names: str) -> Attribution:
    """Switches attributed by multiply-add instructions instead of seconds: no clock is asked."""
    combinations = [
        {name: "on" if number >> i & 1 else "off" for i, name in enumerate(names)}
        for number in range(2 ** len(names))
    ]

    def text_of(on: dict[str, str]) -> str:
        return assembly_of(sources, **{"tile": "on", **on}, batch="on")

    ask_at_once(text_of, [(on,) for on in combinations])
    seconds = [[1 / lanes(text_of(on))] * 6 for on in combinations]
    return attribute(names, Grid(np.array(seconds), [0, 0, 0, 1, 1, 1], [True] * len(seconds)))


def test_a_switch_without_its_effect_has_no_share(mojo: str, tmp_path: Path) -> None:
    simd, tile = counted(mojo_build.SOURCE, "simd", "tile").factors
    assert simd.times.value >= 4
    assert simd.share is not None
    assert simd.share.value == pytest.approx(1)
    assert tile.times.value == pytest.approx(1)
    for path in mojo_build.sources():
        (tmp_path / path.name).write_text(path.read_text())
    form = tmp_path / "form.mojo"
    text = form.read_text()
    assert text.count("LANES if self.simd else 1") == 1
    form.write_text(text.replace("LANES if self.simd else 1", "1"))
    ignored = counted(tmp_path, "simd").factors[0]
    assert (ignored.times.value, ignored.share) == (pytest.approx(1), None)
