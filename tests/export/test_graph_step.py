"""The ONNX function against the torch operator, on banks and queries that hypothesis draws."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from onnx import TensorProto, helper

from hemogat.config import GraphConfig
from hemogat.contract import FUNCTION_DOMAIN, TOPK_FUNCTION
from hemogat.export.graph_step import topk_function
from hemogat.export.onnx_graphs import FORBIDDEN_OPERATORS, IR_VERSION
from hemogat.model.topk_graph import SearchTable, search_bank

AUDIO_DIM, TEXT_DIM, OPSET = 3, 5, 20
INPUTS = {
    "audio": (TensorProto.FLOAT, ["batch", AUDIO_DIM]),
    "text": (TensorProto.FLOAT, ["batch", TEXT_DIM]),
    "present": (TensorProto.BOOL, ["batch", 2]),
    "audio_table": (TensorProto.FLOAT, [AUDIO_DIM, "audio_row"]),
    "audio_rows": (TensorProto.INT64, ["audio_row"]),
    "text_table": (TensorProto.FLOAT, [TEXT_DIM, "text_row"]),
    "text_rows": (TensorProto.INT64, ["text_row"]),
}
OUTPUTS = {"neighbours": TensorProto.INT64, "similarities": TensorProto.FLOAT}


def build(graph: GraphConfig, opset: int = OPSET) -> onnx.ModelProto:
    """Return a model of one node: the function, its tables as inputs."""
    function = ir.to_proto(topk_function(graph, opset))
    call = helper.make_node(
        TOPK_FUNCTION,
        list(INPUTS),
        list(OUTPUTS),
        domain=FUNCTION_DOMAIN,
        k_audio=[graph.k_audio],
        k_text=[graph.k_text],
    )
    inputs = [helper.make_tensor_value_info(n, kind, axes) for n, (kind, axes) in INPUTS.items()]
    outputs = [
        helper.make_tensor_value_info(n, kind, ["batch", graph.slots])
        for n, kind in OUTPUTS.items()
    ]
    return helper.make_model(
        helper.make_graph([call], "step", inputs, outputs),
        functions=[function],
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(FUNCTION_DOMAIN, 1)],
        ir_version=IR_VERSION,
    )


@cache
def session(graph: GraphConfig) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(
        build(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )


@st.composite
def vectors(draw: st.DrawFn, rows: int, width: int) -> torch.Tensor:
    """Rows of any length, of which many are equal and some are zero."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pool = random.standard_normal((draw(st.integers(1, 6)), width)).astype(np.float32)
    pool[0] *= draw(st.sampled_from([0.0, 1.0]))
    pool[-1] *= draw(st.sampled_from([1e-13, 1e-6, 1.0, 1e9]))  # the first: as good as zero
    chosen = draw(st.lists(st.integers(0, len(pool) - 1), min_size=rows, max_size=rows))
    return torch.from_numpy(pool[chosen])


@st.composite
def flags(draw: st.DrawFn, rows: int) -> torch.Tensor:
    pairs = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=rows, max_size=rows))
    return torch.tensor(pairs, dtype=torch.bool).reshape(rows, 2)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_the_function_equals_the_torch_operator(data: st.DataObject) -> None:
    rows, queries = data.draw(st.integers(3, 12)), data.draw(st.integers(1, 4))
    bank_audio, bank_text = (data.draw(vectors(rows, d)) for d in (AUDIO_DIM, TEXT_DIM))
    has = data.draw(flags(rows))
    most = [min(3, int(has[:, column].sum())) for column in range(2)]
    k_audio, k_text = (data.draw(st.integers(0, k)) for k in most)
    graph = GraphConfig(k_audio=k_audio, k_text=k_text)
    if not graph.slots:  # then there is no function: the head has no neighbours
        return
    audio, text = (data.draw(vectors(queries, d)) for d in (AUDIO_DIM, TEXT_DIM))
    present = data.draw(flags(queries))
    tables = [SearchTable.build(bank_audio, has[:, 0]), SearchTable.build(bank_text, has[:, 1])]

    expected = search_bank(audio, text, present, *tables, graph)
    parts = [audio, text, present, tables[0].table, tables[0].rows, tables[1].table, tables[1].rows]
    feeds = {name: part.numpy() for name, part in zip(INPUTS, parts, strict=True)}
    index, similarity = session(graph).run(
        list(OUTPUTS), {name: feeds[name] for name in feeds if name in used(graph)}
    )

    assert_allclose(similarity, expected.similarity, atol=1e-6)
    # Rows too: different vectors are never drawn so alike that rounding would order them.
    assert_array_equal(index, expected.index)


def used(graph: GraphConfig) -> set[str]:
    return {i.name for i in session(graph).get_inputs()}


def test_ties_go_to_the_lower_row() -> None:
    graph = GraphConfig(k_audio=0, k_text=4)
    text = torch.tensor([[0.3, -0.2, 0.5, 0.1, 0.9]])
    bank = torch.cat([-text, text, text, -text, text, text]).repeat(40, 1)
    table = SearchTable.build(bank, torch.ones(len(bank), dtype=torch.bool))
    feeds = {
        "audio": np.zeros((3, AUDIO_DIM), np.float32),
        "text": text.repeat(3, 1).numpy(),
        "present": np.ones((3, 2), bool),
        "audio_table": np.zeros((AUDIO_DIM, 1), np.float32),
        "audio_rows": np.zeros(1, np.int64),
        "text_table": table.table.numpy(),
        "text_rows": table.rows.numpy(),
    }
    index, _ = session(graph).run(None, {n: feeds[n] for n in used(graph)})
    assert_array_equal(index, [[1, 2, 4, 5]] * 3)


@pytest.mark.parametrize("opset", [18, 20, 23])
@pytest.mark.parametrize(
    "graph",
    [
        GraphConfig(k_audio=2, k_text=1),
        GraphConfig(k_audio=2, k_text=0),
        GraphConfig(k_audio=0, k_text=1),
    ],
)
def test_the_function_is_standard_operators_without_data_dependent_shapes(
    graph: GraphConfig, opset: int
) -> None:
    model = build(graph, opset)
    onnx.checker.check_model(model, full_check=True)
    (function,) = model.functions
    assert (function.domain, function.name) == (FUNCTION_DOMAIN, TOPK_FUNCTION)
    assert set(function.attribute) == {"k_audio", "k_text"}
    assert {node.domain for node in function.node} == {""}
    assert not FORBIDDEN_OPERATORS & {node.op_type for node in function.node}
    searches = [node for node in function.node if node.op_type == "TopK"]
    assert len(searches) == (graph.k_audio > 0) + (graph.k_text > 0)
    for node in searches:  # what TensorRT asks for
        assert {a.name: a.i for a in node.attribute} == {"axis": 1, "largest": 1, "sorted": 1}
