from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from hemogat.export.mixed_precision import HalfPrecision, to_half
from hemogat.export.tensorrt_operators import check_operators
from hemogat.export_config import ExportConfig

FLOAT, HALVES = TensorProto.FLOAT, {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
GRAPHS = ("audio_encoder", "text_encoder", "fusion")
IN_FP32 = {"LayerNormalization", "Softmax", "InstanceNormalization", "ReduceMean", "TopKBankGraph"}
FEEDS = {
    "audio_encoder": {"windows": np.random.default_rng(0).normal(size=(2, 16_000))},
    "text_encoder": {"input_ids": np.arange(32).reshape(2, 16), "attention_mask": np.ones((2, 16))},
    "fusion": {
        "audio_embedding": np.random.default_rng(1).normal(size=(2, 16)),
        "text_embedding": np.random.default_rng(2).normal(size=(2, 16)),
        "present": np.ones((2, 2)),
    },
}
TYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


def answer(path: Path, graph: str) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {i.name: FEEDS[graph][i.name].astype(TYPES[i.type]) for i in session.get_inputs()}
    return session.run(None, feeds)


def types_by_name(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model).graph
    values = (*inferred.value_info, *inferred.input, *inferred.output)
    tensors = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    return {value.name: value.type.tensor_type.elem_type for value in values} | tensors


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_products_are_half_and_norms_are_not(
    graph: str, precision: HalfPrecision, tiny_bundle: Path, tmp_path: Path
) -> None:
    path = to_half(tiny_bundle / graph / "onnx-fp32" / "model.onnx", tmp_path, precision)
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    types = types_by_name(model)
    for node in model.graph.node:
        read = {types[name] for name in node.input if name in types} & {FLOAT, *HALVES.values()}
        if node.op_type in ("MatMul", "Gemm"):
            assert read == {HALVES[precision]}, node.name
        elif node.op_type in IN_FP32:
            assert read <= {FLOAT}, node.name
    for value in (*model.graph.input, *model.graph.output):
        assert types[value.name] not in HALVES.values()
    bank = [t for t in model.graph.initializer if "_table" in t.name or "states_" in t.name]
    assert {tensor.data_type for tensor in bank} <= {FLOAT}
    source = tiny_bundle / graph / "onnx-fp32"
    weights = "model.onnx.data"
    assert (tmp_path / weights).stat().st_size < (source / weights).stat().st_size


@pytest.mark.parametrize("graph", GRAPHS)
def test_fp16_answers_nearly_alike(graph: str, tiny_bundle: Path, tmp_path: Path) -> None:
    source = tiny_bundle / graph / "onnx-fp32" / "model.onnx"
    found = answer(to_half(source, tmp_path, "fp16"), graph)
    for reduced, exact in zip(found, answer(source, graph), strict=True):
        assert reduced.dtype == exact.dtype
        np.testing.assert_allclose(reduced, exact, atol=2e-2)
    assert not np.array_equal(found[0], answer(source, graph)[0])


def test_silence_stays_finite_in_fp16(tiny_bundle: Path, tmp_path: Path) -> None:
    path = to_half(tiny_bundle / "audio_encoder" / "onnx-fp32" / "model.onnx", tmp_path, "fp16")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for level in (0.0, 1e-5):
        (embedding,) = session.run(None, {"windows": np.full((1, 16_000), level, np.float32)})
        assert np.isfinite(embedding).all()


def test_from_opset_22_convolutions_are_bf16_too(tiny_bundle: Path, tmp_path: Path) -> None:
    source = Path(shutil.copytree(tiny_bundle / "audio_encoder" / "onnx-fp32", tmp_path / "source"))
    model = onnx.load(source / "model.onnx", load_external_data=False)
    model.opset_import[0].version = ExportConfig(precision="bf16").onnx_opset
    onnx.save(model, source / "model.onnx")
    path = to_half(source / "model.onnx", tmp_path / "bf16", "bf16")
    onnx.checker.check_model(path, full_check=True)
    assert check_operators(path) == {"bf16"}
    half = onnx.load(path)
    types = types_by_name(half)
    convolutions = [node for node in half.graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 1
    for node in convolutions:
        assert {types[name] for name in node.input if name} == {TensorProto.BFLOAT16}, node.name
