"""Run a TensorRT plan: one exported graph, ready on a GPU."""

from __future__ import annotations

import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.errors import BundleError, HemogatError, InputError
from hemogat.runtime.cuda_device import CudaDevice, bytes_of
from hemogat.runtime.tensorrt_plan import check_plan, new_logger, require_tensorrt

Arrays = dict[str, NDArray[Any]]


class TensorRTSession:
    """One plan on one GPU; several threads may call it, one runs at a time.

    Batches larger than the plan's largest are run in parts: no graph lets a row see another.

    Raises:
        IncompleteError: TensorRT, the CUDA bindings or a GPU are missing.
        BundleError: the plan does not fit this machine; the message says how to build it again.
    """

    def __init__(self, plan: Path, *, device: int = 0) -> None:
        tensorrt = require_tensorrt()
        self._plan = plan
        self._device = CudaDevice(device)
        self._profile = check_plan(plan, tensorrt.__version__, self._device).profile
        self._errors: list[str] = []
        # The logger and the runtime must live as long as the engine.
        self._logger = new_logger(tensorrt, self._errors)
        self._runtime = tensorrt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise self._failure("TensorRT cannot load it")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._failure("TensorRT cannot make a context for it")
        self._lock = threading.Lock()
        self._read_tensors(tensorrt)
        self._allocate()

    def run(self, feeds: Arrays) -> Arrays:
        """Run the graph; inputs and outputs by the contract's names, batch axis first.

        Raises:
            InputError: a shape that the plan's profile does not take.
        """
        given = {
            name: np.ascontiguousarray(feeds[name], dtype=self._dtypes[name])
            for name in self.inputs
        }
        rows = len(next(iter(given.values())))
        with self._lock:
            self._device.make_current()
            parts = [
                self._run_part({n: a[start : start + self._most_rows] for n, a in given.items()})
                for start in range(0, rows, self._most_rows)
            ]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _read_tensors(self, tensorrt: ModuleType) -> None:
        engine = self._engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        mode = {name: engine.get_tensor_mode(name) for name in names}
        self.inputs = tuple(n for n in names if mode[n] == tensorrt.TensorIOMode.INPUT)
        self.outputs = tuple(n for n in names if mode[n] == tensorrt.TensorIOMode.OUTPUT)
        if set(self.inputs) != set(self._profile):
            raise BundleError(
                f"{self._plan}: expected the inputs of its record ({', '.join(self._profile)}), "
                f"found {', '.join(self.inputs)}; build it again"
            )
        kinds = tensorrt.DataType
        numpy_types = {
            kinds.FLOAT: np.float32,
            kinds.HALF: np.float16,
            kinds.INT32: np.int32,
            kinds.INT64: np.int64,
            kinds.BOOL: np.bool_,
        }
        self._dtypes = {n: np.dtype(numpy_types[engine.get_tensor_dtype(n)]) for n in names}

    def _allocate(self) -> None:
        """Take device memory for the largest shapes once, so that no run allocates any."""
        largest = {name: self._profile[name].largest for name in self.inputs}
        self._most_rows = min(shape[0] for shape in largest.values())
        self._set_shapes(largest)
        shapes = largest | self._output_shapes()
        self._buffers = {
            name: self._device.allocate(bytes_of(shape, self._dtypes[name]))
            for name, shape in shapes.items()
        }
        for name, buffer in self._buffers.items():
            self._context.set_tensor_address(name, buffer.address)

    def _run_part(self, given: Arrays) -> Arrays:
        self._set_shapes({name: array.shape for name, array in given.items()})
        for name, array in given.items():
            self._device.copy_in(self._buffers[name], array)
        if not self._context.execute_async_v3(int(self._device.stream)):
            raise self._failure("TensorRT cannot run it")
        outputs = {n: np.empty(s, self._dtypes[n]) for n, s in self._output_shapes().items()}
        for name, array in outputs.items():
            self._device.copy_out(array, self._buffers[name])
        self._device.synchronise()
        return outputs

    def _set_shapes(self, shapes: dict[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            low, high = self._profile[name].smallest, self._profile[name].largest
            if len(shape) != len(low) or not all(
                small <= size <= large for small, size, large in zip(low, shape, high, strict=True)
            ):
                raise InputError(
                    f"{name}: expected a shape from {low} to {high}, which {self._plan} was built "
                    f"for, found {shape}; build it with wider tensorrt sizes in the export recipe"
                )
            if not self._context.set_input_shape(name, shape):
                raise self._failure(f"TensorRT refuses {name} of shape {shape}")

    def _output_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(self._context.get_tensor_shape(name)) for name in self.outputs}

    def _failure(self, what: str) -> HemogatError:
        return BundleError(f"{self._plan}: {what} ({'; '.join(self._errors) or 'no message'})")
