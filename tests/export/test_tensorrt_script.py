"""The script is run, with a trtexec, an nvidia-smi and a tensorrt that answer as NVIDIA's do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner

from hemogat.cli.main import app
from hemogat.errors import HemogatError, IncompleteError
from hemogat.export.gating import nothing_judged
from hemogat.export.tensorrt_script import NoPlanError, write_build_script
from hemogat.export_config import ExportConfig, TensorRTConfig
from hemogat.runtime.bundle import Bundle, write_sums
from hemogat.runtime.tensorrt_plan import PlanRecord

BUCKETS = (16, 32)
_TRTEXEC = """#!/usr/bin/env bash
printf '%s\\n' "$@" >> "$TRTEXEC_LOG"
for word in "$@"; do
  case "$word" in
    --onnx=*) graph="${word#*=}" ;;
    --saveEngine=*) echo "$PWD/$graph" > "${word#*=}" ;;
    --exportLayerInfo=*) echo "$TRTEXEC_LAYERS" > "${word#*=}" ;;
  esac
done
"""
_NVIDIA_SMI = "#!/usr/bin/env bash\necho 'NVIDIA H200, 9.0'\n"
_LAYERS = {"Layers": [{"LayerType": "gemm", "Inputs": [{"Datatype": "Float"}], "Outputs": []}]}


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle, tmp_path / "bundle")


@pytest.fixture
def graphs(bundle: Path) -> list[Path]:
    places = [bundle / n / "trt-fp32" for n in ("audio_encoder", "text_encoder", "fusion")]
    for place in places:
        shutil.copytree(place.with_name("onnx-fp32"), place)
    return [place / "model.onnx" for place in places]


@pytest.fixture
def container(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a container with stand-ins for NVIDIA's programs."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in (("trtexec", _TRTEXEC), ("nvidia-smi", _NVIDIA_SMI)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tools / "python3").symlink_to(sys.executable)
    (tools / "tensorrt.py").write_text("__version__ = '10.16.1.11'\n")
    return {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(tools),
        "HEMOGAT_IN_CONTAINER": "1",
        "TRTEXEC_LOG": str(tmp_path / "trtexec.log"),
        "TRTEXEC_LAYERS": json.dumps(_LAYERS),
    }


def run(script: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(script)], env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_script_builds_every_plan_and_keeps_the_bundle_whole(
    bundle: Path, graphs: list[Path], container: dict[str, str]
) -> None:
    script = write_build_script(bundle, {"fp32": graphs}, TensorRTConfig(), BUCKETS)
    write_sums(bundle)
    for _ in range(2):  # building again replaces
        done = run(script, container)
        assert done.returncode == 0, done.stderr
        listed = Bundle.open(bundle).manifest.models
        plans = [m.path for m in listed if (m.engine, m.precision) == ("trt", "fp32")]
        assert plans == [f"{p.parent.relative_to(bundle)}/model.plan" for p in graphs]
    for path in graphs:
        record = PlanRecord.model_validate_json((path.parent / "model.plan.json").read_bytes())
        assert (record.tensorrt, record.gpu) == ("10.16.1.11", "NVIDIA H200")
        assert record.layers["fp32"] == 1
        assert record.onnx.keys() > {"model.onnx"}  # and where its weights are
    words = Path(container["TRTEXEC_LOG"]).read_text().splitlines()
    for word in (
        "--onnx=text_encoder/trt-fp32/model.onnx",
        "--saveEngine=text_encoder/trt-fp32/model.plan",
        "--minShapes=input_ids:1x16,attention_mask:1x16",
        "--optShapes=input_ids:8x32,attention_mask:8x32",
        "--maxShapes=input_ids:32x32,attention_mask:32x32",
        "--minShapes=windows:1x16000",
        "--stronglyTyped",
        "--noTF32",
        "--skipInference",
        "--profilingVerbosity=detailed",
        "--builderOptimizationLevel=3",
        "--memPoolSize=workspace:4096M",
        "--hardwareCompatibilityLevel=none",
        "--timingCacheFile=/cache/tensorrt.cache",
        "--exportLayerInfo=fusion/trt-fp32/model.layers.json",
    ):
        assert word in words


@pytest.mark.usefixtures("running_tensorrt")
def test_plans_of_the_script_are_verified_without_a_report(
    bundle: Path, graphs: list[Path], container: dict[str, str]
) -> None:
    script = write_build_script(bundle, {"fp32": graphs}, TensorRTConfig(), BUCKETS)
    write_sums(bundle)
    assert run(script, container).returncode == 0
    found = CliRunner().invoke(app, ["inspect", str(bundle), "--verify"])
    assert found.exit_code == 0, found.output
    assert "trt-fp32: never compared" in found.output
    assert "answered by trt-fp32 as expected" in found.output


def test_plans_that_cannot_run_here_are_named(
    bundle: Path,
    graphs: list[Path],
    container: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = write_build_script(bundle, {"fp32": graphs}, TensorRTConfig(), BUCKETS)
    write_sums(bundle)
    assert run(script, container).returncode == 0
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    found = CliRunner().invoke(app, ["inspect", str(bundle), "--verify"])
    assert found.exit_code == 3
    assert "answered by onnx-fp32 as expected" in found.stdout
    assert "not run here: trt-fp32" in found.stdout
    assert "not verified here: trt-fp32: tensorrt cannot be imported" in found.stderr


def test_a_plan_without_the_types_of_its_graph_stops_the_script(
    bundle: Path, graphs: list[Path], container: dict[str, str]
) -> None:
    script = write_build_script(bundle, {"fp32": graphs[:1]}, TensorRTConfig(), BUCKETS)
    script.write_text(script.read_text().rstrip() + " fp16\n")  # as a graph with fp16 nodes has it
    done = run(script, container)
    assert done.returncode == 1
    assert "no layer has fp16" in done.stderr
    assert not (graphs[0].parent / "model.plan.json").exists()


def test_the_image_tag_has_to_be_given(bundle: Path, graphs: list[Path]) -> None:
    script = write_build_script(bundle, {"fp32": graphs}, TensorRTConfig(), BUCKETS)
    done = run(script, {"PATH": os.environ["PATH"]})
    assert done.returncode == 1
    assert "expected a tag of nvcr.io/nvidia/tensorrt" in done.stderr


def test_settings_become_options(bundle: Path, graphs: list[Path]) -> None:
    config = TensorRTConfig(
        hardware_compatibility="ampere_plus", tf32=True, workspace_mib=512, optimization_level=5
    )
    text = write_build_script(bundle, {"fp32": graphs}, config, BUCKETS).read_text()
    assert "--hardwareCompatibilityLevel=ampere+" in text
    assert "--memPoolSize=workspace:512M" in text
    assert "--builderOptimizationLevel=5" in text
    assert "--noTF32" not in text


def test_the_script_is_clean(bundle: Path, graphs: list[Path]) -> None:
    script = write_build_script(bundle, {"fp32": graphs}, TensorRTConfig(), BUCKETS)
    checker = shutil.which("shellcheck")
    command = [checker, str(script)] if checker else ["bash", "-n", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_graph_that_tensorrt_refuses_gets_no_script(bundle: Path, graphs: list[Path]) -> None:
    model = onnx.load(graphs[2], load_external_data=False)
    search = next(n for n in model.functions[0].node if n.op_type == "TopK")
    next(a for a in search.attribute if a.name == "sorted").i = 0
    onnx.save(model, graphs[2])
    with pytest.raises(HemogatError, match=r"\(TopK\): sorted is 0"):
        write_build_script(bundle, {"fp32": graphs}, TensorRTConfig(), BUCKETS)
    assert not (bundle / "build_engines.sh").exists()


def test_the_error_says_what_is_missing_and_what_to_run() -> None:
    parity = nothing_judged(ExportConfig(), "no plan was built")
    missing = ["no GPU", "no TensorRT"]
    error = NoPlanError(Path("bundle/build_engines.sh"), missing, parity)
    assert error.parity is parity
    assert isinstance(error, IncompleteError)
    assert error.exit_code == 3
    assert "no TensorRT plan was built; missing here: no GPU; no TensorRT." in str(error)
    assert "bash bundle/build_engines.sh IMAGE_TAG" in str(error)
