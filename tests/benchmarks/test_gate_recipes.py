"""Every recipe passed its gate on the demo's run, as far as this can be seen without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gate_recipes
import pytest

from hemogat.config import load_settings
from hemogat.errors import IncompleteError
from hemogat.export.export_run import ExportReport
from hemogat.export.parity_gate import RefusedError, gate
from hemogat.export.tensorrt_script import NoPlanError
from hemogat.export_config import ExportConfig
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.parity_report import ENOUGH_FOR_RATES, read_parity

NOT_HERE = {"openvino-bf16": "not judged"}


def test_what_came_of_every_recipe_is_in_the_result(
    tiny_run: Path, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parity = read_parity(Bundle.open(tiny_bundle)).reports["onnx-fp32"]
    asked = []

    def export_run(run: Path, out: Path, config: ExportConfig, *_: Any, **__: Any) -> ExportReport:
        name = f"{config.engine}-{config.precision}"
        asked.append(name)
        if name == "onnx-int8":
            raise RefusedError(f"{name}: see {out}", parity)
        if config.engine == "trt":
            raise NoPlanError(out, ["no GPU"], parity)
        if name == "openvino-bf16":
            raise IncompleteError("no bf16 here")
        graph = out / "fusion" / name
        graph.mkdir(parents=True)
        (graph / "model.onnx").write_bytes(b"12345")
        judged = parity.model_copy(update={"stand_in": "graphs"} if name == "onnx-bf16" else {})
        return ExportReport(out, name, judged)

    monkeypatch.setattr(gate_recipes, "export_run", export_run)
    out = tmp_path / "result.json"
    result = gate_recipes.gate_all(tiny_run, None, out)
    outcomes = {row.recipe: row.outcome for row in result.outcomes}
    assert outcomes == {
        "onnx-fp32": "passed", "onnx-fp16": "passed", "onnx-bf16": "emulated",
        "onnx-int8": "refused", "openvino-fp32": "passed", "openvino-bf16": "not judged",
        "openvino-int8": "passed", "openvino-int8-bf16": "passed", "tensorrt-fp16": "graphs",
        "tensorrt-bf16": "graphs", "tensorrt-int8": "graphs",
    }  # fmt: skip
    (exact,) = (row for row in result.outcomes if row.recipe == "onnx-fp32")
    assert exact.size_bytes == {"fusion": 5}
    rows = gate_recipes.table(result).splitlines()
    assert len(rows) == 13
    assert "| `onnx-fp32` | passed | 0 of 54 | +0.00 | +0.00 |" in "\n".join(rows)
    assert "**refused**" in gate_recipes.render("<!-- gate -->\nold\n<!-- /gate -->", result)
    assert gate_recipes.gate_all(tiny_run, None, out) == result  # nothing is asked again
    assert len(asked) == 11


@pytest.fixture(scope="module")
def committed() -> gate_recipes.GateResult:
    return gate_recipes.GateResult.model_validate_json(gate_recipes.RESULT.read_bytes())


def test_every_recipe_passes_its_gate_on_the_demo(committed: gate_recipes.GateResult) -> None:
    recipes = sorted(path.stem for path in gate_recipes.RECIPES.glob("*.yaml"))
    assert [row.recipe for row in committed.outcomes] == recipes
    for row in committed.outcomes:
        assert row.outcome != "refused", row.message
        if row.outcome == "not judged":
            assert row.recipe in NOT_HERE
            continue
        assert row.parity is not None
        assert row.parity.ungated is None
        assert row.parity.utterances >= ENOUGH_FOR_RATES
        config = load_settings(ExportConfig, gate_recipes.RECIPES / f"{row.recipe}.yaml")
        assert row.parity.limits == config.limits
        gate(row.parity)


def test_the_table_is_current(committed: gate_recipes.GateResult) -> None:
    text = gate_recipes.README.read_text(encoding="utf-8")
    assert gate_recipes.render(text, committed) == text, "run: benchmarks/gate_recipes.py --table"
    assert "<!-- gate -->" in text
