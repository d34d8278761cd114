from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hemogat.export.mixed_precision import HalfPrecision, to_half
from hemogat.export.quantisation import quantise
from hemogat.export.stand_in import emulate

TYPES = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16}
OPSET = 22  # the first with a bf16 convolution


def run(path: Path, **feeds: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.run(None, feeds)
    return value


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return an fp32 graph: a convolution over x [N, 4, 32], GELU-like, and a product."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "kernel"], ["heard"], "convolve"),
        helper.make_node("Tanh", ["heard"], ["bent"], "bend"),
        helper.make_node("Transpose", ["bent"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["turned", "weight"], ["y"], "multiply"),
    ]
    shapes = {"x": ["batch", 4, 32], "y": ["batch", 30, 5]}
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    weights = {"kernel": (8, 4, 3), "weight": (8, 5)}
    tensors = [
        numpy_helper.from_array(random.normal(size=size).astype(np.float32), name)
        for name, size in weights.items()
    ]
    made = helper.make_graph(nodes, "graph", ends[:1], ends[1:], tensors)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    (tmp_path / "fp32").mkdir()
    onnx.save(onnx.shape_inference.infer_shapes(model), tmp_path / "fp32" / "model.onnx")
    return tmp_path / "fp32" / "model.onnx"


def rounded(value: NDArray[np.float32], precision: str) -> NDArray[np.float32]:
    return value.astype(TYPES[precision]).astype(np.float32)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_every_operator_sums_in_fp32_and_rounds_what_it_gives(
    precision: HalfPrecision, source: Path, tmp_path: Path
) -> None:
    typed = to_half(source, tmp_path / "half", precision)
    x = np.random.default_rng(1).normal(size=(3, 4, 32)).astype(np.float32)
    found = run(emulate(typed, tmp_path / "emulated"), x=x)

    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(source).graph.initializer}
    kernel, weight = (rounded(tensors[name], precision) for name in ("kernel", "weight"))
    windows = np.lib.stride_tricks.sliding_window_view(rounded(x, precision), 3, axis=2)
    heard = rounded(np.einsum("nctk,ock->not", windows, kernel).astype(np.float32), precision)
    bent = rounded(np.tanh(heard), precision)
    expected = rounded(bent.transpose(0, 2, 1) @ weight, precision)
    assert_array_equal(found, rounded(found, precision))  # nothing finer than the type
    # Sums in another order may round to the neighbouring value, now and then.
    step = float(ml_dtypes.finfo(TYPES[precision]).eps)
    assert_allclose(found, expected, rtol=2 * step, atol=step)
    assert np.mean(found == expected) > 0.9
    assert not np.array_equal(found, run(source, x=x))


def test_what_fp16_cannot_hold_overflows(source: Path, tmp_path: Path) -> None:
    typed = to_half(source, tmp_path / "half", "fp16")
    x = np.full((1, 4, 32), 7e4, np.float32)
    assert np.isfinite(run(source, x=x)).all()
    assert not np.isfinite(run(emulate(typed, tmp_path / "emulated"), x=x)).all()


def test_int8_weights_become_the_floats_that_they_stand_for(source: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    calls = [{"x": random.normal(size=(1, 4, 32)).astype(np.float32)} for _ in range(8)]
    typed = quantise(source, tmp_path / "int8", calls, symmetric=True)
    path = emulate(typed, tmp_path / "emulated")
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("DequantizeLinear") == kinds.count("QuantizeLinear") > 0  # activations'
    off = onnxruntime.SessionOptions()
    off.add_session_config_entry("session.disable_quant_qdq", "1")  # each node by itself
    session = onnxruntime.InferenceSession(typed, off, providers=["CPUExecutionProvider"])
    assert_allclose(run(path, **calls[0]), session.run(None, calls[0])[0], atol=1e-5)


@pytest.mark.parametrize("graph", ["audio_encoder", "text_encoder", "fusion"])
def test_every_exported_graph_can_be_emulated_in_bf16(
    graph: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    typed = to_half(tiny_bundle / graph / "onnx-fp32" / "model.onnx", tmp_path / "half", "bf16")
    path = emulate(typed, tmp_path / "emulated")
    onnx.checker.check_model(path, full_check=True)
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
