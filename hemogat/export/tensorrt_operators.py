"""Check a graph against the operators and types that TensorRT's ONNX parser takes.

The facts are in ``tensorrt_operators.json``. This finds on any machine what the parser would find
on one with a GPU; it does not replace the parser. An operator whose restrictions are not judged
here is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto
from pydantic import TypeAdapter

from hemogat.config import Settings
from hemogat.errors import HemogatError
from hemogat.export.typed_graph import ReducedPrecision, TypedGraph, attribute_of, input_at
from hemogat.runtime.tensorrt_plan import MINIMUM_TENSORRT

_TOPK_LIMIT = 3840  # k must be less
_TOPK_AXES = 4  # the axis must be among the last so many
_SHOWN = 3
_MAKES_OWN_TYPE = frozenset({"Cast", "CastLike", "Constant", "ConstantOfShape", "Range"})
_FIRST_TYPED_INPUT = {"Where": 1}  # its first input is the condition


class OperatorTable(Settings):
    """What the parser takes: per operator its types, and which inputs must be constants."""

    source: str
    opset: tuple[int, int]
    types: dict[str, str]
    constant_inputs: dict[str, tuple[int, ...]]
    since: dict[str, str]
    not_judged: dict[str, str]


@cache
def operator_table() -> OperatorTable:
    """Read the table that comes with the package."""
    file = resources.files("hemogat.export") / "tensorrt_operators.json"
    return TypeAdapter(OperatorTable).validate_python(json.loads(file.read_text("utf-8")))


def check_operators(path: Path) -> frozenset[ReducedPrecision]:
    """Check the ONNX graph at ``path``; return the precisions below fp32 that it computes in.

    Model-local functions are checked as they expand at their calls (their nodes get a suffix
    ``__1`` for the first call, and so on).

    Raises:
        HemogatError: TensorRT would refuse the graph; the message names the nodes and says why.
    """
    graph = TypedGraph(path)
    low, high = operator_table().opset
    if not low <= graph.opset <= high:
        raise HemogatError(
            f"{path}: expected opset {low} to {high}, which TensorRT reads, found {graph.opset}"
        )
    problems = [
        f"node {node.name or node.output[0]} ({node.op_type}): {problem}"
        for node in graph.nodes
        for problem in _problems(node, graph)
    ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise HemogatError(
            f"{path}: TensorRT would refuse it: {'; '.join(problems[:_SHOWN])}{more}"
        )
    return graph.precisions


def _problems(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    table = operator_table()
    op = node.op_type
    if node.domain not in ("", "ai.onnx"):
        yield f"is of domain {node.domain}, expected standard operators"
    elif op in table.not_judged:
        yield f"is restricted in TensorRT ({table.not_judged[op]}), which is not checked here"
    elif op not in table.types:
        yield "is not supported"
    elif _version(table.since.get(op, "0.0")) > MINIMUM_TENSORRT:
        yield f"needs TensorRT {table.since[op]}, expected one that {_minimum()} has"
    else:
        yield from _type_problems(node, graph)
        for index in table.constant_inputs.get(op, ()):
            if input_at(node, index) and not graph.is_constant(node.input[index]):
                yield f"input {node.input[index]} must be a constant"
        yield from _JUDGES.get(op, _nothing)(node, graph)


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def _minimum() -> str:
    return ".".join(map(str, MINIMUM_TENSORRT))


def _type_problems(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    allowed = operator_table().types[node.op_type].split()
    names = _main_inputs(node, graph.opset)
    if node.op_type in _MAKES_OWN_TYPE:
        names = [*names, node.output[0]]
    for name in names:
        kind = graph.type_of(name)
        if kind not in allowed:
            yield f"{name} is {kind or 'of unknown type'}, expected one of {', '.join(allowed)}"
            return


def _main_inputs(node: NodeProto, opset: int) -> list[str]:
    """Return the inputs whose type the table speaks of, not those that are indices or sizes."""
    formals = onnx.defs.get_schema(node.op_type, opset, "").inputs
    if not formals:
        return []
    main = formals[_FIRST_TYPED_INPUT.get(node.op_type, 0)].type_str
    last = len(formals) - 1  # a variadic one stands for all that follow
    return [
        name
        for index, name in enumerate(node.input)
        if name and formals[min(index, last)].type_str == main
    ]


def _nothing(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    return iter(())


def _topk(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    if attribute_of(node, "sorted", 1) != 1:
        yield "sorted is 0, expected 1"
    if graph.is_constant(node.input[1]):
        k = int(graph.constant(node.input[1]).reshape(-1)[0])
        if k >= _TOPK_LIMIT:
            yield f"k is {k}, expected less than {_TOPK_LIMIT}"
    axis, rank = attribute_of(node, "axis", -1), len(graph.shape_of(node.input[0]))
    if axis % rank < rank - _TOPK_AXES:
        yield f"axis is {axis} of {rank}, expected one of the last {_TOPK_AXES}"


def _layer_normalization(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    if any(node.output[1:]):
        yield "has a second output, expected the first only"


def _scatter_nd(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    reduction = attribute_of(node, "reduction", b"none").decode()
    if reduction != "none":
        yield f"reduction is {reduction}, expected none"


def _attention(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    ranks = [len(graph.shape_of(name)) for name in node.input[:4] if name]
    if set(ranks) != {4}:
        yield f"inputs have {ranks} dimensions, expected 4 each"
    if any(node.input[4:]) or any(node.output[1:]):
        yield "has past or present keys, expected none"
    if attribute_of(node, "softcap", 0.0):
        yield "has a softcap, expected none"


def _constant(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    for attribute in node.attribute:
        if attribute.name in ("sparse_value", "value_string", "value_strings"):
            yield f"has a {attribute.name}, expected a dense tensor of numbers"


def _quantize(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    kind = graph.type_of(node.output[0])
    if kind != "INT8":
        yield f"gives {kind}, expected INT8"
    yield from _scale_problems(node, graph)
    if not graph.is_constant(node.input[0]) and _scales(node, graph) != 1:
        yield f"has {_scales(node, graph)} scales, expected one for a whole activation"


def _dequantize(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    yield from _scale_problems(node, graph)
    if not graph.is_constant(node.input[0]):
        return
    shape = graph.shape_of(node.input[0])
    for consumer in graph.consumers.get(node.output[0], ()):
        if consumer.op_type not in _CHANNEL_AXIS or input_at(consumer, 1) != node.output[0]:
            continue
        channels = _CHANNEL_AXIS[consumer.op_type](consumer) % len(shape)
        axis = attribute_of(node, "axis", 1) % len(shape)
        if _scales(node, graph) != shape[channels] or (axis != channels and shape[channels] != 1):
            yield (
                f"has {_scales(node, graph)} scales along axis {axis}, expected one for each of "
                f"the {shape[channels]} output channels (axis {channels}) of {consumer.name}"
            )


def _scale_problems(node: NodeProto, graph: TypedGraph) -> Iterator[str]:
    if not graph.is_constant(node.input[1]):
        yield f"scale {node.input[1]} must be a constant"
    zero = input_at(node, 2)
    if zero and not graph.is_constant(zero):
        yield f"zero point {zero} must be a constant"
    elif zero and np.any(graph.constant(zero)):
        yield f"zero point {zero} must be 0: TensorRT quantises symmetrically"


def _scales(node: NodeProto, graph: TypedGraph) -> int | None:
    sizes = graph.shape_of(node.input[1])
    return None if None in sizes else int(np.prod([s for s in sizes if s is not None]))


_JUDGES: dict[str, Callable[[NodeProto, TypedGraph], Iterator[str]]] = {
    "TopK": _topk,
    "LayerNormalization": _layer_normalization,
    "ScatterND": _scatter_nd,
    "Attention": _attention,
    "Constant": _constant,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
}
# The axis of the output channels in the weights of each operator.
_CHANNEL_AXIS: dict[str, Callable[[NodeProto], int]] = {
    "Conv": lambda node: 0,
    "ConvTranspose": lambda node: 1,
    "MatMul": lambda node: -1,
    "Gemm": lambda node: 0 if attribute_of(node, "transB", 0) else 1,
}
