"""A bundle of one's own, to damage or to change."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hemogat.runtime.bundle import write_sums


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """Return a copy of the tiny bundle that a test may change."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


@pytest.fixture
def edit_json() -> Callable[[Path, Callable[[Any], None]], None]:
    """Return a function that changes a bundle's JSON file and makes the hashes fit again."""

    def edit(path: Path, change: Callable[[Any], None]) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")
        folder = path.parent if (path.parent / "bundle.json").exists() else path.parent.parent
        write_sums(folder)

    return edit
