"""The builder's code path, run against what the bindings of each TensorRT version name."""

from __future__ import annotations

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hemogat.errors import ConfigError, HemogatError, IncompleteError
from hemogat.export.tensorrt_engine import build_plan, missing_parts, optimization_profile
from hemogat.export_config import Profile, TensorRTConfig
from hemogat.runtime.bundle import sha256_of
from hemogat.runtime.tensorrt_plan import PlanRecord

BUCKETS = (16, 32, 64, 128)
WIDTH = 4
# Every name that the builder needs; a version without one of them must fail.
NEEDED = (
    ("Builder", "create_network"),
    ("Builder", "create_builder_config"),
    ("Builder", "create_optimization_profile"),
    ("Builder", "build_serialized_network"),
    ("BuilderFlag", "TF32"),
    ("EngineInspector", "get_engine_information"),
    ("HardwareCompatibilityLevel", "NONE"),
    ("IBuilderConfig", "add_optimization_profile"),
    ("IBuilderConfig", "builder_optimization_level"),
    ("IBuilderConfig", "clear_flag"),
    ("IBuilderConfig", "create_timing_cache"),
    ("IBuilderConfig", "get_timing_cache"),
    ("IBuilderConfig", "hardware_compatibility_level"),
    ("IBuilderConfig", "profiling_verbosity"),
    ("IBuilderConfig", "set_memory_pool_limit"),
    ("IBuilderConfig", "set_timing_cache"),
    ("ICudaEngine", "create_engine_inspector"),
    ("ILogger", "ERROR"),
    ("ILogger", "INTERNAL_ERROR"),
    ("IOptimizationProfile", "set_shape"),
    ("ITimingCache", "serialize"),
    ("LayerInformationFormat", "JSON"),
    ("MemoryPoolType", "WORKSPACE"),
    ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
    ("OnnxParser", "parse_from_file"),
    ("ProfilingVerbosity", "DETAILED"),
    ("Runtime", "deserialize_cuda_engine"),
)

Install = Callable[..., Any]


def layers(*types: str) -> str:
    tensors = [{"Name": "t", "Format/Datatype": kind} for kind in types]
    return json.dumps({"Layers": [{"LayerType": "gemm", "Inputs": tensors, "Outputs": []}]})


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """Return an fp16 graph: windows [W, 4] times a matrix."""
    path = tmp_path / "audio_encoder" / "model.onnx"
    path.parent.mkdir()
    nodes = [
        helper.make_node("Cast", ["windows"], ["half"], "to_half", to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["half", "weight"], ["product"], "multiply"),
        helper.make_node("Cast", ["product"], ["out"], "to_float", to=TensorProto.FLOAT),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["window", WIDTH])
        for name in ("windows", "out")
    ]
    weight = numpy_helper.from_array(np.eye(WIDTH, dtype=np.float16), "weight")
    made = helper.make_graph(nodes, "audio_encoder", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)]), path)
    return path


@pytest.fixture
def config(tmp_path: Path) -> TensorRTConfig:
    return TensorRTConfig(timing_cache=tmp_path / "cache" / "timings")


