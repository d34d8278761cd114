from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from hemogat.benchmarks.latency_report import LatencyReport
from hemogat.cli.numbers import whole_numbers, words
from hemogat.errors import ConfigError

QUICK = ("bench", "--no-triton", "--utterances", "2", "--threads", "1")


def test_the_latest_bundle_is_measured(
    hemogat: Callable[..., Result], tiny_bundle: Path, workspace: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_bundle, workspace / "tiny" / "bundle")
    result = hemogat(*QUICK, "--json", "--out", tmp_path / "reports")
    assert result.exit_code == 0, result.stderr
    report = LatencyReport.model_validate_json(result.stdout)
    assert (report.settings.utterances, report.settings.threads) == (2, 1)
    assert report.in_process["end_to_end"].n == 2
    assert report.triton is None
    (written,) = (tmp_path / "reports").glob("*.json")
    assert json.loads(written.read_text()) == json.loads(result.stdout)
    assert f"latest bundle: {workspace / 'tiny' / 'bundle'}" in result.stderr
    assert f"report: {written}" in result.stderr


def test_the_table_has_every_stage(hemogat: Callable[..., Result], tiny_bundle: Path) -> None:
    result = hemogat(*QUICK, tiny_bundle)
    assert result.exit_code == 0, result.stderr
    stages = [line.split()[2] for line in result.stdout.splitlines() if line.startswith("in proc")]
    assert stages[0] == "decode"
    assert stages[-1] == "end_to_end"


def test_refusals(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "hemogat export" in refused("bench")
    assert f"{tmp_path}: is not a bundle" in refused("bench", tmp_path)
    assert f"{tmp_path}: is not a bundle" in refused("bench", "serve", tmp_path, "--rate", "50%")
    assert "--rate: expected a number or a percentage" in refused("bench", "serve", "--rate", "x%")
    assert "--concurrency: expected whole numbers" in refused(
        "bench", "serve", tmp_path, "--concurrency", "1,x"
    )
    assert f"{tmp_path}: is not a bundle" in refused(
        "bench", "serve", tmp_path, "--concurrency", "1,16", "--rate", "5,50%"
    )
    assert "capacity_shares" in refused("bench", "serve", "--rate", "-5%")


def test_lists_of_numbers_repeat_or_have_commas() -> None:
    assert whole_numbers("--batch", ["1,4", "8", "4"]) == (1, 4, 8)
    assert words(None) == ()
    with pytest.raises(ConfigError, match="--batch: expected whole numbers"):
        whole_numbers("--batch", ["1,x"])


def test_targets_side_by_side(
    hemogat_json: Callable[..., Any], tiny_bundle: Path, tmp_path: Path
) -> None:
    report = hemogat_json(
        *("bench", f"{tiny_bundle}:onnx-fp32", "--component", "text_encoder,fusion"),
        *("--batch", "1,2", "--epochs", "1", "--rounds", "2", "--limit-s", "0", "--out", tmp_path),
    )
    medians = [f for f in report["figures"] if f["metric"] == "p50"]
    assert [(f["axes"]["component"], f["axes"]["batch"]) for f in medians] == [
        ("text_encoder", 1),
        ("text_encoder", 2),
        ("fusion", 1),
        ("fusion", 2),
    ]
    (written,) = tmp_path.glob(
        f"side-by-side-{tiny_bundle.parent.name}-onnx-fp32-text-encoder-*.json"
    )
    assert json.loads(written.read_text()) == report
    assert written.with_suffix(".md").is_file()


def test_refusals_of_targets(refused: Callable[..., str], tiny_bundle: Path) -> None:
    assert "expected a bundle" in refused("bench", "latency", "nowhere:onnx-fp32")
    assert "both" in refused("bench", "latency", tiny_bundle, "--preset", "base")
    assert "--component: is for targets" in refused(
        "bench", "latency", "--preset", "base", "--component", "fusion"
    )
    assert "--bank-rows: is for --preset" in refused("bench", tiny_bundle, "--bank-rows", "9")
    assert "--device, --rounds: is for targets side by side" in refused(
        "bench", tiny_bundle, "--device", "cuda", "--rounds", "500"
    )
    assert "--threads: --preset takes one number" in refused(
        *("bench", "latency", "--preset", "base", "--threads", "1,2")
    )
    assert "--bank-rows: is for the base sizes" in refused(
        *("bench", "cost", "--run", tiny_bundle, "--bank-rows", "9")
    )
    assert "--utterances, --no-triton: is for one BUNDLE alone" in refused(
        *("bench", f"{tiny_bundle}:onnx-fp32", "--utterances", "5", "--no-triton")
    )
    assert "--device, --engine: is for one BUNDLE or" in refused(
        *("bench", "latency", "--preset", "base", "--device", "cuda", "--engine", "onnx")
    )
    assert "--threads: a server has the threads" in refused(
        *("bench", "latency", "grpc://127.0.0.1:9", "--threads", "1,2")
    )
    assert "expected an engine trt" in refused("bench", tiny_bundle, "--engine", "trt")
    assert "component.0" in refused("bench", tiny_bundle, "--component", "fuse")
    assert "engines.0" in refused("bench", "gnn", "--engine", "onxn")
