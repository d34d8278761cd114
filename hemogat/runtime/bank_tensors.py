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
_ADVICE = "export again"


def tensor_places(
    path: Path, *, kind: str = "a bank's file", advice: str = _ADVICE
) -> dict[str, tuple[str, tuple[int, ...], int, int]]:
    """Return dtype, shape, begin and end (bytes) of each tensor of a safetensors file.

    ``kind`` and ``advice``: what it should be, and what to do where it is not.

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
        raise BundleError(f"{path}: is not {kind} ({reason}); {advice}") from error


def map_tensors(path: Path, *, kind: str = "a bank's file", advice: str = _ADVICE) -> Tensors:
    """Return the tensors of a bank's file, mapped into memory and read when they are touched.

    ``kind`` and ``advice``: as for :func:`tensor_places`.

    Raises:
        BundleError: the file cannot be read, or is no such file.
    """
    places = tensor_places(path, kind=kind, advice=advice)
    whole = np.memmap(path, np.uint8, mode="r")
    tensors: Tensors = {}
    for name, (dtype, shape, begin, end) in places.items():
        if dtype not in _DTYPES:
            expected = ", ".join(_DTYPES)
            raise BundleError(f"{path}: {name} is {dtype}, expected one of {expected}; {advice}")
        try:
            tensors[name] = whole[begin:end].view(_DTYPES[dtype]).reshape(shape)
        except (ValueError, TypeError) as error:
            raise BundleError(f"{path}: {name} is not whole ({error}); {advice}") from error
    return tensors
