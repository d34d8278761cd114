from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result


def test_a_bundle_becomes_a_repository(
    hemogat_json: Callable[..., Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "models"
    found = hemogat_json("repository", tiny_bundle, "--out", out, "--bundle-path", "/bundle")
    assert found["repository"] == str(out)
    assert found["models"] == sorted(path.name for path in out.iterdir() if path.is_dir())
    assert 'string_value: "/bundle"' in (out / "hemogat" / "config.pbtxt").read_text()


def test_where_to_read_on(
    hemogat: Callable[..., Result], tiny_bundle: Path, tmp_path: Path
) -> None:
    result = hemogat("repository", tiny_bundle, "--out", tmp_path / "models", "--backend", "python")
    assert result.exit_code == 0, result.stderr
    assert str(tmp_path / "models" / "README.md") in result.stdout


def test_refusals(refused: Callable[..., str], tiny_bundle: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "models")
    assert "is not a bundle" in refused("repository", tmp_path, *out)
    said = refused("repository", tiny_bundle, *out, "--backend", "openvino", "--device", "gpu")
    assert "engine openvino: expected device cpu, found gpu" in said


def test_limits_come_from_a_file(
    hemogat_json: Callable[..., Any],
    refused: Callable[..., str],
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    file, out = tmp_path / "settings.yaml", tmp_path / "models"
    file.write_text("timeout_ms: 1234\nthreads: 2\n")
    hemogat_json("repository", tiny_bundle, "--out", out, "--settings", file, "--threads", 3)
    assert 'string_value: "1234"' in (out / "hemogat" / "config.pbtxt").read_text()
    assert 'string_value: "3"' in (out / "hemogat_fusion" / "config.pbtxt").read_text()
    file.write_text("time_out_ms: 1234\n")
    for command in (("repository", tiny_bundle, "--out", out), ("serve", tiny_bundle)):
        assert f"{file}: time_out_ms: " in refused(*command, "--settings", file)
