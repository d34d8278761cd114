from __future__ import annotations

from pathlib import Path

import pytest

from hemogat import optional
from hemogat.errors import IncompleteError
from hemogat.optional import pip_line, require


def test_a_module_that_is_there_is_returned() -> None:
    assert require("json", extra="cpu").dumps([1]) == "[1]"


def test_a_missing_module_names_its_extra() -> None:
    with pytest.raises(IncompleteError, match=r"no_such_engine.*\[trt\]"):
        require("no_such_engine", extra="trt")


def test_the_pip_line_fits_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optional, "_ROOT", tmp_path)  # as site-packages, without a project file
    assert pip_line("cpu") == "pip install 'hemogat[cpu]'"
    (tmp_path / "pyproject.toml").touch()
    assert pip_line("cpu") == f"pip install '{tmp_path}[cpu]'"
