"""fp16 and bf16 by types in the graph: matrix products and convolutions run in half precision.

What needs range or digits stays fp32: layer, group and instance norm, softmax, every mean (so the
window's own normalisation too), residual sums, and the whole similarity search with its bank.
Inputs and outputs of the graph stay fp32. The same division of labour as torch's autocast.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import onnx
import onnx_ir as ir

from hemogat.export.onnx_files import BANK_FILE, is_in_bank, save_graph

HalfPrecision = Literal["fp16", "bf16"]
_TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
_TYPE_STRINGS = {"fp16": "tensor(float16)", "bf16": "tensor(bfloat16)"}
_HALF = frozenset(("Conv", "Gemm", "MatMul", "Einsum"))
# Half where all that they read is: moving data, and elementwise work between two products.
_FOLLOWING = frozenset(
    (
        *("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split"),
        *("Squeeze", "Transpose", "Unsqueeze"),
        *("Add", "Div", "Gelu", "LeakyRelu", "Mul", "Relu", "Sub", "Tanh"),
    )
)


def to_half(source: Path, folder: Path, precision: HalfPrecision) -> Path:
    """Write the fp32 graph at ``source`` into ``folder`` in half precision; return its path.

    Weights of half-precision operators are stored in half precision; a bank is copied.
    """
    model = ir.load(source)
    _Caster(model, precision).run()
    folder.mkdir(parents=True, exist_ok=True)
    bank = source.parent / BANK_FILE
    if bank.is_file():
        shutil.copyfile(bank, folder / BANK_FILE)
    return save_graph(model, folder)


class _Caster:
    """One pass over a graph in its order; every value's type is settled when it is read."""

    def __init__(self, model: ir.Model, precision: HalfPrecision) -> None:
        self._graph = model.graph
        self._half = _TYPES[precision]
        self._allowed = _Schemas(model.opset_imports[""], _TYPE_STRINGS[precision])
        self._casts: dict[tuple[str, ir.DataType], ir.Value] = {}

    def run(self) -> None:
        for node in list(self._graph):
            half = self._runs_in_half(node)
            for index, value in enumerate(node.inputs):
                if value is not None and value.dtype in (ir.DataType.FLOAT, self._half):
                    wanted = self._half if half else ir.DataType.FLOAT
                    node.replace_input_with(index, self._as(value, wanted, node))
            if half:
                for output in node.outputs:
                    output.dtype = self._half
        self._restore_outputs()
        self._drop_unused()

    def _runs_in_half(self, node: ir.Node) -> bool:
        if node.domain or not self._allowed(node.op_type):
            return False
        if any(value is not None and _in_bank(value) for value in node.inputs):
            return False
        if node.op_type in _HALF:
            return True
        if node.op_type not in _FOLLOWING:
            return False
        floats = [v for v in node.inputs if v is not None and v.dtype in _FLOATS]
        computed = [value for value in floats if not value.is_initializer()]
        return bool(floats) and all(value.dtype == self._half for value in computed)

    def _as(self, value: ir.Value, wanted: ir.DataType, before: ir.Node) -> ir.Value:
        """Return ``value`` in the type that is wanted, converted once for all who read it."""
        if value.dtype == wanted:
            return value
        key = (str(value.name), wanted)
        if key not in self._casts:
            self._casts[key] = (
                self._converted(value, wanted)
                if value.is_initializer()
                else self._cast(value, wanted, before)
            )
        return self._casts[key]

    def _converted(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        assert value.const_value is not None
        array = value.const_value.numpy().astype(wanted.numpy())
        name = f"{value.name}_{wanted.name.lower()}"
        new = ir.Value(
            name=name,
            shape=value.shape,
            type=ir.TensorType(wanted),
            const_value=ir.Tensor(array, name=name),
        )
        self._graph.register_initializer(new)
        return new

    def _cast(self, value: ir.Value, wanted: ir.DataType, before: ir.Node) -> ir.Value:
        name = f"{value.name}_{wanted.name.lower()}"
        output = ir.Value(name=name, shape=value.shape, type=ir.TensorType(wanted))
        cast = ir.node("Cast", [value], {"to": int(wanted)}, outputs=[output], name=f"cast_{name}")
        self._graph.insert_before(before, cast)
        return output

    def _restore_outputs(self) -> None:
        for index, output in enumerate(self._graph.outputs):
            if output.dtype != self._half:
                continue
            name = output.name
            output.name = f"{name}_{self._half.name.lower()}"
            restored = ir.Value(
                name=name, shape=output.shape, type=ir.TensorType(ir.DataType.FLOAT)
            )
            cast = ir.node("Cast", [output], {"to": int(ir.DataType.FLOAT)}, outputs=[restored])
            self._graph.append(cast)
            self._graph.outputs[index] = restored

    def _drop_unused(self) -> None:
        for name, value in list(self._graph.initializers.items()):
            if not value.uses():
                del self._graph.initializers[name]


_FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def _in_bank(value: ir.Value) -> bool:
    return value.is_initializer() and is_in_bank(value)


class _Schemas:
    """Which operators of an opset take a type as their first input."""

    def __init__(self, opset: int, kind: str) -> None:
        self._opset = opset
        self._kind = kind

    def __call__(self, op_type: str) -> bool:
        schema = onnx.defs.get_schema(op_type, self._opset)
        return self._kind in schema.inputs[0].types
