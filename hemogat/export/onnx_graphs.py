"""torch to ONNX: one file per graph of the contract, with named and checked axes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hemogat.config import GraphConfig
from hemogat.contract import (
    AUDIO_ENCODER,
    DYNAMIC_AXES,
    FUNCTION_DOMAIN,
    TEXT_ENCODER,
    WINDOW_SAMPLES,
    GraphSpec,
    TensorSpec,
    fusion_spec,
)
from hemogat.errors import HemogatError
from hemogat.export.folding import (
    flatten_convolutions,
    fold_head,
    fold_weight_norm,
    leave_mask_out,
)
from hemogat.export.graph_step import topk_function
from hemogat.export.graph_step_call import translation_table
from hemogat.export.onnx_files import BANK_PREFIX, save_graph, write_bank
from hemogat.model.bank import Bank, InductiveHead
from hemogat.model.encoders import AudioEncoder, TextEncoder
from hemogat.model.head import FusionHead

IR_VERSION = 10  # the newest that the ONNX Runtime of current Triton images reads
FORBIDDEN_OPERATORS = frozenset(
    ("Scatter", "ScatterElements", "ScatterND", "NonZero", "Unique", "Loop", "If")
)
_SEARCHED = ("audio_table", "audio_rows", "text_table", "text_rows")
SAMPLE_BATCH = 2  # torch.export takes sizes 0 and 1 for constants
Samples = tuple[Tensor | tuple[Tensor, ...], ...]


def export_audio_encoder(encoder: AudioEncoder, folder: Path, opset: int) -> Path:
    """Write the ``audio_encoder`` graph into ``folder``; return the model's path."""
    samples = (torch.randn(SAMPLE_BATCH, WINDOW_SAMPLES),)
    folded = leave_mask_out(flatten_convolutions(fold_weight_norm(encoder)))
    model = to_onnx(folded, AUDIO_ENCODER, samples, opset)
    return save(model, AUDIO_ENCODER, folder)


def export_text_encoder(encoder: TextEncoder, folder: Path, opset: int) -> Path:
    """Write the ``text_encoder`` graph into ``folder``; return the model's path."""
    shape = (SAMPLE_BATCH, 16)
    # Two tensors: given one twice, the exporter takes both inputs for the same.
    samples = (torch.ones(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.int64))
    model = to_onnx(encoder.eval(), TEXT_ENCODER, samples, opset)
    return save(model, TEXT_ENCODER, folder)


def export_fusion(
    head: FusionHead, bank: Bank, graph: GraphConfig, folder: Path, opset: int
) -> Path:
    """Write the ``fusion`` graph and its bank into ``folder``; return the model's path.

    Raises:
        ConfigError: k is larger than the bank rows that have the modality.
    """
    module = InductiveHead(fold_head(head), bank, graph).eval()
    spec = fusion_spec(module.graph.slots, attention=head.config.gnn == "gat")
    samples = (
        torch.randn(SAMPLE_BATCH, bank.embeddings.audio.shape[1]),
        torch.randn(SAMPLE_BATCH, bank.embeddings.text.shape[1]),
        torch.ones(SAMPLE_BATCH, 2, dtype=torch.bool),
    )
    model = to_onnx(_Outputs(module, len(spec.outputs)), spec, samples, opset)
    if module.graph.slots:
        function = topk_function(module.graph, opset)
        model.functions[function.identifier()] = function
        model.opset_imports[FUNCTION_DOMAIN] = 1
        _keep_apart(model)
    write_bank(model, _bank_tensors(bank, module), folder)
    return save(model, spec, folder)


def _keep_apart(model: ir.Model) -> None:
    """Let each modality have tables of its own in the graph.

    The exporter lets equal ones share, but a bank that is extended may have rows with audio alone.
    """
    (call,) = (node for node in model.graph if node.domain == FUNCTION_DOMAIN)
    for index, name in enumerate(_SEARCHED, start=len(call.inputs) - len(_SEARCHED)):
        value, own = call.inputs[index], f"{BANK_PREFIX}{name}"
        assert value is not None
        if value.name != own:
            copied = ir.Value(
                name=own, shape=value.shape, type=value.type, const_value=value.const_value
            )
            model.graph.register_initializer(copied)
            call.replace_input_with(index, copied)


def _bank_tensors(bank: Bank, module: InductiveHead) -> dict[str, NDArray[Any]]:
    """Return all that is known of the bank, and the tables that the graph searches."""
    e = bank.embeddings
    known = {"audio": e.audio, "text": e.text, "present": e.present}
    states = {f"states_{layer}": states for layer, states in enumerate(bank.states)}
    tables = {name: module.get_buffer(name) for name in _SEARCHED}
    return {name: tensor.numpy() for name, tensor in (known | states | tables).items()}


