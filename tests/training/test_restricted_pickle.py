from __future__ import annotations

import collections
import contextlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hemogat.errors import InputError
from hemogat.training.restricted_pickle import as_tensor, load_arrays

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def to_file(content: bytes) -> Path:
        (tmp_path / "features.pkl").write_bytes(content)
        return tmp_path / "features.pkl"

    return to_file


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        torch.randn(3, 4),
        torch.randn(4, 6)[1:, ::2],
        torch.randn(3, requires_grad=True),
        torch.tensor(5),
        torch.randn(5).half(),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(4, dtype=">f4"),
        np.arange(4, dtype=np.uint8),
        np.int64(3),
        np.float32(0.5),
    ],
    ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}",
)
def test_tensors_and_arrays_come_back(
    write: Callable[[bytes], Path], protocol: int, value: Any
) -> None:
    (found,) = load_arrays(write(pickle.dumps([value], protocol)))  # type: ignore[misc]
    tensor = as_tensor(found)
    assert tensor is not None
    expected = value.detach() if isinstance(value, torch.Tensor) else np.asarray(value)
    np.testing.assert_array_equal(tensor.numpy(), expected)


def test_numpy_1_and_2_name_their_modules_differently(write: Callable[[bytes], Path]) -> None:
    here = pickle.dumps([np.arange(3.0), np.int64(2)], 0)
    for core in (b"numpy.core.", b"numpy._core."):
        text = here.replace(b"numpy._core.", b"numpy.core.").replace(b"numpy.core.", core)
        rows = load_arrays(write(text))
        assert isinstance(rows, list)
        assert [as_tensor(row).tolist() for row in rows] == [[0.0, 1.0, 2.0], 2]  # type: ignore[union-attr]


def test_plain_values_stay_what_they_are(write: Callable[[bytes], Path]) -> None:
    plain = [{"label": 1, "id": "a", "x": (1.5, None, True)}]
    assert load_arrays(write(pickle.dumps(plain))) == plain
    assert [as_tensor(value) for value in (1, "a", None, [1.0])] == [None] * 4


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.reduced = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.reduced


def a_reduce_trick(marker: Path) -> object:
    """Hide the bad call within bytes that torch's own storage loader would unpickle."""
    inner = pickle.dumps(Calls(os.mkdir, str(marker)), 2)
    return Calls(torch.storage._load_from_bytes, inner)


def through_an_ordered_dict(marker: Path) -> object:
    return Calls(collections.OrderedDict, [("x", Calls(os.mkdir, str(marker)))])


def through_an_object_array(marker: Path) -> object:
    return np.array([Calls(os.mkdir, str(marker))], dtype=object)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (lambda marker: Calls(os.system, f"mkdir {marker}"), f"{os.name}.system"),
        (lambda marker: Calls(os.mkdir, str(marker)), f"{os.name}.mkdir"),
        (lambda marker: Calls(eval, f"__import__('os').mkdir('{marker}')"), ".eval"),
        (lambda marker: Calls(getattr, "text", "format"), ".getattr"),
        (lambda marker: Calls(torch.load, str(marker)), "torch.serialization.load"),
        (lambda marker: Path, "pathlib"),
        (through_an_ordered_dict, f"{os.name}.mkdir"),
        (through_an_object_array, "numpy dtype 'O"),
        (a_reduce_trick, "cannot be read"),
    ],
)
def test_nothing_else_is_admitted_and_nothing_runs(
    write: Callable[[bytes], Path],
    tmp_path: Path,
    payload: Callable[[Path], object],
    named: str,
    protocol: int,
) -> None:
    marker = tmp_path / "ran"
    path = write(pickle.dumps([{"label": payload(marker)}], protocol))
    with pytest.raises(InputError) as caught:
        load_arrays(path)
    assert not marker.exists()
    assert str(path) in str(caught.value)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("payload", [a_reduce_trick, through_an_ordered_dict])
def test_the_payloads_run_where_all_is_admitted(
    tmp_path: Path, payload: Callable[[Path], object]
) -> None:
    with contextlib.suppress(Exception):
        pickle.loads(pickle.dumps(payload(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        pickle.dumps([torch.zeros(4)])[:-30],
        b"ccollections\nOrderedDict\n}b.",  # state on an admitted global
        b"cnumpy\nndarray\n)\x81.",  # an instance past its constructor
        b"\x80\x02U\x01xQ.",  # a persistent id
        b"cnumpy\ndtype\n(Vobject\ntR.",
        b"cnumpy\ndtype\n(Vf8\ntR(I3\nV|\nN(VaVbtNI-1\nI-1\nI63\ntb.",  # fields
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        b"\x80\x02]r\xff\xff\xff\x7f.",  # 2^31 places in the memo
    ],
)
def test_what_is_damaged_or_bent_is_refused(write: Callable[[bytes], Path], content: bytes) -> None:
    with pytest.raises(InputError, match=r"expected a pickle of tensors and numpy arrays") as e:
        load_arrays(write(content))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((9,), (1,), 0), ((3,), (4,), 0), ((4,), (1,), 5), ((-1,), (1,), 0)],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    write: Callable[[bytes], Path], size: object, stride: object, offset: int
) -> None:
    import torch._utils

    storage = torch.zeros(8)._typed_storage()
    parts = (storage, offset, size, stride, False, collections.OrderedDict())
    path = write(pickle.dumps(Calls(torch._utils._rebuild_tensor_v2, *parts)))
    with pytest.raises(InputError, match="cannot be read"):
        load_arrays(path)


def test_a_name_of_several_lines_is_said_on_one(write: Callable[[bytes], Path]) -> None:
    with pytest.raises(InputError, match=r"calls for a b\.c d;"):
        load_arrays(write(b"\x80\x04\x8c\x03a\nb\x8c\x03c\nd\x93."))


def test_an_array_keeps_its_content_when_the_pickle_writes_into_its_bytes(
    write: Callable[[bytes], Path],
) -> None:
    eight_bytes = b"\x96" + (8).to_bytes(8, "little") + bytes(8) + b"\x940"
    array = (
        b"cnumpy.core.numeric\n_frombuffer\n(h\x00cnumpy\ndtype\n(\x8c\x02f8tR(K\x01t\x8c\x01CtR"
    )
    write_into_them = b"h\x00K\x07K\x40s0"
    found = as_tensor(
        load_arrays(write(b"\x80\x05" + eight_bytes + array + write_into_them + b"."))
    )
    assert found is not None
    assert found.tolist() == [0.0]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.pkl: cannot be read \(No such file"):
        load_arrays(tmp_path / "no.pkl")
