"""What is judged where an engine cannot run: its own graphs, in ONNX Runtime on the CPU.

Half precision is emulated: sums are fp32, and what an operator gives in fp16 or bf16 is rounded to
that type, overflow included. Constant int8 weights become the floats that they stand for, so that
products are exact and the same on every processor.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir

from hemogat.contract import Precision
from hemogat.export.onnx_files import BANK_FILE, save_graph
from hemogat.runtime.bundle import Bundle, GraphName, ModelFile

_FLOAT = ir.DataType.FLOAT
_HALVES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
# They give values that they were given: what is rounded already stays as it is.
_MOVING = frozenset(
    (
        *("Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split"),
        *("Squeeze", "Transpose", "Unsqueeze"),
    )
)


@contextmanager
def stand_in(
    bundle: Bundle, graphs: Mapping[GraphName, Path], precision: Precision
) -> Iterator[Bundle]:
    """Give ``bundle`` as one of ONNX Runtime's, with emulations of ``graphs`` for models.

    They are there until the end of the block; all else, the golden file too, is the bundle's own.
    """
    with tempfile.TemporaryDirectory(dir=bundle.path, prefix=".stand-in.") as scratch:
        models = tuple(
            ModelFile(
                graph=graph,
                engine="onnx",
                precision=precision,
                path=emulate(path, Path(scratch) / graph).relative_to(bundle.path).as_posix(),
            )
            for graph, path in graphs.items()
        )
        yield Bundle(bundle.path, bundle.manifest.model_copy(update={"models": models}))


def emulate(source: Path, folder: Path) -> Path:
    """Write the typed graph at ``source`` into ``folder`` as the CPU can run it; return its path.

    Inputs and outputs keep their names and types.
    """
    model = ir.load(source)
    graph = model.graph
    for value in list(graph.initializers.values()):
        if value.dtype in _HALVES:
            _store_as_float(value)
    for node in list(graph):
        if node.op_type == "DequantizeLinear" and _is_constant(node):
            _fold(graph, node)
            continue
        for output in node.outputs:
            if output.dtype in _HALVES:
                _round(graph, node, output)
    folder.mkdir(parents=True, exist_ok=True)
    bank = source.parent / BANK_FILE
    if bank.is_file():
        shutil.copyfile(bank, folder / BANK_FILE)
    return save_graph(model, folder)


def _store_as_float(value: ir.Value) -> None:
    assert value.const_value is not None
    array = value.const_value.numpy().astype(np.float32)
    value.const_value = ir.Tensor(array, name=value.name)
    value.dtype = _FLOAT


def _round(graph: ir.Graph, node: ir.Node, output: ir.Value) -> None:
    """Keep an output as a float that its half type has: rounded, and cast back."""
    half = output.dtype
    assert half is not None
    readers = list(output.uses())
    rounds_itself = node.op_type in ("Cast", "CastLike")
    if not rounds_itself:
        output.dtype = _FLOAT
        if node.op_type in _MOVING:
            return
    rounded = output if rounds_itself else _cast(graph, node, output, half, "rounded")
    after = node if rounds_itself else rounded.producer()
    assert after is not None
    back = _cast(graph, after, rounded, _FLOAT, "float")
    for reader, index in readers:
        reader.replace_input_with(index, back)


def _cast(
    graph: ir.Graph, after: ir.Node, value: ir.Value, to: ir.DataType, suffix: str
) -> ir.Value:
    name = f"{value.name}_{suffix}"
    result = ir.Value(name=name, shape=value.shape, type=ir.TensorType(to))
    cast = ir.node("Cast", [value], {"to": int(to)}, outputs=[result], name=f"cast_{name}")
    graph.insert_after(after, cast)
    return result


def _is_constant(node: ir.Node) -> bool:
    return all(value is None or value.const_value is not None for value in node.inputs)


def _fold(graph: ir.Graph, node: ir.Node) -> None:
    """Put the floats that constant int8 values stand for in the place of a DequantizeLinear."""
    quantised, scale, *zero = [
        None if value is None or value.const_value is None else value.const_value.numpy()
        for value in node.inputs
    ]
    assert quantised is not None
    assert scale is not None
    axis = node.attributes.get("axis")
    shape = [1] * quantised.ndim
    if scale.ndim == 1:
        shape[1 if axis is None else axis.as_int()] = -1
    offset = zero[0].astype(np.float32).reshape(shape) if zero and zero[0] is not None else 0
    floats = (quantised.astype(np.float32) - offset) * scale.astype(np.float32).reshape(shape)
    output = node.outputs[0]
    name = f"{output.name}_folded"
    value = ir.Value(
        name=name,
        shape=ir.Shape(floats.shape),
        type=ir.TensorType(_FLOAT),
        const_value=ir.Tensor(floats.astype(np.float32), name=name),
    )
    graph.register_initializer(value)
    for reader, index in list(output.uses()):
        reader.replace_input_with(index, value)
    graph.remove(node, safe=True)
