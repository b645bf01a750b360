"""Other libraries' implementations, each an extra: what runs, and what says how to install it."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoints, entry_points
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from moe.check import check_layer
from moe.cli import main
from moe.config import parse_config
from moe.implementations import availability, contract, create, names, registry
from moe.implementations.registry import ENTRY_POINTS, REGISTRY, load
from moe.measure.machine import EXTRAS
from moe.problem import make_problem
from moe.report.marks import peers_table
from moe.shapes import PEERS_MARK, render_peers

from .synthetic import synthetic_run

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = PROJECT["entry-points"][ENTRY_POINTS]
ANY_SIZE = {"transformers": ["transformers[experts=eager]"]}  # in place of what takes rows of whole 16 bytes alone
FORMED = ("zentorch",)  # computes other forms than the published too, and is tried nowhere else
VLLM = str(ROOT / "peers" / "vllm_layer.py:VllmLayer")
FORMS = {"onnxruntime": ["onnxruntime[form=graph]"], "jax": ["jax[form=ragged]"]}


def test_each_has_an_extra_of_its_name_with_exact_versions() -> None:
    peers = set(DECLARED)
    extras = PROJECT["optional-dependencies"]
    assert peers == set(extras) - {"dask", "dev", "peers"} == set(EXTRAS)
    (every,) = map(Requirement, extras["peers"])
    assert (every.name, every.extras) == ("moe", peers)
    for peer in peers:
        assert DECLARED[peer].endswith(f" [{peer}]")
        for requirement in map(Requirement, extras[peer]):
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            assert "*" not in pin.version


def test_they_come_after_the_table_in_the_order_that_they_are_declared_in() -> None:
    assert names(peers=True)[: len(REGISTRY) + len(DECLARED)] == [*REGISTRY, *DECLARED]
    assert not set(DECLARED) & set(names())


@pytest.mark.parametrize("peer", DECLARED)
def test_each_is_a_class_of_its_name_outside_the_package(peer: str) -> None:
    assert load(peer).name == peer
    assert load(peer).__module__.startswith("peers.")


def metadata(folder: Path, project: str, declared: dict[str, str]) -> None:
    """What an installation leaves in a folder of Python's path."""
    info = folder / f"{project}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
    lines = (f"{name} = {value}\n" for name, value in declared.items())
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\n{''.join(lines)}")


def test_an_older_installation_and_others_names_hide_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata(tmp_path, "moe", {})
    metadata(tmp_path, "theirs", {"numba": "theirs:Numba", "numpy": "theirs:NumPy"})
    monkeypatch.syspath_prepend(tmp_path)
    registry.load_again()
    assert names(peers=True)[: len(REGISTRY) + len(DECLARED)] == [*REGISTRY, *DECLARED]
    assert load("numba").__module__ == "peers.numba_layer"
    assert load("numpy").__module__ == "moe.implementations.numpy_layer"


def test_what_is_installed_is_read_once_until_something_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every package's own file is read for it."""
    read = []

    def counted(*, group: str) -> EntryPoints:
        read.append(group)
        return entry_points(group=group)

    monkeypatch.setattr(importlib.metadata, "entry_points", counted)
    monkeypatch.syspath_prepend(tmp_path)
    registry.load_again()
    assert main(["list"]) == 0
    assert "numpy" in capsys.readouterr().out
    assert len(read) == 1
    load("numba")
    assert len(read) == 1
    monkeypatch.setattr(sys, "path", [str(tmp_path)])  # in other folders something may come meanwhile
    assert names() == names()
    assert len(read) == 2
    metadata(tmp_path, "theirs", {"other": "theirs:Other"})
    assert "other" in names()
    assert len(read) == 3


