"""The operating system's side of tritonserver: its environment, its children, its end."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hemogat.optional import require
from hemogat.serving.locate import TritonInstall


def children_of(pid: int) -> list[Any]:
    """Return all processes below ``pid``, as psutil's."""
    processes: list[Any] = _psutil().Process(pid).children(recursive=True)
    return processes


def lives(process: Any) -> bool:
    """Say whether one of them runs still; a number that another process got is not it."""
    psutil = _psutil()
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def runs(pid: int) -> bool:
    """Say whether there is a process of this number that has not ended."""
    psutil = _psutil()
    try:
        return lives(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def dying_with_parent() -> list[str]:
    """Return a prefix that has the kernel stop a command when the thread that started it ends.

    It covers what cannot be caught: the end of this process by SIGKILL, or by a signal that
    nobody handles. util-linux brings the program; without it there is no such safety net.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM"] if setpriv else []


def server_environment(install: TritonInstall) -> dict[str, str]:
    """Return an environment in which the models run with the Python that runs this.

    Triton's Python backend ignores PYTHONPATH and PYTHONHOME: it takes the ``python3`` that is
    first on PATH, with its virtual environment.
    """
    environment = dict(os.environ)
    _prepend(environment, "PATH", Path(sys.executable).parent)
    if install.library_path is not None:
        _prepend(environment, "LD_LIBRARY_PATH", install.library_path)
    return environment


def _prepend(environment: dict[str, str], variable: str, folder: Path) -> None:
    before = environment.get(variable)
    environment[variable] = f"{folder}{os.pathsep}{before}" if before else str(folder)


def _psutil() -> ModuleType:
    return require("psutil", extra="serve")
