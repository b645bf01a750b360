"""A report from beginning to end: measure, execute the notebooks on the runs, render, point `latest` at it."""

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from jupyter_core.utils import ensure_event_loop

from moe.analysis.verdicts import Trial
from moe.claims import load_claims
from moe.config import parse_config
from moe.measure.busy import wait_until_quiet
from moe.measure.compare import compare
from moe.measure.replay import REPLAY_S
from moe.measure.saving import RunEndedError
from moe.measure.sweep import sweep
from moe.report import breakdown, claims, comparison, scaling, scaling_views
from moe.report.index import Findings, Page, render_index
from moe.report.origin import foot, read_parameters, write_parameters
from moe.report.packing import RESULTS, pack, results
from moe.report.pages import INDEX
from moe.report.parameters import NOTEBOOKS, resolve
from moe.report.parameters import read_parameters as read_notebook
from moe.report.render import NotebookFailedError, execute, render
from moe.report.show import FIGURES
from moe.report.source import LATEST, REPORTS, run_file
from moe.run import Run, RunFileError, load_run, write_atomically

AT_A_TIME = 2  # notebooks: nothing is measured meanwhile


@dataclass(frozen=True)
class Notebook:
    """A notebook's experiment, and what is shown of it in the index.

    `arguments` turns its parameters into those of `measure`; `findings` says what the run at a path
    says; `figure` shows it best.
    """

    arguments: Callable[..., dict[str, Any]]
    findings: Callable[[Path], Findings]
    figure: str
    measure: Callable[..., Run] = compare


def _of_run(findings: Callable[[Run], Findings]) -> Callable[[Path], Findings]:
    return lambda path: findings(load_run(path))


# The notebooks of a report, in the order in which they are measured: claims are held against the runs before.
# Others in the folder are somebody's own.
EXPERIMENTS = {
    "comparison": Notebook(comparison.arguments, _of_run(comparison.findings), "fastest"),
    "breakdown": Notebook(breakdown.arguments, _of_run(breakdown.findings), "inside-mojo"),
    "scaling": Notebook(scaling.arguments, _of_run(scaling_views.findings), "tokens-d_model", sweep),
    "claims": Notebook(claims.arguments, claims.findings, "claims", claims.measure),
}


def make_report(profile: str, assignments: Sequence[str], *, share: bool = False, wait: bool = False) -> int:
    """Measure and render a report, packed into one file to `share`; returns the exit code.

    With `wait` a busy machine gets some seconds to come to rest first. Raises ValueError for a wrong profile or
    parameter.
    """
    parameters = resolve(profile, assignments, list(EXPERIMENTS))
    command = shlex.join(["moe", "report", "--profile", profile, *(part for a in assignments for part in ("-p", a))])
    folder = measure_report(profile, parameters, command, wait=wait)
    code = _render_all(folder, parameters, share)
    if all((folder / f"{name}.html").exists() for name in EXPERIMENTS):
        _point_latest_at(folder)
        print(f"{REPORTS / LATEST} is this report")
    return code


def measure_report(profile: str, parameters: dict[str, dict[str, Any]], command: str, *, wait: bool = False) -> Path:
    """Measure all of a report's runs into a new folder, which it returns.

    Raises ValueError for a wrong parameter, before anything is measured.
    """
    measurements = {name: EXPERIMENTS[name].arguments(**values) for name, values in parameters.items()}
    busy = wait_until_quiet() if wait else None
    folder = REPORTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{profile}"
    folder.mkdir(parents=True)
    write_parameters(folder, command, parameters, busy)
    with _ending_says_what_is_in(folder):
        for name, arguments in measurements.items():
            _say(f"measuring for {name}, about {arguments.get('budget_s', REPLAY_S):.0f} s")
            EXPERIMENTS[name].measure(**arguments, path=run_file(folder, name))
    return folder


@contextmanager
def _ending_says_what_is_in(folder: Path) -> Iterator[None]:
    """Add to what ends a report early where its runs are and how to go on with them."""
    go_on = f"what was measured is in {folder}; moe report --from {shlex.quote(str(folder))} makes pages of it"
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(go_on) from None
    except RunEndedError as error:
        raise RunEndedError(error.run, f"{error}; {go_on}") from error
    except OSError as error:
        raise OSError(f"{error}; {go_on}") from error


