from __future__ import annotations

import platform
from pathlib import Path

import pytest

from hemogat.machine import Gpu, find_gpus, this_machine


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a program to write that is found as nvidia-smi."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def write_program(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_this_machine_can_be_described() -> None:
    machine = this_machine()
    assert machine.python == platform.python_version()
    assert machine.cores >= 1
    assert machine.cpu
    assert machine.memory_bytes is None or machine.memory_bytes > 2**20


def test_gpus_as_nvidia_smi_lists_them(nvidia_smi: Path) -> None:
    rows = ("NVIDIA H200, 143771, 580.65, 9.0", "NVIDIA GB10, [N/A], 580.65, 12.1")
    write_program(nvidia_smi, "\n".join(f"echo '{row}'" for row in rows))
    assert find_gpus() == (
        Gpu("NVIDIA H200", 143771, "580.65", "9.0"),
        Gpu("NVIDIA GB10", None, "580.65", "12.1"),
    )


def test_no_gpu_where_nvidia_smi_fails_or_is_absent(nvidia_smi: Path) -> None:
    assert find_gpus() == ()
    write_program(nvidia_smi, "echo 'cannot communicate with the driver'; exit 9")
    assert find_gpus() == ()
