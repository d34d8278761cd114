from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result


@pytest.mark.parametrize(
    ("option", "value"), [("--http-port", "65536"), ("--grpc-port", "-1"), ("--instances", "0")]
)
def test_impossible_values_are_usage_errors(
    hemogat: Callable[..., Result], tmp_path: Path, option: str, value: str
) -> None:
    result = hemogat("serve", tmp_path, option, value)
    assert result.exit_code == 2
    assert option in result.stderr


def test_what_is_no_bundle_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert f"{tmp_path}: is not a bundle" in refused("serve", tmp_path)


def test_a_repository_has_its_settings_already(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "hemogat").mkdir()
    (tmp_path / "hemogat" / "config.pbtxt").touch()
    assert "cannot be given settings" in refused("serve", tmp_path, "--explain")
    assert "cannot be given settings" in refused("serve", tmp_path, "--instances", "2")
    assert "cannot be given settings" in refused("serve", tmp_path, "--device", "cpu")
