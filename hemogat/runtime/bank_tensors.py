"""The bank's file, read where it lies: a large bank need not fit into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydantic_core
from numpy.typing import NDArray

from hemogat.errors import BundleError

Tensors = dict[str, NDArray[Any]]
_DTYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "BOOL": np.bool_}
_UNREADABLE = (
    *(OSError, ValueError, TypeError, LookupError, AttributeError),
    *(MemoryError, OverflowError),  # a length that is none
)
_LENGTH_BYTES = 8  # of the number, at the start of the file, of bytes in the header


def tensor_places(path: Path) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Return dtype, shape, begin and end (bytes) of each tensor of a safetensors file.

    Raises:
        BundleError: the file cannot be read, or is no such file.
    """
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            header = pydantic_core.from_json(file.read(header_bytes))
        start = _LENGTH_BYTES + header_bytes
        return {
            name: (
                str(entry["dtype"]),
                tuple(entry["shape"]),
                start + entry["data_offsets"][0],
                start + entry["data_offsets"][1],
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())
        raise BundleError(f"{path}: is not a bank's file ({reason}); export again") from error


def map_tensors(path: Path) -> Tensors:
    """Return the tensors of a bank's file, mapped into memory and read when they are touched.

    Raises:
        BundleError: the file cannot be read, or is no such file.
    """
    places = tensor_places(path)
    whole = np.memmap(path, np.uint8, mode="r")
    tensors: Tensors = {}
    for name, (dtype, shape, begin, end) in places.items():
        if dtype not in _DTYPES:
            raise BundleError(f"{path}: {name} is {dtype}, expected one of {', '.join(_DTYPES)}")
        try:
            tensors[name] = whole[begin:end].view(_DTYPES[dtype]).reshape(shape)
        except (ValueError, TypeError) as error:
            raise BundleError(f"{path}: {name} is not whole ({error}); export again") from error
    return tensors
