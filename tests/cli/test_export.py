from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import Result

from hemogat.export_config import ExportConfig
from hemogat.runtime.bundle import Bundle

Hemogat = Callable[..., Result]


@pytest.mark.slow
def test_the_latest_run_becomes_a_bundle_in_the_workspace(
    hemogat: Hemogat, workspace: Path, tiny_run: Path
) -> None:
    run = workspace / "somewhere" / "run"
    shutil.copytree(tiny_run, run)
    result = hemogat("export", "--json")
    assert result.exit_code == 0, result.stderr
    assert f"latest run: {run}" in result.stderr
    found = json.loads(result.stdout)
    assert found["bundle"] == str(workspace / "tiny" / "bundle")
    assert Bundle.open(found["bundle"]).manifest.name == "tiny"
    rows = {(row["graph"], row["output"]): row for row in found["parity"]["rows"]}
    assert rows["end_to_end", "probabilities"]["flips"] == 0


@pytest.mark.parametrize("option", ["engine", "precision"])
def test_the_options_offer_what_the_configuration_takes(hemogat: Hemogat, option: str) -> None:
    choices = get_args(ExportConfig.model_fields[option].annotation)
    for choice in choices:
        assert hemogat("export", "/nowhere", f"--{option}", choice).exit_code == 1
    assert hemogat("export", "/nowhere", f"--{option}", "unknown").exit_code == 2


def test_refusals(refused: Callable[..., str], workspace: Path, tmp_path: Path) -> None:
    assert "hemogat train RECIPE" in refused("export")
    assert f"{tmp_path}: is not a run directory" in refused("export", tmp_path)
    recipe = tmp_path / "recipe.yaml"
    assert f"{recipe}: cannot be read" in refused("export", "--recipe", recipe)
    recipe.write_text("precison: fp32")
    assert f"{recipe}: precison: " in refused("export", "--recipe", recipe)
    recipe.write_text("precision: fp64")
    assert f"{recipe}: precision: " in refused("export", "--recipe", recipe)


def test_an_option_goes_before_the_recipe(tmp_path: Path) -> None:
    from hemogat.cli.export import _configs

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{opset: 21, parity: {max_flip_rate: 0.1}}")
    (config,) = _configs(recipe, ["onnx"], [])
    assert (config.opset, config.limits.max_flip_rate) == (21, 0.1)
    assert (config.engine, config.precision) == ("onnx", "fp32")


def test_every_combination_is_exported() -> None:
    from hemogat.cli.export import _configs

    configs = _configs(None, ["onnx", "openvino"], ["fp32", "int8"])
    assert [(c.engine, c.precision) for c in configs] == [
        ("onnx", "fp32"),
        ("onnx", "int8"),
        ("openvino", "fp32"),
        ("openvino", "int8"),
    ]
    (config,) = _configs(None, [], [], "cuda:1")
    assert (config.engine, config.precision, config.device) == ("onnx", "fp32", "cuda:1")
