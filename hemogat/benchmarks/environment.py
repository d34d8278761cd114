"""The machine and software that a measurement ran on: what it takes to judge or repeat it.

Reports get published, so nothing here names the machine, its user or a place on its disk.
"""

from __future__ import annotations

import glob
import os
import platform
import subprocess
from pathlib import Path

from pydantic import Field

import hemogat
from hemogat.config import PositiveInt, Settings
from hemogat.machine import cuda_version, this_machine
from hemogat.versions import installed_versions

_PACKAGES = (
    "hemogat", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "torch",
    "torch-geometric", "transformers", "numpy", "tokenizers", "soundfile", "soxr",
    "tritonclient", "nvidia-pytriton",
)  # fmt: skip
# What limits or binds the threads of the engines' libraries from outside.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_PROC_BIND")
_GOVERNORS = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_GIT_TIMEOUT_S = 10
# Results are what comes of the code: those of earlier steps do not change it.
_MEASURED = (".", ":(exclude)benchmarks/results")

# What decides the speed of products of matrices: flag of the kernel, in file names, in words. The
# first that a processor has counts; each has those below it of its kind.
_VECTORS = (
    ("amx_tile", "amx", "AMX"),
    ("avx512_bf16", "avx512-bf16", "AVX-512, VNNI and bf16"),
    ("avx512_vnni", "avx512-vnni", "AVX-512 and VNNI"),
    ("avx512f", "avx512", "AVX-512"),
    ("avx_vnni", "avx-vnni", "AVX2 and VNNI"),
    ("avx2", "avx2", "AVX2"),
    ("i8mm", "i8mm", "NEON and i8mm"),
    ("asimd", "asimd", "NEON"),
)

LoadAverage = tuple[float, float, float]


class GpuFacts(Settings):
    """One GPU; ``memory_mib`` is None where it is shared with the processor."""

    name: str
    memory_mib: int | None
    driver: str


class Environment(Settings):
    """Hardware and software.

    ``cpu_model``: maker, family, model and stepping, which a virtual machine's name for its
    processor may hide. ``cores`` are the logical ones that this process may use. ``governor``: how
    the kernel chooses clock rates; None where it does not, as in most virtual machines. ``cuda``:
    the newest that the driver supports. ``thread_variables``: those of the environment that limit
    the threads of libraries. ``git_commit`` is that of the checkout that hemogat runs from, ending
    in ``-dirty`` where files other than results differ from it; None when hemogat is installed.
    """

    cpu: str
    cpu_model: str | None = None
    cores: PositiveInt
    cpu_flags: tuple[str, ...]
    memory_gib: float | None
    governor: str | None = None
    gpus: tuple[GpuFacts, ...] = ()
    cuda: str | None = None
    os: str
    versions: dict[str, str]
    thread_variables: dict[str, str] = Field(default_factory=dict)
    git_commit: str | None

    @property
    def file_words(self) -> tuple[str, ...]:
        """What tells the machine in names of files: processor, widest vectors, cores."""
        vectors = [word for flag, word, _ in _VECTORS if flag in self.cpu_flags][:1]
        return (self.cpu, *vectors, f"{self.cores}c")

    @property
    def cpu_in_words(self) -> str:
        """The processor with its widest vectors: "AMD EPYC with AVX2"."""
        vectors = [words for flag, _, words in _VECTORS if flag in self.cpu_flags][:1]
        return " with ".join((self.cpu, *vectors))

    def lines(self) -> list[str]:
        """Return it in words: hardware, then software."""
        flags = ", ".join(self.cpu_flags) or "no vector extensions known"
        hardware = [f"{self.cpu}, {self.cores} cores ({flags})"]
        hardware += [self.cpu_model] if self.cpu_model is not None else []
        hardware += [f"{self.memory_gib:g} GiB"] if self.memory_gib is not None else []
        hardware += [f"governor {self.governor}"] if self.governor is not None else []
        hardware += [f"{gpu.name} (driver {gpu.driver})" for gpu in self.gpus]
        hardware += [f"CUDA {self.cuda}"] if self.cuda is not None else []
        software = [f"{name} {version}" for name, version in self.versions.items()]
        software += [f"{name}={value}" for name, value in self.thread_variables.items()]
        commit = f"; commit {self.git_commit}" if self.git_commit else ""
        return [f"{', '.join(hardware)}; {self.os}", ", ".join(software) + commit]


def describe_environment() -> Environment:
    """Describe this machine and the installed software."""
    machine = this_machine()
    memory_bytes = machine.memory_bytes
    return Environment(
        cpu=machine.cpu,
        cpu_model=machine.cpu_model,
        cores=machine.cores,
        cpu_flags=machine.cpu_flags,
        memory_gib=None if memory_bytes is None else round(memory_bytes / 2**30, 1),
        governor=_governor(),
        gpus=tuple(
            GpuFacts(name=gpu.name, memory_mib=gpu.memory_mib, driver=gpu.driver)
            for gpu in machine.gpus
        ),
        cuda=cuda_version() if machine.gpus else None,
        os=_operating_system(),
        versions=installed_versions(_PACKAGES),
        thread_variables={n: os.environ[n] for n in _THREAD_VARIABLES if n in os.environ},
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
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", *_MEASURED)
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-dirty" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=True
    ).stdout.strip()


def _governor() -> str | None:
    """Return the governor of all cores; several, if they differ, joined by a slash."""
    found = {Path(path).read_text(encoding="ascii").strip() for path in glob.glob(_GOVERNORS)}
    return "/".join(sorted(found)) or None


def _operating_system() -> str:
    # What follows the dash in a kernel's release is often its builder's own.
    kernel = f"{platform.system()} {platform.release().partition('-')[0]}"
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {kernel}"
    except OSError:
        return kernel
