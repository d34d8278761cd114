from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

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


class Cuda:
    """An ONNX Runtime with CUDA, which leaves some operators of every graph to the CPU."""

    SessionOptions = onnxruntime.SessionOptions

    def __init__(self, on_cpu: list[str]) -> None:
        self._on_cpu = on_cpu
        self.options: Any = None

    def get_available_providers(self) -> list[str]:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def InferenceSession(self, path: str, options: Any, providers: Any) -> Any:
        self.options = options
        parts = [("CUDAExecutionProvider", "MatMul"), ("CUDAExecutionProvider", "Conv")]
        parts += [("CPUExecutionProvider", kind) for kind in self._on_cpu]
        info = [
            SimpleNamespace(ep_name=name, get_nodes=lambda k=kind: [SimpleNamespace(op_type=k)])
            for name, kind in parts
        ]
        return SimpleNamespace(
            get_providers=self.get_available_providers,
            get_provider_graph_assignment_info=lambda: info,
            get_inputs=list,
            get_outputs=list,
        )


def test_what_a_gpu_leaves_to_the_cpu_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for on_cpu in ([], ["TopK", "Shape", "TopK"]):
        fake = Cuda(on_cpu)
        monkeypatch.setattr("hemogat.runtime.onnx_session.require", lambda *_, f=fake, **__: f)
        OnnxSession("model.onnx", device="cuda:1")
        key = "session.record_ep_graph_assignment_info"
        assert fake.options.get_session_config_entry(key) == "1"
    (told,) = caplog.messages
    assert "model.onnx: on cuda:1, but 3 of 5 operators run on the CPU: 1 Shape, 2 TopK" in told


def test_auto_says_that_it_runs_on_the_cpu(
    fusion: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("hemogat.runtime.onnx_session.find_gpus", list)
    OnnxSession(fusion, device="auto")
    assert "device auto: ONNX Runtime finds no CUDA device here" in caplog.text
    caplog.clear()
    OnnxSession(fusion, device="cpu")
    assert caplog.text == ""
