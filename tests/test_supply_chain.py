"""What an installation resolves to: pinned, and told in the wheel's bill of materials."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / ".ci" / "resolved.py"


@pytest.fixture(scope="module")
def resolving() -> ModuleType:
    spec = importlib.util.spec_from_file_location("resolving", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bill_of_materials_lists_what_the_wheel_needs_and_no_more(tmp_path: Path) -> None:
    """As ``make wheel`` makes it."""
    needs = subprocess.run(
        [sys.executable, str(SCRIPT), "hemogat[cpu,serve]"], capture_output=True, check=True
    ).stdout
    path = tmp_path / "bill.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", "-o", str(path), "-"]
    subprocess.run(command, input=needs, capture_output=True, check=True)
    listed = {part["name"]: part["version"] for part in json.loads(path.read_text())["components"]}
    assert {"numpy", "onnxruntime", "soundfile", "tokenizers", "tritonclient"} <= listed.keys()
    assert not {"pytest", "torch", "ruff", "transformers", "hemogat"} & listed.keys()
    assert all(listed.values())


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the pins are of Python 3.11")
def test_everything_that_is_installed_is_pinned(resolving: ModuleType) -> None:
    """If this fails: ``make constraints``."""
    pinned = {
        name
        for file in ("constraints.txt", "constraints-indirect.txt")
        for name in resolving.pinned(ROOT / file)
    }
    assert resolving.resolved(Requirement("hemogat[demo,dev]")).keys() <= pinned
