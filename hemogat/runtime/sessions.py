"""Engine sessions: one exported graph, ready to run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.errors import BundleError
from hemogat.optional import require
from hemogat.runtime.bundle import Bundle, Engine, GraphName, Precision

Arrays = dict[str, NDArray[Any]]


class EngineSession:
    """One graph in ONNX Runtime on the CPU.

    ``threads``: how many threads one run may use; None: as many as there are cores.

    Raises:
        IncompleteError: onnxruntime is not installed.
        BundleError: ONNX Runtime cannot load the graph.
    """

    def __init__(self, path: str, *, threads: int | None = None) -> None:
        onnxruntime = require("onnxruntime", extra="cpu")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; its warnings concern shape guesses
        if threads is not None:
            options.intra_op_num_threads = threads
        # A session's threads would keep a core busy for a while after each run, and take it from
        # the next session.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common base of their own
            reason = " ".join(str(error).split())
            raise BundleError(f"{path}: ONNX Runtime cannot load it ({reason})") from error
        self.inputs = tuple(i.name for i in self._session.get_inputs())
        self.outputs = tuple(o.name for o in self._session.get_outputs())

    def run(self, feeds: Arrays) -> Arrays:
        """Run the graph; inputs and outputs by the contract's names."""
        given = {name: np.ascontiguousarray(feeds[name]) for name in self.inputs}
        values = self._session.run(None, given)
        return dict(zip(self.outputs, values, strict=True))


def open_session(
    bundle: Bundle,
    graph: GraphName,
    *,
    engine: Engine = "onnx",
    precision: Precision = "fp32",
    threads: int | None = None,
) -> EngineSession:
    """Load one graph of ``bundle``; ``threads`` as for :class:`EngineSession`.

    Raises:
        BundleError: the bundle has no such graph, or the engine cannot load it.
        IncompleteError: the engine is not installed.
    """
    return EngineSession(str(bundle.graph_path(graph, engine, precision)), threads=threads)
