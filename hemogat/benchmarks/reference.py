"""The reference workload: a matrix product and a copy, taking turns beside what is measured.

It is the same work in every run on a machine, so a target's time over the reference's of the same
round leaves out how fast the machine happened to be. Both kernels come from numpy, which every
installation has; the product in int8 comes from ONNX Runtime and says only what int8 can reach.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from hemogat.benchmarks.targets import Case, Kernel, ReferenceTarget
from hemogat.benchmarks.worker_protocol import Opened
from hemogat.machine import usable_cores

_SIDE = 1024  # of the square matrices: they fit into the caches, so that only arithmetic counts
_COPIED_BYTES = 128 * 2**20  # more than the caches hold
# What limits the threads of the libraries that numpy may multiply with.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# What one run of a kernel does: multiply-accumulates, or bytes read and written.
KERNEL_WORK: dict[Kernel, int] = {
    "gemm": _SIDE**3,
    "gemm_int8": _SIDE**3,
    "copy": 2 * _COPIED_BYTES,
}


def reference_environment(threads: int | None) -> dict[str, str]:
    """Return the environment of a reference's process: numpy reads its limits at the start."""
    limits = {} if threads is None else dict.fromkeys(_THREAD_VARIABLES, str(threads))
    return {**os.environ, **limits}


class ReferenceRunner:
    """The kernels, each alone."""

    def __init__(self, target: ReferenceTarget, threads: int | None) -> None:
        self._threads = threads or usable_cores()
        kernels: list[Kernel] = ["gemm", "copy"]
        if target.int8:
            self._int8 = _int8_product(self._threads)
            kernels += ["gemm_int8"] if self._int8 is not None else []
        self.opened = Opened(components=tuple(kernels), threads=self._threads)

    def prepare(self, case: Case) -> Callable[[], object]:
        """Make the inputs of a kernel, and return what runs it once."""
        if case.component == "copy":
            return _copy(self._threads)
        if case.component == "gemm":
            return _product()
        assert self._int8 is not None
        return self._int8


def _product() -> Callable[[], object]:
    matrix = np.random.default_rng(0).random((_SIDE, _SIDE), np.float32)
    found = np.empty_like(matrix)
    return lambda: np.matmul(matrix, matrix, out=found)


def _copy(threads: int) -> Callable[[], object]:
    source = np.ones(_COPIED_BYTES // 4, np.float32)
    target = np.empty_like(source)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = ThreadPoolExecutor(threads)  # numpy copies without the interpreter's lock
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def _int8_product(threads: int) -> Callable[[], object] | None:
    """Return a product of uint8 by int8 in ONNX Runtime; None where that or onnx is missing."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    options: Any = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        _int8_graph(onnx).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = np.random.default_rng(0).integers(0, 255, (_SIDE, _SIDE), np.uint8)
    return lambda: session.run(None, {"a": given})


def _int8_graph(onnx: Any) -> Any:
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(1).integers(-127, 127, (_SIDE, _SIDE), np.int8)
    constants: dict[str, Any] = {
        "a_scale": np.float32(0.01), "a_zero": np.uint8(0),
        "b": weights, "b_scale": np.float32(0.01), "b_zero": np.int8(0),
        "c_scale": np.float32(1.0), "c_zero": np.uint8(0),
    }  # fmt: skip
    order = ("a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "c_scale", "c_zero")
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", order, ["c"])],
        "int8_product",
        [helper.make_tensor_value_info("a", kinds.UINT8, [_SIDE, _SIDE])],
        [helper.make_tensor_value_info("c", kinds.UINT8, [_SIDE, _SIDE])],
        [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
