"""One CUDA device through NVIDIA's own bindings: memory, copies, a stream."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat.errors import HemogatError, IncompleteError
from hemogat.optional import require


class CudaDevice:
    """A GPU by its CUDA index, with a stream of its own.

    ``name`` and ``compute_capability`` (such as "9.0") say what a TensorRT plan is tied to.

    Raises:
        IncompleteError: the bindings are not installed, or there is no such GPU.
    """

    def __init__(self, index: int = 0) -> None:
        self._cudart = require("cuda.bindings.runtime", extra="trt")
        self._index = index
        error, count = self._cudart.cudaGetDeviceCount()
        if error != self._cudart.cudaError_t.cudaSuccess:
            raise IncompleteError(
                f"expected an NVIDIA GPU with a driver for CUDA, found none ({error.name})"
            )
        if index >= count:
            raise IncompleteError(f"expected CUDA device {index}, found {count} devices")
        self.make_current()
        properties = self._call("cudaGetDeviceProperties", index)
        self.name: str = properties.name.decode().rstrip("\0")
        self.compute_capability = f"{properties.major}.{properties.minor}"
        self.stream = self._call("cudaStreamCreate")

    def make_current(self) -> None:
        """Let this thread's CUDA calls go to the device."""
        self._call("cudaSetDevice", self._index)

    def allocate(self, size_bytes: int) -> DeviceBuffer:
        """Return device memory, freed when the buffer is."""
        return DeviceBuffer(self._cudart, self._call("cudaMalloc", max(size_bytes, 1)))

    def copy_in(self, buffer: DeviceBuffer, array: NDArray[Any]) -> None:
        """Copy a contiguous array to the device, in the order of the stream."""
        self._copy(buffer.address, array.ctypes.data, array.nbytes, "cudaMemcpyHostToDevice")

    def copy_out(self, array: NDArray[Any], buffer: DeviceBuffer) -> None:
        """Fill a contiguous array from the device, in the order of the stream."""
        self._copy(array.ctypes.data, buffer.address, array.nbytes, "cudaMemcpyDeviceToHost")

    def synchronise(self) -> None:
        """Wait for everything on the stream."""
        self._call("cudaStreamSynchronize", self.stream)

    def _copy(self, target: int, source: int, size_bytes: int, kind: str) -> None:
        direction = getattr(self._cudart.cudaMemcpyKind, kind)
        self._call("cudaMemcpyAsync", target, source, size_bytes, direction, self.stream)

    def _call(self, function: str, *arguments: object) -> Any:
        error, *values = getattr(self._cudart, function)(*arguments)
        if error != self._cudart.cudaError_t.cudaSuccess:
            raise HemogatError(f"CUDA device {self._index}: {function} failed with {error.name}")
        return values[0] if values else None


class DeviceBuffer:
    """Memory on a device at ``address``."""

    def __init__(self, cudart: Any, address: int) -> None:
        self.address = int(address)
        weakref.finalize(self, cudart.cudaFree, self.address)


def bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """Return how many bytes a tensor takes."""
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
