"""int8 for ONNX: static scales, as QuantizeLinear and DequantizeLinear in the graph.

Weights are symmetric, per channel; activations have one scale per tensor, calibrated. For ONNX
Runtime weights take 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits,
which 8-bit weights overflow, and the answer would depend on the processor. Scales that are computed
from the batch at hand would make an answer depend on its batch mates: :func:`check_static` refuses
them.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from hemogat.errors import HemogatError, InputError
from hemogat.export.calibration import Feeds
from hemogat.export.onnx_files import MODEL_FILE, WEIGHTS_FILE
from hemogat.optional import require

# No convolutions: in int8, wav2vec2's feature extractor took embeddings to a cosine of 0.5 to 0.8
# with the reference's, whatever the calibration method; without it they stay above 0.999. One scale
# for all frames leaves quiet ones a few steps, and the layer norm that follows brings them back up.
_QUANTISED = ("Gemm", "MatMul")
_DYNAMIC = frozenset(("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger"))


def quantise(
    source: Path, folder: Path, calibration: Sequence[Feeds], *, symmetric: bool = False
) -> Path:
    """Write the fp32 graph at ``source`` into ``folder`` with int8 products; return its path.

    Only matrix products with weights are quantised, not those of two activations (attention).

    Args:
        source: the graph, external data beside it.
        folder: where to write; made if need be.
        calibration: inputs that the activation scales are taken from.
        symmetric: activations around zero and weights of 8 bits, as TensorRT wants them; else
            activations with a zero point and weights of 7 bits.

    Raises:
        InputError: there are no calibration inputs.
        IncompleteError: onnxruntime is not installed.
    """
    if not calibration:
        raise InputError("int8: expected inputs to calibrate on, found none")
    quantization = require("onnxruntime.quantization", extra="cpu")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / MODEL_FILE
    with _quiet(), tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / MODEL_FILE
        _write_fp32(source, whole)
        quantization.quantize_static(
            whole,
            target,
            _Reader(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTISED),
            per_channel=True,
            reduce_range=not symmetric,
            activation_type=quantization.QuantType.QInt8
            if symmetric
            else quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                "MatMulConstBOnly": True,
                # TensorRT takes no int32 biases; added in float they cost nothing.
                "QuantizeBias": not symmetric,
            },
        )
    model = onnx.load(target)
    target.unlink()
    onnx.save(model, target, save_as_external_data=True, location=WEIGHTS_FILE, size_threshold=1024)
    return target


def check_static(path: Path) -> None:
    """Refuse a graph whose activation scales depend on the batch.

    Raises:
        HemogatError: naming the first such node.
    """
    for node in onnx.load(path, load_external_data=False).graph.node:
        if node.op_type in _DYNAMIC:
            raise HemogatError(
                f"{path}: node {node.name} is a {node.op_type}, whose scale depends on the batch; "
                f"quantise with static scales"
            )


class _Reader:
    """Hands the calibration inputs to ONNX Runtime, one call at a time."""

    def __init__(self, calibration: Sequence[Feeds]) -> None:
        self._calls = iter(calibration)

    def get_next(self) -> dict[str, Any] | None:
        """Return the inputs of the next call, None after the last."""
        feeds = next(self._calls, None)
        return None if feeds is None else dict(feeds)


def _write_fp32(source: Path, target: Path) -> None:
    onnx.save(onnx.load(source), target, save_as_external_data=True, location=WEIGHTS_FILE)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice about preprocessing off the terminal."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
