"""A graph on disk: the model, its weights, and for the fusion graph the bank.

ONNX Runtime reads external data from the model's own folder alone, so the bank's file lies there.
It is a safetensors file, which the graph's tensors point into: the same bytes serve the graph and
whoever reads the bank. (No links to one elsewhere: ONNX Runtime refuses symbolic ones, onnx's own
checker hard ones.)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from safetensors.numpy import save_file

from hemogat.model.writing import writing
from hemogat.runtime.bank_tensors import tensor_places

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
BANK_FILE = "bank.safetensors"
BANK_PREFIX = "inductive."  # of the names of the bank's tensors in a graph
_EXTERNAL_FROM_BYTES = 1024


def save_graph(model: ir.Model, folder: Path) -> Path:
    """Write a graph into ``folder``, large weights beside it; return the model's path.

    Tensors in a bank's file stay there: that file must be in ``folder`` already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = [
        value
        for value in model.graph.initializers.values()
        if value.const_value is not None
        and not is_in_bank(value)
        and (
            value.const_value.nbytes > _EXTERNAL_FROM_BYTES
            # In a file of the graph that was read: this one's is another, of the same name.
            or isinstance(value.const_value, ir.ExternalTensor)
        )
    ]
    tensors = [value.const_value for value in values if value.const_value is not None]
    moved = ir.external_data.convert_tensors_to_external(tensors, folder, WEIGHTS_FILE)
    for value, tensor in zip(values, moved, strict=True):
        value.const_value = tensor
    ir.save(model, folder / MODEL_FILE)
    return folder / MODEL_FILE


def write_bank(model: ir.Model, tensors: Mapping[str, NDArray[Any]], folder: Path) -> None:
    """Write ``folder/bank.safetensors`` and point the graph's initializers into it.

    An initializer called ``BANK_PREFIX`` and a tensor's name is taken to hold that tensor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / BANK_FILE
    with writing(path):
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, path)
    for name, (_, shape, begin, end) in tensor_places(path).items():
        value = model.graph.initializers.get(BANK_PREFIX + name)
        if value is None or value.const_value is None:
            continue
        value.shape = ir.Shape(shape)
        value.const_value = ir.ExternalTensor(
            BANK_FILE,
            begin,
            end - begin,
            value.const_value.dtype,
            shape=value.shape,
            name=BANK_PREFIX + name,
            base_dir=folder,
        )


def is_in_bank(value: ir.Value) -> bool:
    """Say whether an initializer lies in a bank's file."""
    tensor = value.const_value
    return isinstance(tensor, ir.ExternalTensor) and Path(tensor.location).name == BANK_FILE