@pytest.fixture
def install(tensorrt_api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what puts a TensorRT with given names in place of the real one."""

    def put(version: str, names: dict[str, list[str]]) -> Any:
        api = tensorrt_api.FakeTensorRT(version, names)
        if hasattr(api.inspector, "get_engine_information"):
            api.inspector.get_engine_information.return_value = layers("Half", "Half")
        monkeypatch.setitem(sys.modules, "tensorrt", api.module)
        monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", tensorrt_api.HostCuda())
        return api

    return put


@pytest.fixture
def api(install: Install, tensorrt_api: ModuleType) -> Any:
    version = tensorrt_api.VERSIONS[-1]
    return install(version, tensorrt_api.names_of(version))


@pytest.mark.parametrize("source", ["10.16.1.11", "11.4.0.106", "installed"])
def test_the_builder_needs_no_name_that_a_version_lacks(
    source: str,
    install: Install,
    tensorrt_api: ModuleType,
    graph: Path,
    config: TensorRTConfig,
    tmp_path: Path,
) -> None:
    if source == "installed":
        version, names = tensorrt_api.names_of_bindings(tmp_path)
    else:
        version, names = source, tensorrt_api.names_of(source)
    api = install(version, names)

    plan = build_plan(graph, "fp16", config, BUCKETS)

    flag = api.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    api.builder.create_network.assert_called_once_with(1 << int(flag))
    api.parser.parse_from_file.assert_called_once_with(str(graph))
    api.profile.set_shape.assert_called_once_with("windows", (1, WIDTH), (8, WIDTH), (64, WIDTH))
    api.settings.add_optimization_profile.assert_called_once_with(api.profile)
    api.settings.clear_flag.assert_called_once_with(api.module.BuilderFlag.TF32)
    assert api.settings.profiling_verbosity == api.module.ProfilingVerbosity.DETAILED
    assert api.settings.hardware_compatibility_level == api.module.HardwareCompatibilityLevel.NONE
    assert plan.read_bytes() == b"plan"
    record = PlanRecord.model_validate_json((plan.parent / "model.plan.json").read_bytes())
    assert (record.tensorrt, record.gpu, record.compute_capability) == (
        version,
        "NVIDIA H200",
        "9.0",
    )
    assert record.onnx == {"model.onnx": sha256_of(graph)}
    assert record.layers == {"bf16": 0, "fp16": 1, "fp32": 0, "int8": 0}
    assert json.loads((plan.parent / "model.layers.json").read_text())["Layers"]


@pytest.mark.parametrize("version", ["10.16.1.11", "11.4.0.106"])
@pytest.mark.parametrize(("kind", "name"), NEEDED)
def test_a_name_that_a_version_lacks_fails(
    kind: str,
    name: str,
    version: str,
    install: Install,
    tensorrt_api: ModuleType,
    graph: Path,
    config: TensorRTConfig,
) -> None:
    names = tensorrt_api.names_of(version)
    names[kind].remove(name)
    install(version, names)
    with pytest.raises(AttributeError, match=name):
        build_plan(graph, "fp16", config, BUCKETS)


def test_a_name_that_only_the_older_version_has_is_not_offered(
    install: Install, tensorrt_api: ModuleType
) -> None:
    found = {v: install(v, tensorrt_api.names_of(v)) for v in tensorrt_api.VERSIONS}
    assert found["10.16.1.11"].module.BuilderFlag.FP16 is not None
    with pytest.raises(AttributeError):
        _ = found["11.4.0.106"].module.BuilderFlag.FP16
    with pytest.raises(AttributeError):
        found["11.4.0.106"].settings.int8_calibrator = None


def test_timings_are_kept_for_the_next_build(api: Any, graph: Path, config: TensorRTConfig) -> None:
    build_plan(graph, "fp16", config, BUCKETS)
    api.settings.create_timing_cache.assert_called_once_with(b"")
    assert config.timing_cache is not None
    assert config.timing_cache.read_bytes() == b"timings"
    api.settings.set_timing_cache.side_effect = [False, True]  # timings of another GPU
    build_plan(graph, "fp16", config, BUCKETS)
    given = [call.args[0] for call in api.settings.create_timing_cache.call_args_list]
    assert given == [b"", b"timings", b""]


def test_timings_are_told_to_tensorrt_alone(
    api: Any, graph: Path, config: TensorRTConfig, tmp_path: Path
) -> None:
    """A pickle in their place is no object of ours: bytes, which TensorRT takes or refuses."""

    class Malicious:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "attacked"),)

    assert config.timing_cache is not None
    config.timing_cache.parent.mkdir()
    config.timing_cache.write_bytes(pickle.dumps(Malicious()))
    given = config.timing_cache.read_bytes()
    api.settings.set_timing_cache.side_effect = [False, True]
    build_plan(graph, "fp16", config, BUCKETS)
    assert [c.args[0] for c in api.settings.create_timing_cache.call_args_list] == [given, b""]
    assert config.timing_cache.read_bytes() == b"timings"
    assert not (tmp_path / "attacked").exists()


def test_a_silent_fp32_plan_is_refused(api: Any, graph: Path, config: TensorRTConfig) -> None:
    api.inspector.get_engine_information.return_value = layers("Float", "Float")
    with pytest.raises(HemogatError, match=r"has fp16 nodes, but no layer of its plan"):
        build_plan(graph, "fp16", config, BUCKETS)
    assert not (graph.parent / "model.plan").exists()


def test_parser_errors_name_the_nodes(api: Any, graph: Path, config: TensorRTConfig) -> None:
    api.parser.parse_from_file.return_value = False
    api.parser.num_errors = 1
    api.parser.get_error.return_value = api.parser_error(
        node_name="multiply", node_operator="MatMul", desc="no\nsuch thing"
    )
    with pytest.raises(HemogatError, match=r"node multiply \(MatMul\): no such thing"):
        build_plan(graph, "fp16", config, BUCKETS)


def test_a_failed_build_tells_what_tensorrt_said(
    api: Any, graph: Path, config: TensorRTConfig
) -> None:
    def fail(*_: object) -> None:
        logger = api.loggers[0]
        logger.log(logger.ERROR, "out of memory")
        logger.log(logger.INFO, "chatter")

    api.builder.build_serialized_network.side_effect = fail
    with pytest.raises(HemogatError, match=r"built no plan \(out of memory\)"):
        build_plan(graph, "fp16", config, BUCKETS)


def test_a_refused_profile_is_an_error(api: Any, graph: Path, config: TensorRTConfig) -> None:
    api.settings.add_optimization_profile.return_value = -1
    with pytest.raises(HemogatError, match="refuses the shapes"):
        build_plan(graph, "fp16", config, BUCKETS)


def test_token_profiles_are_as_narrow_as_the_buckets(tiny_bundle: Path) -> None:
    path = tiny_bundle / "text_encoder" / "onnx-fp32" / "model.onnx"
    profile = optimization_profile(path, TensorRTConfig(), (16, 24))
    for name in ("input_ids", "attention_mask"):
        shapes = profile[name]
        assert (shapes.smallest, shapes.typical, shapes.largest) == ((1, 16), (8, 24), (32, 24))


@pytest.mark.parametrize("buckets", [(8, 64), (16, 256)])
def test_buckets_outside_the_recipe_are_refused(
    buckets: tuple[int, ...], tiny_bundle: Path
) -> None:
    path = tiny_bundle / "text_encoder" / "onnx-fp32" / "model.onnx"
    with pytest.raises(ConfigError, match="widen it in the export recipe"):
        optimization_profile(path, TensorRTConfig(), buckets)


def test_every_fusion_input_has_a_profile(tiny_bundle: Path) -> None:
    path = tiny_bundle / "fusion" / "onnx-fp32" / "model.onnx"
    config = TensorRTConfig(batch=Profile(smallest=1, typical=2, largest=4))
    profile = optimization_profile(path, config, BUCKETS)
    assert {name: shapes.largest for name, shapes in profile.items()} == {
        "audio_embedding": (4, 16),
        "text_embedding": (4, 16),
        "present": (4, 2),
    }


def test_what_is_missing_is_said(
    install: Install, tensorrt_api: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = install("10.13.0.1", tensorrt_api.names_of("10.16.1.11"))
    sys.modules["cuda.bindings.runtime"].devices = 0  # type: ignore[attr-defined]
    old, no_gpu = missing_parts()
    assert "expected TensorRT 10.14 or newer, found 10.13.0.1" in old
    assert "expected an NVIDIA GPU" in no_gpu
    api.module.__version__ = "11.4.0.106"
    sys.modules["cuda.bindings.runtime"].devices = 1  # type: ignore[attr-defined]
    assert missing_parts() == ()


def test_without_tensorrt_nothing_is_built(
    graph: Path, config: TensorRTConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(IncompleteError, match="tensorrt cannot be imported"):
        build_plan(graph, "fp16", config, BUCKETS)
