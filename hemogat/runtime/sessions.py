"""Engine sessions: the graphs of a bundle, opened in the engine that was asked for."""

from __future__ import annotations

from pathlib import Path

from hemogat.contract import Engine, Precision
from hemogat.errors import ConfigError
from hemogat.runtime.bundle import Bundle, GraphName
from hemogat.runtime.engine_session import Arrays, EngineSession
from hemogat.runtime.onnx_session import OnnxSession
from hemogat.runtime.openvino_session import OpenVINOSession
from hemogat.runtime.tensorrt_session import TensorRTSession

__all__ = ["Arrays", "EngineSession", "open_graph", "open_session"]


def open_session(
    bundle: Bundle,
    graph: GraphName,
    *,
    engine: Engine = "onnx",
    precision: Precision = "fp32",
    threads: int | None = None,
    device: str | None = None,
) -> EngineSession:
    """Load one graph of ``bundle``; the rest as for :func:`open_graph`.

    Raises:
        BundleError: the bundle has no such graph, or the engine cannot load it.
        ConfigError: the engine does not run on ``device``.
        IncompleteError: the engine is not installed, or cannot use the device.
    """
    path = str(bundle.graph_path(graph, engine, precision))
    return open_graph(path, engine, threads=threads, device=device)


def open_graph(
    path: str, engine: Engine, *, threads: int | None = None, device: str | None = None
) -> EngineSession:
    """Load a graph's file; there is no falling back to another engine or device.

    Args:
        path: the model file of ``engine``.
        engine: what runs it.
        threads: how many threads one run may use; None: as many as there are cores.
        device: ``auto``, ``cpu``, ``cuda[:n]``, or for ONNX Runtime ``tensorrt[:n]``; None: the
            CPU, for TensorRT the first GPU.

    Raises:
        BundleError: the engine cannot load the file.
        ConfigError: the engine does not run on ``device``.
        IncompleteError: the engine is not installed, or cannot use the device.
    """
    if device is None:
        device = "auto" if engine == "trt" else "cpu"
    if engine == "onnx":
        return OnnxSession(path, threads=threads, device=device)
    if engine == "openvino":
        if device not in ("auto", "cpu"):
            raise ConfigError(f"device {device}: engine openvino runs on cpu; use engine onnx")
        return OpenVINOSession(path, threads=threads)
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cuda") or not (number or "0").isdecimal():
        raise ConfigError(f"device {device}: engine trt runs on a GPU; say auto or cuda[:n]")
    return TensorRTSession(Path(path), device=int(number or 0))
