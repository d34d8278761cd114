from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import Result

from hemogat.errors import InputError
from hemogat.export_config import ExportConfig
from hemogat.runtime.bundle import MANIFEST_FILE, Bundle
from hemogat.runtime.parity_report import ParityReport, read_parity

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
    (config,) = _configs(None, [], [], device="cuda:1")
    assert (config.engine, config.precision, config.device) == ("onnx", "fp32", "cuda:1")


def test_limits_of_a_recipe_are_for_its_own_precision(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from hemogat.cli.export import _configs

    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("{precision: int8, parity: {max_abs_diff: null, max_flip_rate: 0.02}}")
    exact, reduced = _configs(recipe, [], ["fp32", "int8"])
    assert exact.limits == ExportConfig().limits
    assert reduced.limits.max_flip_rate == 0.02
    assert "onnx-fp32: judged by the limits of fp32" in capsys.readouterr().err
    (same,) = _configs(recipe, ["openvino"], [])
    assert same.limits == reduced.limits
    assert capsys.readouterr().err == ""


class Exports:
    """In place of exports: what comes of each target, by its engine."""

    def __init__(self, parity: ParityReport) -> None:
        self.parity = parity
        self.asked: list[str] = []

    def __call__(self, run: Path, out: Path, config: ExportConfig, *_: Any, **__: Any) -> Any:
        from hemogat.export.export_run import ExportReport
        from hemogat.export.parity_gate import RefusedError
        from hemogat.export.tensorrt_script import NoPlanError

        self.asked.append(config.engine)
        if config.engine == "trt":
            raise NoPlanError(out / "build_engines.sh", ["no GPU"], self.parity)
        if config.precision == "int8":
            raise RefusedError("onnx-int8: too many flips", self.parity)
        if config.engine == "openvino":
            raise InputError("m.csv: is gone")
        return ExportReport(out, f"{config.engine}-fp32", self.parity)


@pytest.fixture
def exports(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Exports:
    from hemogat.export import export_run

    made = Exports(read_parity(Bundle.open(tiny_bundle)).reports["onnx-fp32"])
    monkeypatch.setattr(export_run, "export_run", made)
    return made


def test_what_fails_does_not_keep_the_other_targets_back(
    hemogat: Hemogat, exports: Exports, tiny_run: Path, tiny_bundle: Path
) -> None:
    run, out = str(tiny_run), ("--out", str(tiny_bundle))
    result = hemogat("export", run, "--engine", "trt", "--engine", "onnx", *out, "--json")
    assert result.exit_code == 3
    assert exports.asked == ["trt", "onnx"]
    unbuilt, done = json.loads(result.stdout)
    assert "no TensorRT plan was built; missing here: no GPU" in unbuilt["error"]
    assert unbuilt["parity"] == done["parity"]
    assert (done["target"], done["error"]) == ("onnx-fp32", None)
    assert "error: no TensorRT plan was built" in result.stderr

    precisions = ("--precision", "int8", "--precision", "fp32", "--engine", "onnx")
    result = hemogat("export", run, *precisions, "--engine", "trt", *out)
    assert result.exit_code == 1  # that one was refused is worse
    assert exports.asked[2:] == ["onnx", "onnx", "trt", "trt"]
    for target in ("onnx-int8", "onnx-fp32", "trt-int8", "trt-fp32"):
        assert f"{target} beside torch fp32" in result.stdout
    assert result.stderr.count("error: ") == 3


def test_input_that_one_target_cannot_use_drops_no_report(
    hemogat: Hemogat, exports: Exports, tiny_run: Path, tiny_bundle: Path
) -> None:
    engines = ("--engine", "onnx", "--engine", "openvino", "--engine", "trt")
    result = hemogat("export", str(tiny_run), *engines, "--out", str(tiny_bundle), "--json")
    assert result.exit_code == 1
    assert exports.asked == ["onnx", "openvino", "trt"]
    done, failed, unbuilt = json.loads(result.stdout)
    assert (done["error"], failed["error"]) == (None, "m.csv: is gone")
    assert done["parity"] == unbuilt["parity"]
    assert failed["parity"] is None


def test_an_index_that_a_second_export_cannot_keep_is_told_of(
    hemogat: Hemogat,
    exports: Exports,
    tiny_run: Path,
    tiny_indexed_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from hemogat.export import export_run

    out = tmp_path / "bundle"

    def without(run: Path, out: Path, config: ExportConfig, *_: Any, **__: Any) -> Any:
        manifest = json.loads((out / MANIFEST_FILE).read_text())
        del manifest["bank"]["ivf"]
        (out / MANIFEST_FILE).write_text(json.dumps(manifest))
        return exports(run, out, config)

    def said(*options: str) -> str:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(tiny_indexed_bundle, out)
        result = hemogat("export", str(tiny_run), "--out", str(out), *options)
        assert result.exit_code == 0, result.stderr
        return str(result.stderr)

    assert "stored index" not in said()
    monkeypatch.setattr(export_run, "export_run", without)
    assert "the stored index holds the old bank and was left out" in said()
    assert "stored index" not in said("--no-ivf-index")
