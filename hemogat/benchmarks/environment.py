"""The machine and software that a measurement ran on: what it takes to judge or repeat it.

Reports get published, so nothing here names the machine, its user or a place on its disk.
"""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import hemogat
from hemogat.config import PositiveInt, Settings
from hemogat.machine import this_machine
from hemogat.versions import installed_versions

_PACKAGES = (
    "hemogat", "onnxruntime", "numpy", "tokenizers", "soundfile", "soxr", "tritonclient",
    "nvidia-pytriton",
)  # fmt: skip
_GIT_TIMEOUT_S = 10

LoadAverage = tuple[float, float, float]


class Environment(Settings):
    """Hardware and software.

    ``cores`` are the logical ones that this process may use. ``git_commit`` is that of the
    checkout that hemogat runs from, ending in ``-dirty`` where files differ from it; None when
    hemogat is installed.
    """

    cpu: str
    cores: PositiveInt
    cpu_flags: tuple[str, ...]
    memory_gib: float | None
    os: str
    versions: dict[str, str]
    git_commit: str | None


def describe_environment() -> Environment:
    """Describe this machine and the installed software."""
    machine = this_machine()
    memory_bytes = machine.memory_bytes
    return Environment(
        cpu=machine.cpu,
        cores=machine.cores,
        cpu_flags=machine.cpu_flags,
        memory_gib=None if memory_bytes is None else round(memory_bytes / 2**30, 1),
        os=_operating_system(),
        versions=installed_versions(_PACKAGES),
        git_commit=git_commit(Path(hemogat.__file__).parent.parent),
    )


def load_average() -> LoadAverage:
    """Return the machine's load averaged over 1, 5 and 15 minutes."""
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def git_commit(root: Path) -> str | None:
    """Return the commit of the checkout at ``root``; None where there is none or no git."""
    if not (root / ".git").exists():  # a repository that merely holds the installation has no say
        return None
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _operating_system() -> str:
    # What follows the dash in a kernel's release is often its builder's own.
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except OSError:
        return kernel
