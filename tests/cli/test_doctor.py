from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from hemogat.doctor import Diagnosis
from hemogat.optional import pip_line


def test_the_report_names_everything(hemogat: Callable[..., Result]) -> None:
    result = hemogat("doctor")
    assert result.exit_code == 0, result.stderr
    for expected in ("Python", "CPU", "GPU", "ONNX Runtime, CPU", "tritonserver", "latest run"):
        assert any(line.startswith(expected) for line in result.stdout.splitlines())
    for extra in ("core", "cpu", "gpu", "openvino", "trt", "train", "export", "serve", "demo"):
        assert any(line.split()[:1] == [extra] for line in result.stdout.splitlines())


def test_json_is_the_diagnosis(
    hemogat_json: Callable[..., Any], tiny_bundle: Path, workspace: Path
) -> None:
    shutil.copytree(tiny_bundle, workspace / "tiny" / "bundle")
    diagnosis = Diagnosis.model_validate(hemogat_json("doctor"))
    assert diagnosis.executable == sys.executable
    assert diagnosis.latest_bundle == str(workspace / "tiny" / "bundle")
    assert diagnosis.latest_run is None


def test_missing_parts_are_no_failure(
    hemogat_process: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    process = hemogat_process("doctor", without=("onnxruntime", "torch", "pytriton", "openvino"))
    assert process.returncode == 0, process.stderr
    assert pip_line("cpu") in process.stdout
    assert process.stderr == ""
