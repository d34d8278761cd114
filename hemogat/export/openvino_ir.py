"""ONNX to OpenVINO IR: float as it is, or int8 by NNCF's post-training quantisation."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.inliner import inline_local_functions

from hemogat.contract import INT8_PRECISIONS
from hemogat.errors import InputError
from hemogat.optional import require
from hemogat.runtime.engine_session import Arrays
from hemogat.runtime.openvino_session import PRECISION_KEY

IR_FILE = "model.xml"
Int8 = Literal["int8", "int8-bf16"]
IrPrecision = Literal["fp32", "bf16", Int8]
Feeds = Sequence[Mapping[str, NDArray[Any]]]
# Whether each utterance is decided as by the reference, given what runs the candidate graph.
Judge = Callable[[Callable[[Arrays], Arrays]], Sequence[bool]]
# Left as they are, as for ONNX: one scale for all frames leaves quiet ones of a feature extractor a
# few steps, and decisions from audio alone flip.
_CONVOLUTIONS = ("Convolution", "GroupConvolution")
# As in ONNX's half precision: norms, softmax and residual sums.
_FP32_OPERATIONS = frozenset(
    ("Add", "Divide", "MVN", "Multiply", "Power", "ReduceMean", "Softmax", "Sqrt", "Subtract")
)
# In bf16 OpenVINO 2026.4 has no fast kernel for convolutions of narrower groups, and those of one
# channel a group never end.
_BF16_GROUP_CHANNELS = 32
_KEEPS_FP32 = (
    "precise_0"  # OpenVINO's mark for an operation that is not cast; 2026.4 stores another name
)
# What turns a stored int8 constant into float.
_DEQUANTISING = ("Convert", "Subtract", "Multiply")


def convert(onnx_path: Path, folder: Path, precision: IrPrecision, calibration: Feeds = ()) -> Path:
    """Convert an exported graph to ``folder/model.xml`` and ``model.bin``; return the former.

    Float weights are stored as fp32. bf16 is a mark in the IR that the session obeys (OpenVINO
    casts at load). int8 has static scales from ``calibration``, so that an answer never depends on
    its batch; the similarity search stays fp32, so that it finds the same neighbours. int8-bf16 is
    int8 with a mark for bf16 in a graph that has convolutions, which are left in float.

    Args:
        onnx_path: the graph, external data beside it.
        folder: where to write; made if need be.
        precision: of the engine.
        calibration: for int8, inputs by the contract's names.

    Raises:
        InputError: int8 without calibration inputs.
        IncompleteError: openvino or nncf is not installed.
    """
    model = _read(onnx_path)
    if precision in INT8_PRECISIONS:
        nncf, settings = _quantisation(model, calibration)
        with _quiet():
            model = nncf.quantize(model, **settings)
    return save_ir(model, folder, precision)


def compress_weights(onnx_path: Path, folder: Path) -> Path:
    """Convert to ``folder/model.xml`` with int8 weights, one scale a channel; return its path.

    Activations stay float, so nothing is calibrated and an answer never depends on its batch. For
    the fusion head, whose time at batch 1 goes into reading its weights. The bank's table that is
    searched stays fp32, so that it finds the same neighbours.

    Args:
        onnx_path: the graph, external data beside it.
        folder: where to write; made if need be.

    Raises:
        IncompleteError: openvino or nncf is not installed.
    """
    model = _read(onnx_path)
    nncf = require("nncf", extra="openvino")
    with _quiet():
        mode = nncf.CompressWeightsMode.INT8_SYM
        model = nncf.compress_weights(model, mode=mode, **_leaving_out(nncf, _search_layers(model)))
    return save_ir(model, folder, "int8")


@dataclass(frozen=True)
class AccuracyAware:
    """An int8 graph, and the layers put back to float because they flipped decisions."""

    path: Path
    restored: tuple[str, ...]


def quantise_accuracy_aware(
    onnx_path: Path,
    folder: Path,
    calibration: Feeds,
    judge: Judge,
    *,
    max_flip_rate: float,
    precision: Int8 = "int8",
) -> AccuracyAware:
    """Convert to int8 and put layers back to float until few enough decisions flip.

    NNCF ranks the layers by what each does to the judged share and puts back one more at a time,
    until the share is high enough or no layer is left: what comes back may still fail a gate.

    Args:
        onnx_path: as for :func:`convert`.
        folder: as for :func:`convert`.
        calibration: as for :func:`convert`; the ranking runs on the same inputs.
        judge: called with candidates; says of each utterance whether its decision is kept.
        max_flip_rate: share of the decisions that may flip.
        precision: as for :func:`convert`; candidates are asked with fp32 for what is not int8.

    Raises:
        InputError: there are no calibration inputs.
        IncompleteError: openvino or nncf is not installed.
    """
    model = _read(onnx_path)
    nncf, settings = _quantisation(model, calibration)

    def kept(candidate: Any, _: Iterable[Any]) -> tuple[float, None]:
        names = [port.get_any_name() for port in candidate.outputs]

        def run(feeds: Arrays) -> Arrays:
            found = candidate(feeds)
            return {name: np.array(found[i]) for i, name in enumerate(names)}

        return float(np.mean(judge(run))), None

    with _quiet():
        full = nncf.quantize(model.clone(), **settings)
        aware = nncf.quantize_with_accuracy_control(
            model,
            validation_dataset=settings["calibration_dataset"],
            validation_fn=kept,
            max_drop=max_flip_rate,
            **settings,
        )
    restored = sorted(quantised_layers(full) - quantised_layers(aware))
    return AccuracyAware(save_ir(aware, folder, precision), tuple(restored))


def save_ir(model: Any, folder: Path, precision: IrPrecision) -> Path:
    """Write a model of OpenVINO's, marked for what its floats are computed in; return the path.

    Args:
        model: products already quantised for either int8.
        folder: as for :func:`convert`.
        precision: bf16 marks every graph, int8-bf16 one that has convolutions.
    """
    openvino = require("openvino", extra="openvino")
    folder.mkdir(parents=True, exist_ok=True)
    half = precision == "bf16" or (precision == "int8-bf16" and _has_convolutions(model))
    if half:
        _keep_fp32(model)
    model.set_rt_info("bf16" if half else "f32", list(PRECISION_KEY))
    openvino.save_model(model, folder / IR_FILE, compress_to_fp16=False)
    return folder / IR_FILE


def quantised_layers(model: Any) -> set[str]:
    """Return the names of the operations that a model gives int8: products, tables, sums."""
    return {
        node.get_friendly_name()
        for node in model.get_ops()
        if node.get_type_name() not in _DEQUANTISING
        and any(_is_int8(source.get_node()) for source in node.input_values())
    }


def _is_int8(node: Any) -> bool:
    """Say whether a node gives quantised values: activations, or a constant and its scale."""
    kind = node.get_type_name()
    if kind == "Constant":
        return node.get_element_type().get_type_name() in ("i8", "u8")
    return kind == "FakeQuantize" or (
        kind in _DEQUANTISING and _is_int8(node.input_value(0).get_node())
    )


def _read(onnx_path: Path) -> Any:
    """Read ONNX with its functions inlined: OpenVINO knows no functions."""
    openvino = require("openvino", extra="openvino")
    proto = inline_local_functions(onnx.load(onnx_path, load_external_data=False))
    # Beside the original: external data must lie below the folder of the file that names it.
    with tempfile.NamedTemporaryFile(dir=onnx_path.parent, suffix=".onnx") as inlined:
        inlined.write(proto.SerializeToString())
        inlined.flush()
        model = openvino.Core().read_model(inlined.name)
    for port, output in zip(model.outputs, proto.graph.output, strict=True):
        port.get_tensor().set_names({output.name})
    _break_ties_by_index(model)
    return model


def _break_ties_by_index(model: Any) -> None:
    """Make TopK stable, which ONNX's is: of equally similar rows the lower one comes first."""
    opset = require("openvino.opset11", extra="openvino")
    for node in model.get_ordered_ops():
        if node.get_type_name() != "TopK":
            continue
        settings = node.get_attributes()
        stable = opset.topk(
            *node.input_values(),
            axis=settings["axis"],
            mode=settings["mode"],
            sort=settings["sort"],
            index_element_type=settings["index_element_type"],
            stable=True,
        )
        for old, new in zip(node.outputs(), stable.outputs(), strict=True):
            old.replace(new)


