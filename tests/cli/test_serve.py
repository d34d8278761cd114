from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hemogat.serving import serve as serving


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


def test_options_reach_the_server(
    hemogat: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: dict[str, Any] = {}
    monkeypatch.setattr(serving, "serve", lambda source, **options: called.update(options))
    file = tmp_path / "settings.yaml"
    file.write_text("max_streams: 3\n")
    options = ("--drain-seconds", "7", "--ready-timeout", "600", "--device", "gpu")
    result = hemogat("serve", tmp_path, *options, "--settings", file)
    assert result.exit_code == 0, result.stderr
    assert (called["drain_s"], called["ready_timeout_s"]) == (7, 600)
    assert (called["settings"].device, called["settings"].max_streams) == ("gpu", 3)
