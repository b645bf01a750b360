"""Executing a notebook with papermill and rendering it with nbconvert."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import papermill
from jupyter_core.paths import ENV_JUPYTER_PATH, jupyter_path
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from moe.implementations.own_files import import_path
from moe.report.kernel import own_kernel
from moe.report.origin import Foot
from moe.report.pages import IN_EVERY_PAGE, INDEX, TEMPLATES, finished, fold, navigation, with_data
from moe.report.text import printable

CELL_TIMEOUT_S = 600
HIDDEN_TAGS = ("parameters", "injected-parameters", "remove-cell")


class NotebookFailedError(RuntimeError):
    """A notebook did not run to its end; the message says which cell, why, and where it lies."""


def execute(source: Path, target: Path, parameters: Mapping[str, Any]) -> Path:
    """Run a notebook in this Python with `parameters` and save it as `target`, which is returned.

    Raises NotebookFailedError unless every code cell ran without an error.
    """
    try:
        with TemporaryDirectory(prefix="moe-kernel-") as scratch:
            papermill.execute_notebook(
                _unformatted(source),
                _unformatted(target),
                parameters={k: printable(v) if isinstance(v, str) else v for k, v in parameters.items()},
                kernel_name="python3",
                kernel_manager_class=own_kernel(Path(scratch)),
                cwd=str(target.parent),
                progress_bar=False,
                execution_timeout=CELL_TIMEOUT_S,
                autosave_cell_every=0,
                extra_arguments=[
                    # Else ipykernel warns at each start that it talks over TCP, and calls being ended an error.
                    "--IPKernelApp.log_level=50",
                    # It imports from where this process does, and not from the folder that it is in.
                    f"--IPKernelApp.exec_lines=import sys; sys.path[:] = {import_path()!r}",
                ],
            )
    except PapermillExecutionError as error:
        # It counts code cells from 1 in the notebook with the injected cell, as the saved one shows them.
        why = f"{error.ename}: {error.evalue}"
        raise NotebookFailedError(
            f"{source.name} failed in cell [{error.exec_count}]: {why} (executed as far as that in {target})"
        ) from None
    except DeadKernelError:
        command = shlex.join([sys.executable, "-m", "ipykernel_launcher"])
        raise NotebookFailedError(
            f"{source.name} failed: its kernel died, {command}; what it said last stands above, and {command} "
            f"--version says whether it can start (see {target})"
        ) from None
    except Exception as error:
        raise NotebookFailedError(f"{source.name} failed: {type(error).__name__}: {error} (see {target})") from error
    _require_whole(source, target)
    return target


def _unformatted(path: Path) -> str:
    """A path as papermill takes it, which puts parameters in the place of names in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _require_whole(source: Path, target: Path) -> None:
    """Raise unless every code cell ran: a cell that calls exit(0) ends a notebook without an error."""
    cells = [cell for cell in nbformat.read(target, as_version=4).cells if cell.cell_type == "code" and cell.source]
    for number, cell in enumerate(cells, 1):
        if cell.execution_count is None or any(output.output_type == "error" for output in cell.outputs):
            raise NotebookFailedError(f"{source.name} stopped at code cell {number} of {len(cells)} (see {target})")


class Page(HTMLExporter):  # type: ignore[misc]
    """Pages by the templates of this Python's packages, not by a user's of the same names."""

    def get_prefix_root_dirs(self) -> list[str]:
        """Folders of Jupyter's in which templates are looked for."""
        own = [root for root in ENV_JUPYTER_PATH if Path(root, "nbconvert", "templates", "lab").is_dir()]
        return own or list(jupyter_path())


def render(notebook: Path, foot: Foot, pages: Sequence[str], run: Path) -> str:
    """The page of an executed notebook on a run's file, one of `pages`: one file that opens without a network."""
    config = Config()
    config.TagRemovePreprocessor.remove_cell_tags = HIDDEN_TAGS
    config.TagRemovePreprocessor.remove_input_tags = ("remove-input",)
    config.TagRemovePreprocessor.enabled = True
    exporter = Page(
        config=config,
        template_name="report",
        extra_template_basedirs=[str(TEMPLATES)],
        embed_images=True,
        exclude_anchor_links=True,
    )
    resources = {"foot": foot, "navigation": navigation(notebook.stem, [INDEX, *pages]), **IN_EVERY_PAGE}
    html, _ = exporter.from_notebook_node(fold(nbformat.read(notebook, as_version=4)), resources=resources)
    return with_data(finished(str(html)), run.read_bytes(), run.name)
