from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from hemogat.cli.main import app

RUN = "from hemogat.cli.main import run; run()"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty workspace that the commands of the test use."""
    monkeypatch.setenv("HEMOGAT_WORKSPACE", str(tmp_path / "build"))
    return tmp_path / "build"


@pytest.fixture
def hemogat(workspace: Path) -> Callable[..., Result]:
    """Run a command in this process."""

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def hemogat_json(hemogat: Callable[..., Result]) -> Callable[..., Any]:
    """Run a command with --json, which must succeed, and return what it printed."""

    def invoke(*arguments: str | Path) -> Any:
        result = hemogat(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    return invoke


@pytest.fixture
def refused(hemogat: Callable[..., Result]) -> Callable[..., str]:
    """Run a command that must be refused with exit code 1 in one line, and return the line."""

    def invoke(*arguments: str | Path) -> str:
        result = hemogat(*arguments)
        assert result.exit_code == 1, result.output
        assert result.stdout == ""
        *_, line = result.stderr.splitlines()
        assert line.startswith("error: ")
        return line

    return invoke


@pytest.fixture
def hemogat_process(workspace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a fresh interpreter in which the modules ``without`` are not installed."""

    def invoke(
        *arguments: str | Path, without: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        hidden = f"import sys; sys.modules.update(dict.fromkeys({without!r})); "
        return subprocess.run(
            [sys.executable, "-c", hidden + RUN, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "COLUMNS": "80"},
        )

    return invoke
