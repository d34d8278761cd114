from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from hemogat.benchmarks.environment import (
    Environment,
    GpuFacts,
    describe_environment,
    git_commit,
)


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    command = ["git", *identity, *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_it_says_what_figures_depend_on() -> None:
    found = describe_environment()
    assert found.cpu
    if sys.platform == "linux" and platform.machine() == "x86_64":
        assert found.cpu_model is not None
        assert " family " in found.cpu_model
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert found.versions["python"] == platform.python_version()
    assert {"onnxruntime", "numpy"} <= found.versions.keys()
    assert Environment.model_validate_json(found.model_dump_json()) == found


def test_it_reads_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    hardware, software = describe_environment().lines()
    found = describe_environment()
    assert f"{found.cpu}, {found.cores} cores (" in hardware
    assert hardware.endswith(found.os)
    assert f"numpy {found.versions['numpy']}" in software
    assert "OMP_NUM_THREADS=1" in software


def test_a_gpu_and_a_governor_are_named() -> None:
    gpu = GpuFacts(name="Some GPU", memory_mib=1024, driver="570.1")
    machine = describe_environment().model_copy(update={"gpus": (gpu,), "governor": "powersave"})
    assert "governor powersave, Some GPU (driver 570.1)" in machine.lines()[0]


def test_it_names_no_machine_user_or_place() -> None:
    text = describe_environment().model_dump_json()
    words = {platform.node(), getpass.getuser(), str(Path.home()), os.getcwd(), sys.prefix}
    assert [word for word in words if word and word in text] == []


def test_a_checkout_has_its_commit(checkout: Path) -> None:
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_changed_checkout_says_so(checkout: Path) -> None:
    (checkout / "file").write_text("2")
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD") + "-dirty"


def test_results_of_earlier_steps_do_not_change_the_code(checkout: Path) -> None:
    result = checkout / "benchmarks" / "results" / "a.json"
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    git(checkout, "add", ".")
    git(checkout, "commit", "-q", "-m", "A result")
    result.write_text("{1}")
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_tag_does_not_stand_for_the_commit(checkout: Path) -> None:
    git(checkout, "tag", "-a", "v1", "-m", "v1")
    assert git_commit(checkout) == git(checkout, "rev-parse", "HEAD")


def test_a_folder_inside_a_checkout_is_none(checkout: Path) -> None:
    inner = checkout / "site-packages"
    inner.mkdir()
    assert git_commit(inner) is None


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_commit(checkout) is None
