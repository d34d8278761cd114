"""From a run to judged plans, with a TensorRT whose plans ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hemogat.cli.main import app
from hemogat.config import load_settings
from hemogat.export.export_run import export_run
from hemogat.export.parity_gate import RefusedError
from hemogat.export_config import ExportConfig, ParityConfig
from hemogat.runtime.pipeline import Pipeline

FOLDER = Path(__file__).parents[2] / "export"


def config_of(recipe: str, **parity: Any) -> ExportConfig:
    """Return a recipe as it is, but for the tokens of the tiny model and its limits."""
    config = load_settings(ExportConfig, FOLDER / f"{recipe}.yaml")
    tokens = config.tensorrt.tokens.model_copy(update={"largest": 32})
    tensorrt = config.tensorrt.model_copy(update={"tokens": tokens, "timing_cache": None})
    limits = config.limits.model_copy(update=parity)
    update = {"tensorrt": tensorrt, "parity": limits, "calibration_utterances": 8}
    return config.model_copy(update=update)


@pytest.mark.usefixtures("quick_graphs", "running_tensorrt")
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_plans_are_built_and_judged_by_the_recipe_as_it_is(
    precision: str, tiny_run: Path, tmp_path: Path
) -> None:
    config = config_of(f"tensorrt-{precision}", max_flip_rate=1, max_ua_change=1)
    report = export_run(tiny_run, tmp_path / "bundle", config)
    assert report.parity.ungated is None
    assert report.parity.end_to_end.max_abs_diff > 0
    assert report.parity.rows
    pipeline = Pipeline.load(report.bundle, engine="trt")
    assert pipeline(text="stop that right now").label in pipeline.labels
    for command in (["inspect", "--verify"], ["predict", "--text", "stop"]):
        result = CliRunner().invoke(app, [command[0], str(report.bundle), *command[1:]])
        assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("quick_graphs", "running_tensorrt")
def test_a_plan_that_is_not_the_reference_is_refused(tiny_run: Path, tmp_path: Path) -> None:
    config = config_of("tensorrt-fp16").model_copy(update={"parity": ParityConfig()})
    with pytest.raises(RefusedError, match="trt-fp16: "):
        export_run(tiny_run, tmp_path / "bundle", config)
    assert not (tmp_path / "bundle").exists()