@pytest.mark.parametrize("found", [None, "", "[project", '[project]\nname = "moe"\n', '[project]\nname = "theirs"\n'])
def test_without_a_checkout_what_is_installed_counts(
    found: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if found is not None:
        (tmp_path / "pyproject.toml").write_text(found)
    metadata(tmp_path, "moe", DECLARED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "DECLARED", tmp_path / "pyproject.toml")
    points = registry._own_entry_points.__wrapped__()
    assert {name: point.value for name, point in points.items()} == DECLARED


@pytest.mark.parametrize("peer", EXTRAS)
def test_what_is_not_installed_says_how(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "find_spec", lambda package: None)
    available, reason = availability(peer)
    assert not available
    assert reason.startswith(peer)
    assert reason.endswith(f"not installed: pip install -e '.[{peer}]'")


@pytest.mark.parametrize("peer", EXTRAS)
def test_the_contract_of_what_is_installed(peer: str) -> None:
    """In a process of its own: threads are a library's once a process, and zentorch changes PyTorch's compiler."""
    available, reason = availability(peer)
    if not available:
        pytest.skip(reason)
    # Warnings are these libraries' own affair; which other implementations there are is tested elsewhere.
    chosen = "not variants" if peer in FORMED else "not variants and not forms"
    tests = ["tests/test_contract.py", "-k", chosen, "-W", "default", "-p", "no:cacheprovider"]
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests],
        cwd=ROOT,
        env={**os.environ, "IMPLEMENTATIONS": " ".join(ANY_SIZE.get(peer, [peer, *FORMS.get(peer, [])]))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-3000:]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("seed,tokens=4", "for swiglu and geglu experts"),
        ("seed,tokens=4,expert=swiglu,weight_on=input", "weighed at their output"),
        ("seed,tokens=4,expert=swiglu,d_ff=40", "takes sizes that 32 divides"),
    ],
)
def test_vllms_operator_says_what_it_does_not_compute(config: str, why: str) -> None:
    problem = make_problem(parse_config(config))
    with pytest.raises(contract.NotAvailableError, match=why):
        create(VLLM, problem.weights, top_k=problem.top_k)


@pytest.mark.parametrize("config", ["seed,tokens=5,expert=swiglu", "granite-3.0-1b-a400m,tokens=3,num_experts=8"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vllms_operator_computes_the_layer(config: str, precision: str) -> None:
    available, reason = availability(VLLM)
    if not available:
        pytest.skip(reason)
    problem = make_problem(parse_config(f"{config},precision={precision}"))
    layer = create(VLLM, problem.weights, top_k=problem.top_k, threads=2)
    assert check_layer(layer, problem).passed


@pytest.mark.usefixtures("brief")
def test_one_that_raises_at_import_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('built for another NumPy')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["bench", "numba", "numpy", "--config", "smoke,tokens=4", "--budget", "0.5", "--anyway"]) == 1
    out = capsys.readouterr().out
    assert "failed: ImportError: built for another NumPy" in out
    assert "tokens/s   baseline" in out


def test_the_table_has_a_line_a_library_and_marks_what_is_faster() -> None:
    run = synthetic_run({"numpy": 0.02, "torch": 0.004, "mojo": 0.01}, (1, 2), noise=0.01)
    run.measurements[1].status, run.measurements[1].reason = "failed", "killed by SIGKILL"
    text = peers_table([run])
    assert text.count("| (1024, 256, 1024, 4, 2) |") == 2
    one, two = (part.splitlines() for part in text.split("| 1 thread |")[1].split("| 2 threads |"))
    assert one[2].startswith("| mojo | 10,0")
    assert one[3].startswith(("| numpy | 1.9", "| numpy | 2.0"))
    assert "**" not in one[3]
    assert one[4] == "| torch | – |"
    assert two[4].startswith("| torch | **0.")
    assert "- torch: failed, killed by SIGKILL" in text


def test_a_page_gets_the_table_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{PEERS_MARK}\nstale\n{PEERS_MARK}\nafter\n")
    with pytest.raises(ValueError, match="has no run"):
        render_peers(tmp_path, page)
    synthetic_run({"numpy": 0.02, "mojo": 0.01}).save(tmp_path / "seed.json")
    assert main(["peers", "--folder", str(tmp_path), "--page", str(page)]) == 0
    assert "| mojo | " in page.read_text()
    assert "stale" not in page.read_text()
    other = synthetic_run({"numpy": 0.02, "mojo": 0.01})
    other.machine["processor"] = "Slowium"
    other.save(tmp_path / "few.json")
    with pytest.raises(ValueError, match="other machines"):
        render_peers(tmp_path, page)
    assert main(["peers", "sead", "--folder", str(tmp_path)]) == 2
