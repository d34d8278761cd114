"""The Top-K graph step as an ONNX model-local function.

Standard operators inside, one name outside: ONNX Runtime and TensorRT run the body, a TensorRT
plugin called ``TopKBankGraph`` replaces it without touching the model. No Scatter, NonZero or
Unique: the union of both modalities' neighbours is a mask.

It searches in one stage, or in two: where the table's scores are rounded, they only say which rows
are worth scoring in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from hemogat.config import GraphConfig
from hemogat.contract import FUNCTION_DOMAIN, MODALITIES, TOPK_FUNCTION

# Name and ONNX type of every input and output, in order (shapes: hemogat.model.topk_graph).
INPUTS = {
    "audio": "tensor(float)",
    "text": "tensor(float)",
    "present": "tensor(bool)",
    "audio_table": "tensor(float)",
    "audio_rows": "tensor(int64)",
    "text_table": "tensor(float)",
    "text_rows": "tensor(int64)",
}
# What a search in two stages reads besides, per modality: embeddings float32 [M, d] of all bank
# rows, and the lengths [R] of those that the table holds.
TWO_STAGE_INPUTS = ("embeddings", "lengths")
_RESCORED = tuple(f"{modality}_{name}" for modality in MODALITIES for name in TWO_STAGE_INPUTS)
OUTPUTS = {"neighbours": "tensor(int64)", "similarities": "tensor(float)"}


def topk_function(
    graph: GraphConfig, opset: int, candidates: Sequence[int] | None = None
) -> ir.Function:
    """Build the function's body for a head that reads ``graph``'s modalities.

    ``candidates``: how many rows a search in two stages scores again, by audio and by text, at most
    as many as there are; None: a search in one stage.

    The numbers of neighbours are constants in it: engines want them constant, and ONNX Runtime
    before 1.25 does not follow a reference to an attribute. The call has them as attributes all the
    same, for a plugin. A modality that takes no part is not searched.
    """
    tape = Tape()
    names = (*INPUTS, *(() if candidates is None else _RESCORED))
    inputs = {name: ir.Value(name=name) for name in names}
    # Per modality: the rows found, their similarities, and which of these slots count.
    found: list[tuple[ir.Value, ir.Value, ir.Value]] = []
    for column, modality in enumerate(MODALITIES):
        k = graph.k_audio if modality == "audio" else graph.k_text
        if k:
            scored_again = None if candidates is None else candidates[column]
            rows, similarities = _search(tape, inputs, modality, k, scored_again)
            found.append((rows, similarities, _column(tape, inputs["present"], column)))
    if len(found) == 2:
        (audio_rows, _, has_audio), (text_rows, text_similarities, has_text) = found
        twice = tape.op("And", [_contains(tape, audio_rows, text_rows), has_audio])
        once = tape.op("And", [has_text, tape.op("Not", [twice])])
        found[1] = (text_rows, text_similarities, once)
    slots = {
        "neighbours": [_masked(tape, kept, rows, -1) for rows, _, kept in found],
        "similarities": [_masked(tape, kept, values, 0.0) for _, values, kept in found],
    }
    outputs = [
        tape.op("Concat", slots[name], {"axis": 1}, output=ir.Value(name=name)) for name in OUTPUTS
    ]
    body = ir.Graph(list(inputs.values()), outputs, nodes=tape.nodes, opset_imports={"": opset})
    attributes = [ir.Attr(n, ir.AttributeType.INTS, None) for n in ("k_audio", "k_text")]
    return ir.Function(FUNCTION_DOMAIN, TOPK_FUNCTION, graph=body, attributes=attributes)


def _search(
    tape: Tape, inputs: dict[str, ir.Value], modality: str, k: int, scored_again: int | None
) -> tuple[ir.Value, ir.Value]:
    """Return the k nearest bank rows of one modality and their cosines, best first."""
    query = inputs[modality]
    norm = tape.op("ReduceL2", [query, _ints(tape, 1)], {"keepdims": 1})
    unit = tape.op("Div", [query, tape.op("Max", [norm, _float(tape, 1e-12)])])
    scores = tape.op("MatMul", [unit, inputs[f"{modality}_table"]])
    if scored_again is None:
        values, columns = _top(tape, scores, k)
        return tape.op("Gather", [inputs[f"{modality}_rows"], columns], {"axis": 0}), values
    # In the order of the bank: of equal cosines the first comes first.
    _, best = _top(tape, scores, scored_again)
    columns, _ = _top(tape, best, scored_again, largest=0)
    found = [
        tape.op("Gather", [inputs[f"{modality}_{name}"], columns], {"axis": 0})
        for name in ("rows", "lengths")
    ]
    near = tape.op("Gather", [inputs[f"{modality}_embeddings"], found[0]], {"axis": 0})
    values, places = _top(tape, _cosines(tape, unit, near, found[1]), k)
    return tape.op("GatherElements", [found[0], places], {"axis": 1}), values


def _cosines(tape: Tape, unit: ir.Value, near: ir.Value, lengths: ir.Value) -> ir.Value:
    """Return [B, C] from queries [B, d] of length 1 and rows [B, C, d] of ``lengths`` [B, C]."""
    # Not a MatMul, which adds up some rows in another order, so that equal rows would not tie. For
    # the same reason a row must be as long as some multiple of a processor's registers.
    products = tape.op("Mul", [near, tape.op("Unsqueeze", [unit, _ints(tape, 1)])])
    sums = tape.op("ReduceSum", [products, _ints(tape, 2)], {"keepdims": 0})
    return tape.op("Div", [sums, lengths])


def _top(tape: Tape, values: ir.Value, k: int, *, largest: int = 1) -> Sequence[ir.Value]:
    settings = {"axis": 1, "largest": largest, "sorted": 1}
    return tape.op_multi_out("TopK", [values, _ints(tape, k)], settings, num_outputs=2)


def _contains(tape: Tape, haystack: ir.Value, needles: ir.Value) -> ir.Value:
    """Return bool [B, needles]: whether each is among the same utterance's haystack."""
    equal = tape.op(
        "Equal",
        [
            tape.op("Unsqueeze", [needles, _ints(tape, 2)]),
            tape.op("Unsqueeze", [haystack, _ints(tape, 1)]),
        ],
    )
    as_float = tape.op("Cast", [equal], {"to": int(ir.DataType.FLOAT)})
    any_equal = tape.op("ReduceMax", [as_float, _ints(tape, 2)], {"keepdims": 0})
    return tape.op("Cast", [any_equal], {"to": int(ir.DataType.BOOL)})


def _column(tape: Tape, present: ir.Value, column: int) -> ir.Value:
    return tape.op("Gather", [present, _ints(tape, column)], {"axis": 1})  # bool [B, 1]


def _masked(tape: Tape, kept: ir.Value, values: ir.Value, fill: float) -> ir.Value:
    masked = _ints(tape, int(fill)) if isinstance(fill, int) else _float(tape, fill)
    return tape.op("Where", [kept, values, masked])


def _ints(tape: Tape, value: int) -> ir.Value:
    # As a tensor: "value_ints" is not seen by the shape inference of ONNX Runtime before 1.25.
    tensor = ir.tensor(np.array([value], np.int64))
    return tape.op("Constant", [], {"value": tensor})


def _float(tape: Tape, value: float) -> ir.Value:
    return tape.op("Constant", [], {"value_float": value})
