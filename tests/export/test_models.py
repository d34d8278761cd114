"""The bundle that is committed under ``export/models``, for use right after installation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hemogat.cli.main import app
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.parity_report import read_parity

DEMO = Path(__file__).parents[2] / "export" / "models" / "demo"
LARGEST_BYTES = 5 * 2**20


def test_it_is_whole_and_small() -> None:
    bundle = Bundle.open(DEMO)
    assert [bundle.select("onnx", precision) for precision in ("fp32", "int8")]
    sizes = [path.stat().st_size for path in DEMO.rglob("*") if path.is_file()]
    assert sum(sizes) <= LARGEST_BYTES


def test_its_engines_passed_the_gate() -> None:
    reports = read_parity(Bundle.open(DEMO)).reports
    for target in ("onnx-fp32", "onnx-int8"):
        assert reports[target].ungated is None
        assert reports[target].enough_for_rates
        assert reports[target].decisions == 3 * 560  # all inputs, and either modality left out
        exact = target == "onnx-fp32"
        assert reports[target].end_to_end.flips <= (0 if exact else 0.01 * 560)
        assert reports[target].flips <= (0 if exact else 0.01 * 3 * 560)


def test_its_golden_cases_are_answered_as_when_it_was_made() -> None:
    result = CliRunner().invoke(app, ["inspect", str(DEMO), "--check"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_it_recognises_a_clip(precision: str) -> None:
    case = json.loads((DEMO / "golden" / "golden.json").read_text())["cases"][0]
    clip = str(DEMO / "golden" / case["audio"])
    arguments = ["predict", str(DEMO), clip, "--text", case["text"], "--precision", precision]
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["label"] == case["label"]
