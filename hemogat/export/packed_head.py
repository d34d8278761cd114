"""The fusion head with 8-bit weights for ONNX Runtime: its time goes into reading weights.

So does that of the search, into reading the bank: its tables become 8-bit codes, whose candidates
are scored in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import InlinePass

from hemogat.export.coded_search import search_in_two_stages
from hemogat.export.onnx_files import (
    BANK_FILE,
    BANK_PREFIX,
    WEIGHTS_FILE,
    is_in_bank,
    save_graph,
    write_bank,
)
from hemogat.runtime.bank_tensors import map_tensors

PACKED_FROM_BYTES = 4 * 2**20
_DOMAIN = "com.microsoft"
_BLOCK = 128  # weights along the summed axis that share a scale
_LEVELS = 127
_INT8_PRODUCTS = 4  # accuracy_level: activations are rounded too, each row's block by itself


def is_worth_packing(source: Path) -> bool:
    """Say whether the weights of the graph at ``source`` are more than a processor's caches hold.

    A smaller head gains nothing, and shares the fp32 graph and its bank.
    """
    return (source.parent / WEIGHTS_FILE).stat().st_size >= PACKED_FROM_BYTES


def pack_head(source: Path, folder: Path) -> Path:
    """Write the fp32 fusion graph at ``source`` into ``folder`` with 8-bit weights.

    Layers become ``MatMulNBits``, an operator of ONNX Runtime alone, with one scale per block of
    128 weights. Activations are rounded block by block and row by row, so that an answer does not
    depend on its batch. Large tables that are searched become codes too; what decides between the
    candidates is fp32, so that the neighbours are the same. The folder gets what the graph reads of
    the bank.

    Returns:
        the model's path
    """
    model = ir.load(source)
    if search_in_two_stages(model, source.parent, _BLOCK):
        InlinePass()(model)
    for node in list(model.graph):
        if node.op_type == "Gemm":
            _pack_layer(model.graph, node)
        elif node.op_type == "MatMul" and _is_table(node.inputs[1]):
            _pack_table(model.graph, node)
    model.opset_imports[_DOMAIN] = 1
    for name, value in list(model.graph.initializers.items()):
        if not value.uses():
            del model.graph.initializers[name]
    tensors = map_tensors(source.parent / BANK_FILE)
    read = {n: t for n, t in tensors.items() if BANK_PREFIX + n in model.graph.initializers}
    write_bank(model, read, folder)
    return save_graph(model, folder)


def _pack_layer(graph: ir.Graph, gemm: ir.Node) -> None:
    """Replace ``x @ W.T + b``, W [out, in], as torch's Linear is exported; not the last one."""
    _, weight, *bias = gemm.inputs
    if weight is None or weight.const_value is None or gemm.outputs[0].is_graph_output():
        return
    _replace(graph, gemm, weight, weight.const_value.numpy(), bias)


def _is_table(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer() and is_in_bank(value)


def _pack_table(graph: ir.Graph, matmul: ir.Node) -> None:
    """Replace ``x @ T``, T [d, R], a table in the bank's file."""
    table = matmul.inputs[1]
    assert table is not None
    assert table.const_value is not None
    _replace(graph, matmul, table, np.ascontiguousarray(table.const_value.numpy().T), [])


def _replace(
    graph: ir.Graph,
    product: ir.Node,
    weight: ir.Value,
    rows: NDArray[np.float32],
    bias: Sequence[ir.Value | None],
) -> None:
    """Give ``product`` 8-bit weights ``rows`` [out, in], where their blocks come out even."""
    out, columns = rows.shape
    if columns % _BLOCK:
        return
    codes, scales = packed(rows)
    constants = [
        _constant(graph, f"{weight.name}_codes", codes),
        _constant(graph, f"{weight.name}_scales", scales.reshape(-1)),
    ]
    result = product.outputs[0]
    node = ir.node(
        "MatMulNBits",
        [product.inputs[0], *constants, *((None, None, *bias) if bias else ())],
        {
            "K": columns,
            "N": out,
            "bits": 8,
            "block_size": _BLOCK,
            "accuracy_level": _INT8_PRODUCTS,
        },
        domain=_DOMAIN,
        name=product.name,
        outputs=[ir.Value(name=f"{result.name}_packed", shape=result.shape, type=result.type)],
    )
    graph.insert_before(product, node)
    result.replace_all_uses_with(node.outputs[0])
    graph.remove(product, safe=True)


def packed(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return codes [out, blocks, 128] around 128, and what one step is worth [out, blocks]."""
    blocks = weight.reshape(len(weight), -1, _BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=2), np.finfo(np.float32).tiny) / np.float32(_LEVELS)
    codes = np.rint(blocks / scales[:, :, None]) + (_LEVELS + 1)
    return codes.astype(np.uint8), scales


def _constant(
    graph: ir.Graph, name: str, array: NDArray[np.uint8] | NDArray[np.float32]
) -> ir.Value:
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value