def _keep_fp32(model: Any) -> None:
    """Mark what is not cast to bf16: sums, norms, similarities, convolutions of narrow groups."""
    searched = _search_layers(model)
    for node in model.get_ops():
        stays = node.get_type_name() in _FP32_OPERATIONS or node.get_friendly_name() in searched
        if stays or _has_narrow_groups(node):
            node.get_rt_info()[_KEEPS_FP32] = ""


def _has_narrow_groups(node: Any) -> bool:
    if node.get_type_name() != "GroupConvolution":
        return False
    channels = node.input_value(1).get_partial_shape()[2]  # (groups, out, in, ...)
    return bool(channels.get_length() < _BF16_GROUP_CHANNELS)


def _has_convolutions(model: Any) -> bool:
    return any(node.get_type_name() in _CONVOLUTIONS for node in model.get_ops())


def _quantisation(model: Any, calibration: Feeds) -> tuple[Any, dict[str, Any]]:
    """Return NNCF and the arguments that both ways of quantising share."""
    if not calibration:
        raise InputError("int8: expected inputs to calibrate on, found none")
    nncf = require("nncf", extra="openvino")
    return nncf, {
        "calibration_dataset": nncf.Dataset([dict(feeds) for feeds in calibration]),
        "subset_size": len(calibration),
        "model_type": nncf.ModelType.TRANSFORMER,
        **_leaving_out(nncf, _search_layers(model), _CONVOLUTIONS),
    }


def _leaving_out(nncf: Any, names: Sequence[str], types: Sequence[str] = ()) -> dict[str, Any]:
    scope = nncf.IgnoredScope(names=list(names), types=list(types), validate=False)
    return {"ignored_scope": scope}


def _search_layers(model: Any) -> list[str]:
    """Return the names of the matrix products that TopK reads: the similarities."""
    sources = (
        node.input_value(0).get_node() for node in model.get_ops() if node.get_type_name() == "TopK"
    )
    return [s.get_friendly_name() for s in sources if s.get_type_name() == "MatMul"]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep NNCF's notes and progress bars off the terminal."""
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
