"""An exported graph in ONNX Runtime: on the CPU, through CUDA, or through TensorRT."""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import Any

import numpy as np

from hemogat.errors import BundleError, ConfigError, IncompleteError
from hemogat.machine import find_gpus
from hemogat.optional import require
from hemogat.runtime.engine_session import Arrays

_LOG = logging.getLogger(__name__)
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# By kind of device, best first: what one provider cannot run, the next one does.
_PROVIDERS = {
    "cpu": (_CPU,),
    "cuda": (_CUDA, _CPU),
    "tensorrt": ("TensorrtExecutionProvider", _CUDA, _CPU),
}
_DEVICE = re.compile(r"(auto|cpu|(cuda|tensorrt)(:\d+)?)")


class OnnxSession:
    """One graph in ONNX Runtime.

    ``threads``: how many threads one run may use; None: as many as there are cores. ``device``:
    ``cpu``, ``cuda[:n]``, ``tensorrt[:n]`` (CUDA, as far as TensorRT takes the graph), or
    ``auto``: CUDA where the installed ONNX Runtime and the machine have it, else the CPU.

    Raises:
        ConfigError: ``device`` is none of these.
        IncompleteError: onnxruntime is not installed, or cannot use the device that was asked for.
        BundleError: ONNX Runtime cannot load the graph.
    """

    def __init__(self, path: str, *, threads: int | None = None, device: str = "cpu") -> None:
        onnxruntime = require("onnxruntime", extra="cpu")
        kind, number = _resolve(device, onnxruntime)
        options = session_options(onnxruntime, threads)
        if kind != "cpu":
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        providers = [p if p == _CPU else (p, {"device_id": number}) for p in _PROVIDERS[kind]]
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # its exceptions have no common base of their own
            reason = " ".join(str(error).split())
            if type(error).__name__ == "NotImplemented":  # no kernel for an operator in its type
                raise IncompleteError(
                    f"{path}: device {device} does not have all its operators ({reason}); use "
                    f"--device cuda, or another precision"
                ) from error
            raise BundleError(f"{path}: ONNX Runtime cannot load it ({reason})") from error
        # ONNX Runtime goes on without a provider that fails to start, and says so in its log alone.
        _check_providers(_PROVIDERS[kind], self._session.get_providers(), device)
        self.device = "cpu" if kind == "cpu" else f"{kind}:{number}"
        if kind != "cpu":
            self._tell_of_fallback(path)
        elif device == "auto":
            _LOG.warning("device auto: ONNX Runtime finds no CUDA device here and runs on the CPU")
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def _tell_of_fallback(self, path: str) -> None:
        """Name the operators that the device left to the CPU; those of shapes always are."""
        tell = getattr(self._session, "get_provider_graph_assignment_info", None)
        if tell is None:  # ONNX Runtime before 1.24
            return
        nodes = [(part.ep_name, node.op_type) for part in tell() for node in part.get_nodes()]
        kinds = Counter(op_type for provider, op_type in nodes if provider == _CPU)
        if kinds:
            names = ", ".join(f"{count} {name}" for name, count in sorted(kinds.items()))
            _LOG.warning(
                "%s: on %s, but %d of %d operators run on the CPU: %s",
                *(path, self.device, kinds.total(), len(nodes), names),
            )

    def run(self, feeds: Arrays) -> Arrays:
        """Run the graph; inputs and outputs by the contract's names."""
        given = {name: np.ascontiguousarray(feeds[name]) for name in self.inputs}
        values = self._session.run(None, given)
        return dict(zip(self.outputs, values, strict=True))


def session_options(onnxruntime: Any, threads: int | None) -> Any:
    """Return the options that every session has; ``threads`` as for :class:`OnnxSession`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; its warnings concern shape guesses
    if threads is not None:
        options.intra_op_num_threads = threads
    # A session's threads would keep a core busy for a while after each run, and take it from the
    # next session.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def automatic_device() -> str:
    """Return what device ``auto`` is here: ``cuda`` or ``cpu``."""
    available = require("onnxruntime", extra="cpu").get_available_providers()
    return "cuda" if _CUDA in available and find_gpus() else "cpu"


def _resolve(device: str, onnxruntime: Any) -> tuple[str, int]:
    """Return the kind of device and its number; refuse what this ONNX Runtime is built without."""
    if _DEVICE.fullmatch(device) is None:
        raise ConfigError(f"device: expected auto, cpu, cuda[:n] or tensorrt[:n], found {device!r}")
    available = onnxruntime.get_available_providers()
    if device == "auto":
        device = automatic_device()
    kind, _, number = device.partition(":")
    _check_providers(_PROVIDERS[kind], available, device)
    return kind, int(number or 0)


def _check_providers(wanted: tuple[str, ...], found: list[str], device: str) -> None:
    missing = [provider for provider in wanted if provider not in found]
    if missing:
        raise IncompleteError(
            f"device {device}: ONNX Runtime has no {missing[0]} here, only {', '.join(found)}; "
            f"install onnxruntime-gpu in place of onnxruntime, with the CUDA and TensorRT "
            f"libraries that it names, or use --device cpu"
        )
