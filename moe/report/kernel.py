"""The kernel that executes a report's notebooks: this Python, with settings of its own.

Kernelspecs, IPython's profile and start-up files, and matplotlib's settings are the user's, for other notebooks: one
of them that names another Python, or prints, or wants LaTeX, would break every page.
"""

from pathlib import Path

from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager

from moe.folders import usable_folder


def own_kernel(scratch: Path) -> type[AsyncKernelManager]:
    """A manager of kernels of this Python, whatever it is asked for; what they keep is in `scratch`."""
    try:
        drawing = usable_folder("matplotlib")  # its list of fonts takes seconds to make
    except OSError:
        drawing = scratch / "matplotlib"
    environment = {
        "IPYTHONDIR": scratch / "ipython",
        "JUPYTER_RUNTIME_DIR": scratch / "jupyter",
        "MPLCONFIGDIR": drawing,
        "MATPLOTLIBRC": "",
        "MPLBACKEND": "agg",
        "PYTHONSTARTUP": "",
    }
    # A value is a template, in which a dollar sign begins a name.
    own = {name: str(value).replace("$", "$$") for name, value in environment.items()}
    spec = KernelSpec(**get_kernel_dict(), env=own)

    class OwnKernel(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    return OwnKernel
