"""Finding a tritonserver, and the Python that its Python backend runs models with."""

from __future__ import annotations

import ctypes.util
import importlib.util
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hemogat.errors import IncompleteError
from hemogat.optional import pip_line

_STUB = "triton_python_backend_stub"
_RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class TritonInstall:
    """One tritonserver with its Python backend.

    ``stub`` is the program that Triton runs each Python model in; ``library_path`` is the folder
    of the shared libpython that it needs, None where the system finds it by itself.
    """

    executable: Path
    python_backend: Path
    stub: Path
    library_path: Path | None

    def backend_directory(self, work_dir: Path) -> Path:
        """Return a folder of backends for ``--backend-directory``; links one in ``work_dir``.

        Triton looks for the stub beside the backend, where nvidia-pytriton, which has one for
        each Python version, does not keep it.
        """
        if self.stub.parent == self.python_backend:
            return self.python_backend.parent
        folder = work_dir / "backends" / "python"
        folder.mkdir(parents=True)
        for file in (*self.python_backend.iterdir(), self.stub):
            (folder / file.name).symlink_to(file)
        return folder.parent


def find_tritonserver() -> TritonInstall:
    """Find tritonserver on PATH, else in the installed nvidia-pytriton.

    Raises:
        IncompleteError: there is none, or its Python backend cannot run this Python; says what
            to install.
    """
    on_path = shutil.which("tritonserver")
    if on_path:
        executable = Path(on_path).resolve()
        python_backend = executable.parent.parent / "backends" / "python"
        stub = python_backend / _STUB
    else:
        root = _pytriton_root()
        executable = root / "bin" / "tritonserver"
        python_backend = root / "backends" / "python"
        stub = root / "python_backend_stubs" / _RUNNING / _STUB
    for path in (executable, python_backend / "libtriton_python.so", stub):
        if not path.is_file():
            raise IncompleteError(
                f"{path}: not found, so this tritonserver cannot run models with Python "
                f"{_RUNNING}; install one that can: {pip_line('serve')}"
            )
    return TritonInstall(executable, python_backend, stub, _library_path(stub))


def _pytriton_root() -> Path:
    spec = importlib.util.find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise IncompleteError(
            "tritonserver is neither on PATH nor in an installed nvidia-pytriton; "
            f"install it with: {pip_line('serve')}"
        )
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        raise IncompleteError(
            f"the tritonserver in nvidia-pytriton needs numpy < 2, found {np.__version__}; "
            "install it with: pip install 'numpy<2'"
        )
    return Path(spec.origin).parent / "tritonserver"


def _library_path(stub: Path) -> Path | None:
    """Find the libpython that ``stub`` is linked to, which must be of the running version."""
    match = re.search(rb"libpython(3\.\d+)\.so[.\d]*", stub.read_bytes())
    if match is None:
        raise IncompleteError(f"{stub}: is linked to no libpython; install another tritonserver")
    library, version = match[0].decode(), match[1].decode()
    if version != _RUNNING:
        raise IncompleteError(
            f"{stub}: runs models with Python {version}, but this is Python {_RUNNING}; "
            f"run hemogat with Python {version}"
        )
    folders = (Path(sysconfig.get_config_var("LIBDIR") or ""), Path(sys.base_prefix) / "lib")
    for folder in folders:
        if (folder / library).is_file():
            return folder
    if ctypes.util.find_library(f"python{version}"):
        return None
    raise IncompleteError(
        f"{library}: not found in {folders[-1]} nor on the system, and Triton runs models with it; "
        f"install it (Debian, Ubuntu: apt-get install libpython{version})"
    )
