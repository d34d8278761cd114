"""The search inside a fusion graph with 8-bit codes: its time goes into reading the bank.

The codes of all rows say which few are worth scoring in fp32, and those decide. For another answer
more rows than are scored again would have to lie closer together than the codes' rounding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from hemogat.config import GraphConfig
from hemogat.contract import FUNCTION_DOMAIN, MODALITIES
from hemogat.export.graph_step import TWO_STAGE_INPUTS, topk_function
from hemogat.export.onnx_files import BANK_FILE, BANK_PREFIX
from hemogat.runtime.bank_tensors import Tensors, map_tensors, tensor_places

CODED_FROM_BYTES = 4 * 2**20  # of tables: what a processor's caches hold gains nothing
_CANDIDATES = 64
_PER_NEIGHBOUR = 8  # candidates at least


def search_in_two_stages(model: ir.Model, folder: Path, block: int) -> bool:
    """Let the fusion graph score candidates again in fp32, so that its tables may be rounded.

    Args:
        model: the graph, its functions not inlined; changed in place where its tables are large.
        folder: where the bank's file is.
        block: dimensions that are rounded together; all tables must come out even.

    Returns:
        whether the graph was changed
    """
    calls = [node for node in model.graph if node.domain == FUNCTION_DOMAIN]
    tensors = map_tensors(folder / BANK_FILE) if calls else {}
    tables = [tensors[f"{m}_table"] for m in MODALITIES if calls]
    large = sum(table.nbytes for table in tables) >= CODED_FROM_BYTES
    if not large or any(len(table) % block for table in tables):
        return False
    (call,) = calls
    k = [call.attributes[f"k_{m}"].as_ints()[0] for m in MODALITIES]
    graph = GraphConfig(k_audio=k[0], k_text=k[1])
    candidates = [
        min(max(_CANDIDATES, _PER_NEIGHBOUR * count), table.shape[1])
        for count, table in zip(k, tables, strict=True)
    ]
    function = topk_function(graph, model.opset_imports[""], candidates)
    model.functions[function.identifier()] = function
    added = [value for modality in MODALITIES for value in _added(model, tensors, modality, folder)]
    first = len(call.inputs)
    call.resize_inputs(len(function.inputs))
    for index, value in enumerate(added, start=first):
        call.replace_input_with(index, value)
    return True


def _added(model: ir.Model, tensors: Tensors, modality: str, folder: Path) -> list[ir.Value]:
    """Return what is read besides: a modality's embeddings as in the bank's file, and lengths."""
    _, shape, begin, end = tensor_places(folder / BANK_FILE)[modality]
    embeddings = ir.ExternalTensor(
        BANK_FILE,
        begin,
        end - begin,
        ir.DataType.FLOAT,
        shape=ir.Shape(shape),
        name=f"{BANK_PREFIX}{modality}",
        base_dir=folder,
    )
    lengths: NDArray[np.float32] = np.maximum(
        np.linalg.norm(tensors[modality][tensors[f"{modality}_rows"]], axis=1), np.float32(1e-12)
    )
    tensor = ir.tensor(lengths, name=f"{modality}_{TWO_STAGE_INPUTS[1]}")
    return [_initializer(model, each) for each in (embeddings, tensor)]


def _initializer(model: ir.Model, tensor: ir.TensorProtocol) -> ir.Value:
    shape = ir.Shape(tensor.shape.numpy())
    kind = ir.TensorType(tensor.dtype)
    value = ir.Value(name=tensor.name, shape=shape, type=kind, const_value=tensor)
    model.graph.register_initializer(value)
    return value
