from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from hemogat.errors import HemogatError
from hemogat.export.tensorrt_operators import check_operators, operator_table
from hemogat.runtime.bundle import Bundle

FLOAT, INT64, HALF = TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT16
node = helper.make_node
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Return what writes a graph from x [batch, 8] to y, and gives its path."""

    def write(
        nodes: Sequence[NodeProto],
        *,
        kind: int = FLOAT,
        out: int | None = None,
        shape: Sequence[int | str] = ("batch", 8),
        opset: int = 20,
        functions: Sequence[onnx.FunctionProto] = (),
        **constants: Any,
    ) -> Path:
        graph = helper.make_graph(
            list(nodes),
            "graph",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", out or kind, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        domains = {n.domain for n in nodes if n.domain}
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
        model = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return path

    return write


@pytest.mark.parametrize("graph", ["audio_encoder", "text_encoder", "fusion"])
def test_every_exported_graph_passes(graph: str, tiny_bundle: Path) -> None:
    assert check_operators(tiny_bundle / graph / "onnx-fp32" / "model.onnx") == frozenset()


def test_graphs_without_a_bank_inside_pass_too(tiny_gathered_bundle: Path) -> None:
    bank = Bundle.open(tiny_gathered_bundle).manifest.bank
    assert bank.states is not None
    assert bank.gather is not None
    for path in (bank.states, bank.gather):
        assert check_operators(tiny_gathered_bundle / path) == frozenset()


def topk(k: int, **attributes: int) -> dict[str, Any]:
    given = node("TopK", ["x", "k"], ["y", "where"], "search", **attributes)
    return {"nodes": [given], "shape": ("batch", 5000), "k": np.array([k])}


ZERO, ONE_SCALE = np.int8(0), np.float32(0.1)
SCALE_PER_CHANNEL = np.full(3, 0.1, np.float32)


def quantised(zero: Any = ZERO, weights: Any = SCALE_PER_CHANNEL, axis: int = 1) -> dict[str, Any]:
    """Return a product of quantised activations and weights [8, 3]."""
    return {
        "nodes": [
            node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "quantise"),
            node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "dequantise"),
            node("DequantizeLinear", ["w8", "weight_scale"], ["w"], "weights", axis=axis),
            node("MatMul", ["d", "w"], ["y"], "product"),
        ],
        "scale": ONE_SCALE,
        "zero": zero,
        "w8": np.ones((8, 3), np.int8),
        "weight_scale": weights,
    }


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "not supported": (
        {"nodes": [node("Unique", ["x"], ["y"], "distinct")]},
        r"node distinct \(Unique\): is not supported",
    ),
    "other domain": (
        {"nodes": [node("FusedMatMul", ["x", "x"], ["y"], "fused", domain="com.microsoft")]},
        r"node fused \(FusedMatMul\): is of domain com\.microsoft",
    ),
    "not judged": (
        {"nodes": [node("MaxPool", ["x"], ["y"], "pool", kernel_shape=[2])], "shape": (1, 1, 8)},
        r"node pool \(MaxPool\): is restricted",
    ),
    "too new": (
        {
            "nodes": [node("RMSNormalization", ["x", "s"], ["y"], "norm")],
            "opset": 23,
            "s": np.ones(8, np.float32),
        },
        r"node norm \(RMSNormalization\): needs TensorRT 10\.15",
    ),
    "type": (
        {"nodes": [node("Clip", ["x"], ["y"], "clip")], "kind": INT64},
        r"node clip \(Clip\): x is INT64, expected one of FP32, FP16, BF16",
    ),
    "made type": (
        {"nodes": [node("Cast", ["x"], ["y"], "wide", to=11)], "out": TensorProto.DOUBLE},
        r"node wide \(Cast\): y is DOUBLE",
    ),
    "opset": (
        {"nodes": [node("Relu", ["x"], ["y"])], "opset": 7},
        "expected opset 9 to 24, which TensorRT reads, found 7",
    ),
    "axes not constant": (
        {
            "nodes": [
                node("Shape", ["x"], ["s"], end=1),
                node("ReduceMean", ["x", "s"], ["y"], "mean"),
            ]
        },
        r"node mean \(ReduceMean\): input s must be a constant",
    ),
    "large k": (topk(3840), r"node search \(TopK\): k is 3840, expected less than 3840"),
    "not sorted": (topk(4, sorted=0), r"node search \(TopK\): sorted is 0"),
    "far axis": (
        topk(1, axis=0) | {"shape": (3, 1, 1, 1, 5)},
        r"node search \(TopK\): axis is 0 of 5",
    ),
    "asymmetric": (
        quantised(zero=np.int8(3)),
        r"node quantise \(QuantizeLinear\): zero point zero must be 0",
    ),
    "unsigned": (
        quantised(zero=np.uint8(0)),
        r"node quantise \(QuantizeLinear\): gives UINT8, expected INT8",
    ),
    "weights per tensor": (
        quantised(weights=ONE_SCALE),
        r"node weights \(DequantizeLinear\): has 1 scales .* each of the 3 output channels",
    ),
    "weights along the wrong axis": (
        quantised(weights=np.full(8, 0.1, np.float32), axis=0),
        r"node weights \(DequantizeLinear\): has 8 scales along axis 0",
    ),
    "quantised bias": (
        {
            "nodes": [
                node("DequantizeLinear", ["b32", "scale"], ["b"], "bias"),
                node("Add", ["x", "b"], ["y"]),
            ],
            "b32": np.ones(8, np.int32),
            "scale": ONE_SCALE,
        },
        r"node bias \(DequantizeLinear\): b32 is INT32",
    ),
    "scatter with reduction": (
        {
            "nodes": [node("ScatterND", ["x", "i", "u"], ["y"], "put", reduction="add")],
            "i": np.zeros((1, 1), np.int64),
            "u": np.zeros((1, 8), np.float32),
        },
        r"node put \(ScatterND\): reduction is add",
    ),
    "second output": (
        {
            "nodes": [node("LayerNormalization", ["x", "s"], ["y", "mean"], "norm")],
            "s": np.ones(8, np.float32),
        },
        r"node norm \(LayerNormalization\): has a second output",
    ),
    "text": (
        {
            "nodes": [
                node("Constant", [], ["t"], "words", value_string="a"),
                node("Abs", ["x"], "y"),
            ]
        },
        r"node words \(Constant\): .*t is STRING|has a value_string",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_tensorrt_would_refuse_is_refused_by_node(case: str, save: Save) -> None:
    graph, message = REFUSED[case]
    with pytest.raises(HemogatError, match=message):
        check_operators(save(**graph))


def test_functions_are_looked_into(save: Save) -> None:
    body = helper.make_function(
        "own",
        "Step",
        ["a"],
        ["b"],
        [node("Unique", ["a"], ["b"], "distinct")],
        [helper.make_opsetid("", 20)],
    )
    path = save([node("Step", ["x"], ["y"], "call", domain="own")], functions=[body])
    with pytest.raises(HemogatError, match=r"node distinct\S* \(Unique\): is not supported"):
        check_operators(path)


def test_attention_is_taken_in_four_dimensions_only(save: Save) -> None:
    four = node("Attention", ["x", "x", "x"], ["y"], "attend")
    path = save([four], opset=23, shape=("batch", 2, 4, 8), kind=HALF)
    assert check_operators(path) == {"fp16"}
    three = node("Attention", ["x"] * 3, ["y"], "attend", q_num_heads=2, kv_num_heads=2)
    with pytest.raises(HemogatError, match=r"node attend \(Attention\): inputs have \[3, 3, 3\]"):
        check_operators(save([three], opset=23, shape=("batch", 4, 8), kind=HALF))


def test_symmetric_int8_with_a_scale_per_channel_passes(save: Save) -> None:
    assert check_operators(save(**quantised())) == {"int8"}


@pytest.mark.parametrize(
    ("kind", "opset", "expected"), [(HALF, 20, "fp16"), (TensorProto.BFLOAT16, 22, "bf16")]
)
def test_the_precision_is_that_of_the_products(
    kind: int, opset: int, expected: str, save: Save
) -> None:
    product = [node("Transpose", ["x"], ["t"]), node("MatMul", ["x", "t"], ["y"])]
    assert check_operators(save(product, kind=kind, opset=opset)) == {expected}
    conversion = [node("Cast", ["x"], ["h"], to=kind), node("Cast", ["h"], ["y"], to=FLOAT)]
    assert check_operators(save(conversion, opset=opset)) == frozenset()


def test_many_problems_are_counted(save: Save) -> None:
    names = ["x", "a", "b", "c", "d", "y"]
    chain = [node("Det", [i], [o], f"n{i}") for i, o in pairwise(names)]
    with pytest.raises(HemogatError, match=r"node nx .*; node na .*; node nb .* and 2 more"):
        check_operators(save(chain))


def test_the_table_names_operators_of_onnx() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    table = operator_table()
    beyond = {"ParametricSoftplus", "ScaledTanh", "ImageScaler"}  # older than ONNX 1.0's own list
    assert table.types.keys() - beyond <= known
    assert table.constant_inputs.keys() <= table.types.keys()
    assert not table.not_judged.keys() & table.types.keys()
