"""How torch's exporter writes the graph step: as one call of the function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx_ir as ir
import torch
from onnx.defs import OpSchema
from onnxscript.values import Op, Opset

from hemogat.contract import FUNCTION_DOMAIN, TOPK_FUNCTION
from hemogat.export.graph_step import INPUTS, OUTPUTS

_SCHEMA = OpSchema(
    TOPK_FUNCTION,
    FUNCTION_DOMAIN,
    1,
    inputs=[OpSchema.FormalParameter(name, kind) for name, kind in INPUTS.items()],
    outputs=[OpSchema.FormalParameter(name, kind) for name, kind in OUTPUTS.items()],
    attributes=[OpSchema.Attribute(n, OpSchema.AttrType.INTS) for n in ("k_audio", "k_text")],
)
_CALL = Op(Opset(FUNCTION_DOMAIN, 1), TOPK_FUNCTION, _SCHEMA)


def _translate(  # the names are the torch operator's
    audio: ir.Value,
    text: ir.Value,
    present: ir.Value,
    audio_table: ir.Value,
    audio_rows: ir.Value,
    text_table: ir.Value,
    text_rows: ir.Value,
    k_audio: int,
    k_text: int,
) -> object:
    tensors = (audio, text, present, audio_table, audio_rows, text_table, text_rows)
    return _CALL(*tensors, k_audio=[k_audio], k_text=[k_text])


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return what makes torch's exporter write the graph step as one call."""
    return {torch.ops.hemogat.topk_bank_graph.default: _translate}
