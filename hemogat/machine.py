"""The machine this runs on: processor, memory, GPUs. Standard library only."""

from __future__ import annotations

import csv
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

# What decides which kernels an engine runs in fp32, bf16 and int8, and whether the machine is a
# virtual one.
_TELLING_CPU_FLAGS = (
    "avx2",
    "avx_vnni",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "i8mm",
    "bf16",
    "hypervisor",
)
_GPU_FIELDS = "name,memory.total,driver_version,compute_cap"
_NVIDIA_SMI_TIMEOUT_S = 20  # a driver that hangs must not hang whoever asks


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU; ``memory_mib`` is None where it is shared with the processor."""

    name: str
    memory_mib: int | None
    driver: str
    compute_capability: str


@dataclass(frozen=True)
class Machine:
    """The facts that results depend on.

    ``cpu_model``: maker, family, model and stepping, as a virtual machine may hide the name; None
    where it cannot be told. ``cores``: the logical ones that this process may use;
    ``memory_bytes``: None where it cannot be told.
    """

    python: str
    platform: str
    cpu: str
    cpu_model: str | None
    cores: int
    cpu_flags: tuple[str, ...]
    memory_bytes: int | None
    gpus: tuple[Gpu, ...]


def this_machine() -> Machine:
    """Look at the machine; imports no library and starts nothing on a GPU."""
    cpuinfo = _cpuinfo()
    flags = set((cpuinfo.get("flags") or cpuinfo.get("Features") or "").split())
    return Machine(
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=cpuinfo.get("model name") or platform.processor() or platform.machine(),
        cpu_model=_cpu_model(cpuinfo),
        cores=usable_cores(),
        cpu_flags=tuple(flag for flag in _TELLING_CPU_FLAGS if flag in flags),
        memory_bytes=_memory_bytes(),
        gpus=find_gpus(),
    )


def find_gpus() -> tuple[Gpu, ...]:
    """Ask nvidia-smi for the GPUs; none where it is absent or fails."""
    command = ["nvidia-smi", f"--query-gpu={_GPU_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_NVIDIA_SMI_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = csv.reader(answer.stdout.splitlines(), skipinitialspace=True)
    return tuple(
        Gpu(name, int(memory) if memory.isdecimal() else None, driver, capability)
        for name, memory, driver, capability in rows
    )


def cuda_version() -> str | None:
    """Return the newest CUDA that the driver supports; None where nvidia-smi does not tell."""
    try:
        answer = subprocess.run(
            ["nvidia-smi"],
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"CUDA Version:\s*([\d.]+)", answer.stdout)
    return found.group(1) if found else None


def _cpu_model(cpuinfo: dict[str, str]) -> str | None:
    maker, family = cpuinfo.get("vendor_id"), cpuinfo.get("cpu family")
    if maker is None or family is None:
        return None
    model, stepping = cpuinfo.get("model", "?"), cpuinfo.get("stepping", "?")
    return f"{maker} family {family} model {model} stepping {stepping}"


def _cpuinfo() -> dict[str, str]:
    """Return the entries of the first processor; empty where there is no /proc."""
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def usable_cores() -> int:
    """Return how many logical cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no such call or name on this system
        return None
