from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hemogat.errors import BundleError
from hemogat.runtime.tensorrt_plan import PlanRecord, check_plan, record_path

VERSION = "10.16.1.11"
SHAPES = {"smallest": (1, 4), "typical": (8, 4), "largest": (64, 4)}


@dataclass
class Gpu:
    name: str = "NVIDIA H200"
    compute_capability: str = "9.0"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "trt-fp16" / "model.plan"
    path.parent.mkdir()
    path.write_bytes(b"plan")
    contents = {"model.onnx": b"graph", "model.onnx.data": b"weights"}
    for name, content in contents.items():
        path.with_name(name).write_bytes(content)
    write(path, onnx={name: sha256(content).hexdigest() for name, content in contents.items()})
    return path


def write(plan: Path, **changes: Any) -> None:
    facts = {
        "tensorrt": VERSION,
        "gpu": Gpu.name,
        "compute_capability": Gpu.compute_capability,
        "hardware_compatibility": "none",
        "precision": "fp16",
        "profile": {"windows": SHAPES},
        "onnx": {},
        "layers": {"fp16": 3},
    }
    record = PlanRecord.model_validate(facts | changes)
    record_path(plan).write_text(record.model_dump_json())


def test_a_plan_of_this_machine_is_taken(plan: Path) -> None:
    record = check_plan(plan, VERSION, Gpu())
    assert record.profile["windows"].largest == (64, 4)
    assert record.onnx.keys() == {"model.onnx", "model.onnx.data"}


@pytest.mark.parametrize(
    ("version", "gpu", "message"),
    [
        ("11.4.0.106", Gpu(), r"built for TensorRT 10\.16\.1\.11, found 11\.4\.0\.106"),
        (VERSION, Gpu("NVIDIA L4", "8.9"), r"built for compute capability 9\.0, found 8\.9"),
        (VERSION, Gpu("NVIDIA H100"), "built for GPU NVIDIA H200, found NVIDIA H100"),
    ],
)
def test_a_plan_of_another_machine_is_refused(
    version: str, gpu: Gpu, message: str, plan: Path
) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        check_plan(plan, version, gpu)
    assert "build_engines.sh, or hemogat export --engine trt --precision fp16" in str(caught.value)


@pytest.mark.parametrize(
    ("level", "gpu", "fits"),
    [
        ("same_compute_capability", Gpu("NVIDIA H100"), True),
        ("same_compute_capability", Gpu("NVIDIA L4", "8.9"), False),
        ("ampere_plus", Gpu("NVIDIA L4", "8.9"), True),
        ("ampere_plus", Gpu("NVIDIA B200", "10.0"), True),
        ("ampere_plus", Gpu("Tesla T4", "7.5"), False),
    ],
)
def test_compatible_plans_run_on_other_gpus(level: str, gpu: Gpu, fits: bool, plan: Path) -> None:
    write(plan, hardware_compatibility=level)
    if fits:
        assert check_plan(plan, VERSION, gpu).hardware_compatibility == level
    else:
        with pytest.raises(BundleError, match="compute capability"):
            check_plan(plan, VERSION, gpu)


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx.data"])
def test_a_plan_of_another_graph_is_refused(name: str, plan: Path) -> None:
    plan.with_name(name).write_bytes(b"other")
    with pytest.raises(BundleError, match=rf"was built for another {name}, SHA-256"):
        check_plan(plan, VERSION, Gpu())


def test_a_plan_may_come_without_its_graph(plan: Path) -> None:
    plan.with_name("model.onnx").unlink()
    plan.with_name("model.onnx.data").unlink()
    check_plan(plan, VERSION, Gpu())


def test_without_plan_or_record_the_command_is_told(plan: Path) -> None:
    record_path(plan).write_text("{}")
    with pytest.raises(BundleError, match=r"model\.plan\.json: .*build_engines\.sh"):
        check_plan(plan, VERSION, Gpu())
    record_path(plan).unlink()
    with pytest.raises(BundleError, match=r"model\.plan\.json: .*No such file"):
        check_plan(plan, VERSION, Gpu())
    plan.unlink()
    with pytest.raises(BundleError, match=r"model\.plan: is missing; .*build_engines\.sh"):
        check_plan(plan, VERSION, Gpu())
