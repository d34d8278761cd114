from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from hemogat.errors import BundleError, ConfigError, IncompleteError
from hemogat.runtime.bundle import Bundle
from hemogat.runtime.onnx_session import OnnxSession


@pytest.fixture
def fusion(tiny_bundle: Path) -> str:
    return str(Bundle.open(tiny_bundle).graph_path("fusion", "onnx", "fp32"))


@pytest.mark.parametrize("content", [b"", b"not a graph"])
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BundleError) as caught:
        OnnxSession(str(path))
    assert str(caught.value).startswith(f"{path}: ONNX Runtime cannot load it")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:-1", "cpu:0", "auto:1", "", "CPU"])
def test_unknown_devices_are_refused(fusion: str, device: str) -> None:
    with pytest.raises(ConfigError, match=r"expected auto, cpu, cuda\[:n\]"):
        OnnxSession(fusion, device=device)


def test_the_cpu_is_the_cpu(fusion: str) -> None:
    assert OnnxSession(fusion, threads=1).device == "cpu"


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="needs a CPU-only build",
)
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tensorrt:0"])
def test_a_device_that_is_not_there_is_never_replaced(fusion: str, device: str) -> None:
    with pytest.raises(IncompleteError, match=f"device {device}: ONNX Runtime has no") as caught:
        OnnxSession(fusion, device=device)
    assert "onnxruntime-gpu" in str(caught.value)
    assert OnnxSession(fusion, device="auto").device == "cpu"
