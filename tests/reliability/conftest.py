"""What the tests of hostile input and of faults share."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class Malicious:
    """Pickles as a call that makes a folder: what ran is there."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Iterator[Path]:
    """Return a path that must not exist when the test ends, because only an attack makes it."""
    path = tmp_path / "attacked"
    yield path
    assert not path.exists(), "a file's content was executed"


@pytest.fixture
def malicious(marker: Path) -> Malicious:
    """Return an object whose unpickling makes ``marker``."""
    return Malicious(marker)


@pytest.fixture
def malicious_pickle(malicious: Malicious) -> bytes:
    """Return a pickle that makes ``marker`` when it is loaded."""
    return pickle.dumps([malicious], protocol=2)


@pytest.fixture
def malicious_contents(malicious: Malicious) -> list[bytes]:
    """Return pickles in binary, in letters and in torch's archive, and what a YAML file may ask."""
    import torch

    archive = io.BytesIO()
    torch.save({"model": malicious}, archive)
    asked = f"!!python/object/apply:os.mkdir ['{malicious.marker}']\n"
    pickles = (pickle.dumps([malicious], protocol=protocol) for protocol in (0, 2, 4))
    return [*pickles, archive.getvalue(), asked.encode()]


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny bundle that a test may change."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def run_copy(tiny_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny run that a test may change."""
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that mounts a file system of so many KiB; needs root."""
    mounted: list[Path] = []

    def mount(size_kib: int) -> Path:
        place = tmp_path / f"disk-{len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(place)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            pytest.skip("there is no mount command")
        if done.returncode:
            pytest.skip(f"no file system may be mounted here ({done.stderr.strip()})")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
