from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hemogat.config import parse_settings
from hemogat.contract import Engine
from hemogat.errors import ConfigError
from hemogat.serving.settings import Device, RepositorySettings, repository_settings

EXAMPLE = Path(__file__).parents[2] / "serving" / "settings.yaml"
# Said by options of the commands; the file need not show them.
CHOICES = {"backend", "engine", "precision", "device", "bundle_path", "threads", "search"}


def test_the_example_has_every_limit_with_its_default() -> None:
    assert repository_settings(EXAMPLE, {}, source="serve") == RepositorySettings()
    shown = yaml.safe_load(EXAMPLE.read_text())
    assert set(shown) == set(RepositorySettings.model_fields) - CHOICES - {"explain"}


def test_options_go_before_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("max_in_flight: 4\nthreads: 2\naudio_encoder: {max_batch_size: 8}\n")
    settings = repository_settings(file, {"threads": 3, "engine": None}, source="serve")
    assert settings is not None
    assert (settings.max_in_flight, settings.threads) == (4, 3)
    assert settings.audio_encoder.max_batch_size == 8
    assert repository_settings(None, {"engine": None}, source="serve") is None
    with pytest.raises(ConfigError, match=r"serve: threads: .*found 0"):
        repository_settings(None, {"threads": 0}, source="serve")
    with pytest.raises(ConfigError, match=r"serve over .*settings.yaml: .*max_rows"):
        repository_settings(file, {"max_rows": 99}, source="serve")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("max_inflight: 4", "max_inflight: "),
        ("max_in_flight: many", "max_in_flight: .*found 'many'"),
        ("fusion: {max_batch: 3}", r"fusion\.m"),
        ("- 1", "the whole file: "),
        ("a: [", "is not YAML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError, match=rf"{file}: {message}"):
        repository_settings(file, {}, source="serve")


@pytest.mark.parametrize(
    ("raw", "engine", "device"),
    [
        ({}, "onnx", "cpu"),
        ({}, "openvino", "cpu"),
        ({}, "trt", "gpu"),  # the bundle's first engine
        ({"engine": "trt"}, "trt", "gpu"),
        ({"backend": "tensorrt"}, "trt", "gpu"),
        ({"device": "gpu"}, "onnx", "gpu"),
    ],
)
def test_the_engine_says_where_it_runs(raw: dict[str, str], engine: Engine, device: str) -> None:
    assert parse_settings(RepositorySettings, raw, source="serve").device_for(engine) == device


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"engine": "trt", "device": "cpu"}, "engine trt: expected device gpu, found cpu"),
        ({"engine": "openvino", "device": "gpu"}, "engine openvino: expected device cpu"),
        ({"backend": "tensorrt", "device": "cpu"}, "engine trt: expected device gpu, found cpu"),
    ],
)
def test_no_engine_is_started_where_it_does_not_run(raw: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^serve: {message}"):
        repository_settings(None, raw, source="serve")


@pytest.mark.parametrize(("engine", "device"), [("trt", "cpu"), ("openvino", "gpu")])
def test_nor_one_that_the_bundle_chooses(engine: Engine, device: Device) -> None:
    with pytest.raises(ConfigError, match=f"engine {engine}: expected device .*, found {device}"):
        RepositorySettings(device=device).device_for(engine)
