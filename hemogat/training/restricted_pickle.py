"""Pickles that hold tensors and numpy arrays, read without running what a pickle can run.

A pickle names functions and has them called. Here only the names that arrays and tensors pickle to
are admitted, and none leads to the real function: each leads to a stand-in of this module that
checks its arguments and builds the array from its bytes. So neither ``torch.storage``'s loader,
which unpickles freely, nor numpy's ``__setstate__``, which trusts what it is given, is reached.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hemogat.errors import InputError

_NUMBERS = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")


def load_arrays(path: Path) -> object:
    """Read a pickle of plain values (lists, dicts, numbers, text), tensors and numpy arrays.

    Arrays come as objects that :func:`as_tensor` turns into tensors.

    Raises:
        InputError: the file cannot be read, is damaged, or names anything else, which it gives.
    """
    try:
        with path.open("rb") as file:
            _check_memo(file, path.stat().st_size)
            file.seek(0)
            return _Unpickler(file, path).load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise anything, as Python's manual warns
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: expected a pickle of tensors and numpy arrays, found one that cannot be "
            f"read ({reason:.200})"
        ) from error


def _check_memo(file: io.BufferedReader, size_bytes: int) -> None:
    """Refuse a place in the pickle's memo beyond its size: Python reserves memory up to there."""
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name.endswith("PUT") and (argument or 0) > size_bytes:
            raise pickle.UnpicklingError(f"memo of {argument} places in {size_bytes} bytes")


def as_tensor(value: object) -> Tensor | None:
    """Return a tensor or array of the pickle as a tensor, None for anything else."""
    if isinstance(value, _Stored) and isinstance(value.value, np.ndarray):
        array = value.value.astype(value.value.dtype.newbyteorder("="))
        # torch computes with no unsigned integers to speak of.
        return torch.from_numpy(array.astype(np.int64) if array.dtype.kind == "u" else array)
    if isinstance(value, _Stored) and isinstance(value.value, Tensor):
        return value.value
    return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedReader, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            called = " ".join(f"{module}.{name}".split())  # on one line, whatever it holds
            raise InputError(
                f"{self._path}: refused, because it calls for {called:.100}; a feature file "
                f"holds tensors and numpy arrays and nothing else"
            ) from None


class _Closed:
    """Something that a pickle may pass on, but not alter: it can set no state."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError(f"state set on {type(self).__name__}")


class _Stored(_Closed):
    """A tensor, a storage (as a flat tensor), or a number or array of numpy's."""

    __slots__ = ("value",)

    def __init__(self, value: Tensor | np.ndarray[Any, Any] | None = None) -> None:
        self.value = value


class _Array(_Stored):
    """What ``numpy.ndarray`` reconstructs to, before its content comes as its state."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        _version, shape, dtype, fortran, data = _fields(state, 5)
        self.value = _from_bytes(data, dtype, shape, "F" if fortran else "C").value


class _DType(_Stored):
    """A number type, whose byte order comes as its state."""

    __slots__ = ("dtype",)

    def __init__(self, name: object, align: object = False, copy: object = False) -> None:
        super().__init__()
        if not (isinstance(name, str) and _NUMBERS.fullmatch(name)):
            raise pickle.UnpicklingError(f"numpy dtype {name!r} is no number")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: object) -> None:
        _version, order, subarray, names, fields, *_sizes = _fields(state, 8)
        if order not in ("<", ">", "=", "|") or (subarray, names, fields) != (None, None, None):
            raise pickle.UnpicklingError("numpy dtype that is not plain numbers")
        self.dtype = self.dtype.newbyteorder(order)


def _fields(state: object, count: int) -> tuple[Any, ...]:
    if not isinstance(state, tuple) or len(state) != count:
        raise pickle.UnpicklingError(f"state of numpy's that has not {count} fields")
    return state


def _from_bytes(data: object, dtype: object, shape: Any, order: Any) -> _Stored:
    if not (isinstance(data, bytes | bytearray) and isinstance(dtype, _DType)):
        raise pickle.UnpicklingError("numpy array that is not made of bytes")
    own = bytes(data)  # the pickle may go on writing into a bytearray, or resize it
    return _Stored(np.frombuffer(own, dtype.dtype).reshape(shape, order=order))


def _scalar(dtype: object, data: object) -> _Stored:
    return _from_bytes(data, dtype, (), "C")


def _reconstruct(kind: object, shape: object, typecode: object) -> _Array:
    return _Array()


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":
        raise pickle.UnpicklingError(f"bytes in the codec {codec!r}")
    return text.encode("latin1")


def _storage(data: bytes) -> _Stored:
    """Load a storage as torch would, but by its loader that runs nothing."""
    loaded = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(loaded, torch.storage.TypedStorage):
        raise pickle.UnpicklingError("tensor without a storage")
    # The attribute, because every method of this deprecated class warns.
    return _Stored(torch.empty(0, dtype=loaded.dtype).set_(loaded._untyped_storage))


def _tensor(storage: object, offset: Any, shape: Any, stride: Any, *_unused: object) -> _Stored:
    """Return a view into a storage; ``as_strided`` refuses one that reaches beyond it."""
    if not (isinstance(storage, _Stored) and isinstance(storage.value, Tensor)):
        raise pickle.UnpicklingError("tensor without a storage")
    return _Stored(storage.value.as_strided(shape, stride, offset))


class _Admitted(_Closed):
    """A global that the pickle may call."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., object]) -> None:
        self._build = build

    def __call__(self, *arguments: object) -> object:
        return self._build(*arguments)


_ADMITTED = {
    ("torch._utils", "_rebuild_tensor_v2"): _Admitted(_tensor),
    ("torch.storage", "_load_from_bytes"): _Admitted(_storage),
    ("collections", "OrderedDict"): _Admitted(dict),  # a tensor's hooks, always empty
    ("_codecs", "encode"): _Admitted(_encode),  # how protocol 2 writes bytes
    ("numpy", "ndarray"): _Admitted(_Array),
    ("numpy", "dtype"): _Admitted(_DType),
    **{
        (f"numpy.{core}.{module}", name): _Admitted(build)
        for core in ("core", "_core")  # numpy 1 and 2
        for module, name, build in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_bytes),
        )
    },
}
