"""A graph on disk: the model, its weights, and for the fusion graph the bank.

ONNX Runtime reads external data from the model's own folder alone, so the bank's file lies there.
It is a safetensors file, which the graph's tensors point into: the same bytes serve the graph and
whoever reads the bank. (No links to one elsewhere: ONNX Runtime refuses symbolic ones, onnx's own
checker hard ones.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir
from safetensors.torch import save_file
from torch import Tensor

MODEL_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
BANK_FILE = "bank.safetensors"
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
        and value.const_value.nbytes > _EXTERNAL_FROM_BYTES
        and not is_in_bank(value)
    ]
    tensors = [value.const_value for value in values if value.const_value is not None]
    moved = ir.external_data.convert_tensors_to_external(tensors, folder, WEIGHTS_FILE)
    for value, tensor in zip(values, moved, strict=True):
        value.const_value = tensor
    ir.save(model, folder / MODEL_FILE)
    return folder / MODEL_FILE


def write_bank(model: ir.Model, tensors: Mapping[str, Tensor], folder: Path, prefix: str) -> None:
    """Write ``folder/bank.safetensors`` and point the graph's initializers into it.

    An initializer called ``prefix`` and a tensor's name is taken to hold that tensor.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / BANK_FILE
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    places = _places(path)
    for name in tensors:
        value = model.graph.initializers.get(prefix + name)
        if value is None or value.const_value is None:
            continue
        begin, end = places[name]
        held = value.const_value
        value.const_value = ir.ExternalTensor(
            BANK_FILE,
            begin,
            end - begin,
            held.dtype,
            shape=ir.Shape(held.shape.numpy()),
            name=prefix + name,
            base_dir=folder,
        )


def is_in_bank(value: ir.Value) -> bool:
    """Say whether an initializer lies in a bank's file."""
    tensor = value.const_value
    return isinstance(tensor, ir.ExternalTensor) and Path(tensor.location).name == BANK_FILE


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Return where each tensor of a safetensors file begins and ends, in bytes."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(header_bytes))
    start = 8 + header_bytes
    return {
        name: (start + entry["data_offsets"][0], start + entry["data_offsets"][1])
        for name, entry in header.items()
        if name != "__metadata__"
    }
