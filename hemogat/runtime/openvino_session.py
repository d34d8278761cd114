"""An exported graph in OpenVINO, on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from hemogat.errors import BundleError, IncompleteError
from hemogat.optional import require
from hemogat.runtime.engine_session import Arrays

# Where the IR says which float precision it was exported for; OpenVINO's own default is bf16 on
# CPUs that have it, so that an unmarked fp32 graph would answer differently from one to the other.
PRECISION_KEY = ("hemogat", "inference_precision")
# What a graph in bf16 is given at a time. From 16 rows on OpenVINO 2026.4 splits a graph's work in
# another way, which rounds some numbers to the next bf16 one.
BF16_ROWS = 8


class OpenVINOSession:
    """One graph in OpenVINO: one stream, tuned for latency, in the float precision of its export.

    Runs from several threads at a time are safe: each thread has a request of its own.
    ``threads``: how many threads one run may use; None: as many as there are cores.

    Raises:
        IncompleteError: openvino is not installed, or the graph is for bf16 and the CPU has none.
        BundleError: OpenVINO cannot load the graph.
    """

    def __init__(self, path: str, *, threads: int | None = None) -> None:
        openvino = require("openvino", extra="openvino")
        try:
            self._compiled = compile_graph(openvino, path, threads)
        except RuntimeError as error:  # all that OpenVINO raises
            reason = " ".join(str(error).split())
            raise BundleError(f"{path}: OpenVINO cannot load it ({reason})") from error
        self._requests = threading.local()
        self.inputs = tuple(port.get_any_name() for port in self._compiled.inputs)
        self.outputs = tuple(port.get_any_name() for port in self._compiled.outputs)
        self._rows_at_once = BF16_ROWS if self.inference_precision == "bf16" else None

    @property
    def inference_precision(self) -> str:
        """The float precision that OpenVINO runs the graph in, by its own account."""
        element: Any = self._compiled.get_property("INFERENCE_PRECISION_HINT")
        return str(element.get_type_name())

    def run(self, feeds: Arrays) -> Arrays:
        """Run the graph; inputs and outputs by the contract's names.

        In bf16 a large batch is run in parts, so that answers do not depend on its size.
        """
        given = {name: np.ascontiguousarray(feeds[name]) for name in self.inputs}
        rows, at_once = len(given[self.inputs[0]]), self._rows_at_once
        if at_once is None or rows <= at_once:
            return self._infer(given)
        parts = [
            self._infer({name: values[start : start + at_once] for name, values in given.items()})
            for start in range(0, rows, at_once)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _infer(self, given: Arrays) -> Arrays:
        request = getattr(self._requests, "request", None)
        if request is None:
            request = self._requests.request = self._compiled.create_infer_request()
        # The request reads our arrays where they are; its own buffers are reused, hence the copy.
        found = request.infer(given, share_inputs=True)
        return dict(zip(self.outputs, (np.array(found[i]) for i in range(len(found))), strict=True))


def compile_graph(
    openvino: Any, path: str, threads: int | None, extra: Mapping[str, Any] | None = None
) -> Any:
    """Read and compile a graph as :class:`OpenVINOSession` runs it, ``extra`` settings aside."""
    core = openvino.Core()
    model = core.read_model(path)
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_PRECISION_HINT": _float_precision(core, model, path),
    }
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = str(threads)
    return core.compile_model(model, "CPU", settings | dict(extra or {}))


def _float_precision(core: Any, model: Any, path: str) -> str:
    wanted = "f32"
    if model.has_rt_info(list(PRECISION_KEY)):
        wanted = str(model.get_rt_info(list(PRECISION_KEY)).value)
    has = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted == "bf16" and "BF16" not in has:
        raise IncompleteError(
            f"{path}: is for bf16, which this CPU does not have (OpenVINO finds {', '.join(has)}); "
            f"use precision fp32 or int8"
        )
    return wanted
