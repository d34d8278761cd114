from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hemogat.export.onnx_files import MODEL_FILE, WEIGHTS_FILE, save_graph


@pytest.mark.parametrize("numbers", [16, 127, 128, 129, 4096])
def test_a_graph_read_from_another_folder_keeps_its_constants(tmp_path: Path, numbers: int) -> None:
    """Whatever writer made it, and wherever its limit for tensors of their own file lies."""
    constants = {"large": np.arange(5000), "any": np.arange(numbers) * 7}
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    outputs = [
        helper.make_tensor_value_info(f"{n}_out", TensorProto.INT64, None) for n in constants
    ]
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in constants]
    graph = helper.make_graph(nodes, "constants", [], outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    source = tmp_path / "source"
    source.mkdir()
    onnx.save(
        model, source / MODEL_FILE, save_as_external_data=True, location=WEIGHTS_FILE,
        size_threshold=64,
    )  # fmt: skip
    read = ir.load(source / MODEL_FILE)
    first = read.graph.initializers.pop("large")  # what lay before the other in the file is gone
    for node in list(read.graph):
        if node.inputs[0] is first:
            read.graph.outputs.remove(node.outputs[0])
            read.graph.remove(node)
    saved = save_graph(read, tmp_path / "target")
    (found,) = onnxruntime.InferenceSession(str(saved)).run(None, {})
    assert np.array_equal(found, constants["any"])