def try_claims(file: str, source: Path | None, profile: str, *, wait: bool = False) -> Trial:
    """The claims of a file, held against the runs in `source` or new ones; raises ValueError for another file.

    New runs are of the file's layer and of what it names, and are kept in a report's folder; with `wait` a busy
    machine gets some seconds to come to rest before them.
    """
    path = claims.claims_file(file)
    on_trial = load_claims(path)
    if source is not None:
        return claims.trial_of(source, path)
    parameters = resolve(profile, [f"claims={path}"], list(EXPERIMENTS))
    asked, broken_down = parameters["comparison"], parameters["breakdown"]
    tokens = parse_config(broken_down["config"]).tokens
    asked["config"] = ",".join(f"{key}={value}" for key, value in on_trial.config.to_dict().items())
    broken_down["config"] = f"{asked['config']},tokens={tokens}"
    asked |= {"implementations": ",".join(claims.implementations_for(on_trial)), "cuda": False}
    command = shlex.join(["moe", "claims", file, "--profile", profile])
    return claims.trial_of(measure_report(profile, parameters, command, wait=wait))


def render_again(folder: Path) -> int:
    """Render a report's folder without measuring; returns the exit code. Raises ValueError for another folder."""
    return _render_all(folder.resolve(), read_parameters(folder).notebooks, share=False)


def _render_all(folder: Path, parameters: Mapping[str, Mapping[str, Any]], share: bool) -> int:
    """Every notebook's page that can be made, and the index over them."""
    pages: list[Page] = []
    runs: dict[str, Run] = {}
    with _ending_says_what_is_in(folder):
        for name, (page, run) in zip(parameters, _all_made(folder, parameters), strict=True):
            if page.failed:
                _say(f"moe: {page.failed}")
            else:
                print(folder / f"{name}.html", flush=True)
            pages.append(page)
            if run is not None:
                runs[name] = run
        if not runs:
            raise ValueError(f"{folder} has no run that can be read")
        write_atomically(folder / RESULTS, results(runs))
        write_atomically(folder / f"{INDEX}.html", render_index(pages, foot(list(runs.values()), folder)))
        print(folder / f"{INDEX}.html")
        if share:
            print(pack(folder))
    return 1 if any(run.went_wrong for run in runs.values()) or any(page.failed for page in pages) else 0


def _all_made(folder: Path, parameters: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Page, Run | None]]:
    """What becomes of each notebook, in their order; some are executed at a time, each in a process of its own."""
    workers = ThreadPoolExecutor(AT_A_TIME)
    try:
        names = list(parameters)
        yield from workers.map(lambda name: _made(folder, name, names, parameters[name]), names)
    finally:
        workers.shutdown(cancel_futures=True)


def _made(folder: Path, name: str, pages: Sequence[str], parameters: Mapping[str, Any]) -> tuple[Page, Run | None]:
    """A notebook's page, one of `pages`, or why there is none, and the run that it shows, if that can be read."""
    notebook, path = NOTEBOOKS / f"{name}.ipynb", run_file(folder, name)
    title = nbformat.read(notebook, as_version=4).metadata.title
    page = Page(name, title, folder / FIGURES / f"{EXPERIMENTS[name].figure}.svg")
    run = None
    try:
        run = load_run(path)
        _say(f"executing {notebook.name}")
        # An older report may have been made with parameters that the notebook no longer has.
        known = {key: parameters[key] for key in read_notebook(notebook) if key in parameters}
        executed = execute(notebook, folder / notebook.name, {**known, "run": str(path)})
        write_atomically(folder / f"{name}.html", render(executed, foot([run], folder), pages, path))
        return replace(page, findings=EXPERIMENTS[name].findings(path)), run
    except (NotebookFailedError, RunFileError) as error:
        return replace(page, failed=str(error)), run
    finally:
        ensure_event_loop().close()  # of this thread, which Jupyter makes


def _point_latest_at(folder: Path) -> None:
    """Replace the link in one step: a reader finds the old report or the new one."""
    with tempfile.TemporaryDirectory(dir=REPORTS) as scratch:
        link = Path(scratch) / "latest"
        link.symlink_to(os.path.relpath(folder, REPORTS))
        os.replace(link, REPORTS / LATEST)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
