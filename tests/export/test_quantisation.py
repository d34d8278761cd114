from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnxruntime.quantization import quantize_dynamic

from hemogat.errors import HemogatError, InputError
from hemogat.export.quantisation import check_static, quantise


def feeds(rows: int, seed: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(seed).integers(5, 40, (rows, 16))
    return {"input_ids": ids, "attention_mask": np.ones((rows, 16), np.int64)}


def run(path: Path, given: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (value,) = session.run(None, given)
    return value


@pytest.fixture(scope="module")
def source(tiny_bundle: Path) -> Path:
    return tiny_bundle / "text_encoder" / "onnx-fp32" / "model.onnx"


@pytest.mark.parametrize("symmetric", [False, True])
def test_scales_are_static_and_weights_per_channel(
    symmetric: bool, source: Path, tmp_path: Path
) -> None:
    calibration = [feeds(1, seed) for seed in range(16)]
    path = quantise(source, tmp_path / "int8", calibration, symmetric=symmetric)
    check_static(path)
    model = onnx.load(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    scales = [tensors[n.input[1]] for n in model.graph.node if n.op_type == "DequantizeLinear"]
    assert any(scale.ndim == 1 and scale.size > 1 for scale in scales)
    largest = max(np.abs(t.astype(int)).max() for t in tensors.values() if t.dtype == np.int8)
    assert 60 <= largest <= 64 or (symmetric and largest == 127)  # 7 bits never overflow 16
    if symmetric:
        zeros = [tensors[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
        assert all((zero == 0).all() for zero in zeros)

    batch = feeds(6, 99)
    together = run(path, batch)
    assert not np.array_equal(together, run(source, batch))
    np.testing.assert_allclose(together, run(source, batch), atol=0.2)
    for row in range(6):
        alone = run(path, {name: value[row : row + 1] for name, value in batch.items()})
        np.testing.assert_allclose(alone, together[row : row + 1], atol=1e-5)


def test_dynamic_scales_are_refused(source: Path, tmp_path: Path) -> None:
    quantize_dynamic(source, tmp_path / "dynamic.onnx")
    with pytest.raises(HemogatError, match=r"dynamic\.onnx: node .* whose scale depends on the"):
        check_static(tmp_path / "dynamic.onnx")


def test_nothing_to_calibrate_on_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected inputs to calibrate on"):
        quantise(source, tmp_path / "int8", [])
    assert not (tmp_path / "int8").exists()
