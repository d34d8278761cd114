"""An ONNX graph to ask questions of: functions expanded, types and constants known."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import onnx
import onnx.inliner
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, numpy_helper

ReducedPrecision = Literal["fp16", "bf16", "int8"]
_MATRIX_OPERATORS = frozenset({"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul", "Attention"})
_TYPE_NAMES = {
    "FLOAT": "FP32",
    "FLOAT16": "FP16",
    "BFLOAT16": "BF16",
    "FLOAT8E4M3FN": "FP8",
}
_PRECISIONS: dict[str, ReducedPrecision] = {"FP16": "fp16", "BF16": "bf16", "INT8": "int8"}


class TypedGraph:
    """A graph with its functions expanded, its types inferred and its constants at hand."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        model = onnx.load(path, load_external_data=False)
        model = onnx.shape_inference.infer_shapes(onnx.inliner.inline_local_functions(model))
        self.opset = {o.domain or "": o.version for o in model.opset_import}.get("", 0)
        self.nodes = tuple(model.graph.node)
        values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
        self._values = {v.name: v.type.tensor_type for v in values}
        self._tensors = {t.name: t for t in model.graph.initializer} | {
            node.output[0]: attribute.t
            for node in self.nodes
            if node.op_type == "Constant"
            for attribute in node.attribute
            if attribute.name == "value"
        }
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self._constants = self._tensors.keys() | {
            node.output[0]
            for node in self.nodes
            if node.op_type == "Constant"
            or (node.op_type == "QuantizeLinear" and node.input[0] in self._tensors)
        }

    def type_of(self, name: str) -> str | None:
        """Return the type of a tensor in the table's words; None where it is not known."""
        if name in self._tensors:
            number = self._tensors[name].data_type
        elif name in self._values:
            number = self._values[name].elem_type
        else:
            return None
        found: str = TensorProto.DataType.Name(number)
        return _TYPE_NAMES.get(found, found)

    def shape_of(self, name: str) -> tuple[int | None, ...]:
        """Return the sizes of a tensor, None for those that are not fixed."""
        if name in self._tensors:
            return tuple(self._tensors[name].dims)
        dims = self._values[name].shape.dim if name in self._values else ()
        return tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is known when the engine is built."""
        return name in self._constants

    def constant(self, name: str) -> NDArray[Any]:
        """Return the value of a constant, from the file beside the graph if it is there."""
        value: NDArray[Any] = numpy_helper.to_array(self._tensors[name], str(self._folder))
        return value

    @cached_property
    def precisions(self) -> frozenset[ReducedPrecision]:
        """The precisions below fp32 that matrix products and convolutions have."""
        found = set()
        for node in self.nodes:
            if node.op_type in _MATRIX_OPERATORS:
                found.add(self.type_of(node.input[0]))
            elif node.op_type == "QuantizeLinear":
                found.add(self.type_of(node.output[0]))
        return frozenset(_PRECISIONS[kind] for kind in found if kind in _PRECISIONS)


def input_at(node: NodeProto, index: int) -> str:
    """Return the name of an input, empty where the node has none there."""
    return node.input[index] if index < len(node.input) else ""


def attribute_of(node: NodeProto, name: str, default: Any) -> Any:
    """Return the value of an attribute, ``default`` where the node has none of that name."""
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default