class _Outputs(nn.Module):
    """Keep the outputs that the contract names for this head."""

    def __init__(self, inductive: InductiveHead, count: int) -> None:
        super().__init__()
        self.inductive = inductive
        self.count = count

    def forward(self, audio: Tensor, text: Tensor, present: Tensor) -> tuple[Tensor | None, ...]:
        """Return the first ``count`` outputs."""
        return tuple(self.inductive(audio, text, present))[: self.count]


def to_onnx(module: nn.Module, spec: GraphSpec, samples: Samples, opset: int) -> ir.Model:
    """Export a module to the contract's names and axes.

    ``samples``: positional arguments, a tuple where the module takes several tensors in one.

    Raises:
        HemogatError: the exporter made other axes, or an operator that not every engine runs.
    """
    dims = {axis: torch.export.Dim(axis) for axis in _dynamic(spec.inputs)}
    flat = iter(
        [
            {i: dims[str(axis)] for i, axis in enumerate(tensor.axes) if axis in dims}
            for tensor in spec.inputs
        ]
    )
    shapes = tuple(
        tuple(next(flat) for _ in sample) if isinstance(sample, tuple) else next(flat)
        for sample in samples
    )
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            samples,
            dynamo=True,
            opset_version=opset,
            input_names=[tensor.name for tensor in spec.inputs],
            output_names=[tensor.name for tensor in spec.outputs],
            dynamic_shapes=shapes,
            custom_translation_table=translation_table(),
            verbose=False,
        )
    assert program is not None
    model: ir.Model = program.model
    _name_axes(model, spec)
    return model


def _dynamic(tensors: Iterable[TensorSpec]) -> set[str]:
    return {str(axis) for tensor in tensors for axis in tensor.axes if axis in DYNAMIC_AXES}


def _name_axes(model: ir.Model, spec: GraphSpec) -> None:
    """Call dynamic axes by the contract's names, and make sure that all others are static."""
    names: dict[str, str] = {}
    pairs = zip(
        (*model.graph.inputs, *model.graph.outputs), (*spec.inputs, *spec.outputs), strict=True
    )
    for value, tensor in pairs:
        found = () if value.shape is None else tuple(value.shape.dims)
        if value.name != tensor.name or len(found) != len(tensor.axes):
            raise HemogatError(
                f"{spec.name}: exported {value.name} {found}, expected {tensor.name} {tensor.axes}"
            )
        for dim, axis in zip(found, tensor.axes, strict=True):
            dynamic = not isinstance(dim, int)
            if dynamic != (axis in DYNAMIC_AXES) or (isinstance(axis, int) and dim != axis):
                raise HemogatError(
                    f"{spec.name}: axis {axis} of {tensor.name} was exported as {dim}, expected "
                    f"{'any size' if axis in DYNAMIC_AXES else axis}"
                )
            if dynamic:
                names[str(dim)] = str(axis)
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        for output in node.outputs:
            output.shape = _renamed(output.shape, names)
    for graph_input in model.graph.inputs:
        graph_input.shape = _renamed(graph_input.shape, names)


def _renamed(shape: ir.Shape | None, names: dict[str, str]) -> ir.Shape | None:
    if shape is None:
        return None
    return ir.Shape([d if isinstance(d, int) else names.get(str(d)) for d in shape.dims])


def _check_operators(model: ir.Model, spec: GraphSpec) -> None:
    graphs = (model.graph, *(function.graph for function in model.functions.values()))
    for node in chain.from_iterable(map(ir.traversal.RecursiveGraphIterator, graphs)):
        if node.op_type in FORBIDDEN_OPERATORS:
            raise HemogatError(
                f"{spec.name}: node {node.name} is a {node.op_type}, which not every engine runs"
            )


def save(model: ir.Model, spec: GraphSpec, folder: Path) -> Path:
    """Write the model into ``folder``, without what the exporter noted; return its path.

    Raises:
        HemogatError: it has an operator that not every engine runs, inside a function or not.
    """
    _check_operators(model, spec)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "hemogat", None
    model.graph.name = spec.name
    model.graph.metadata_props.clear()  # torch's own listing of the program
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        # The exporter leaves stack traces there, with the paths of the machine that exported.
        node.metadata_props.clear()
        node.doc_string = None
        for output in node.outputs:
            output.metadata_props.clear()
    return save_graph(model, folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes about torchvision, folding and deprecations off the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
