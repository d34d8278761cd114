"""What is read out of Triton's requests.

Like :mod:`hemogat.serving.triton_host`, imported only inside Triton's Python backend.
"""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from hemogat import contract
from hemogat.errors import InputError
from hemogat.serving.triton_entry import Row
from hemogat.serving.triton_stream import Chunk, StreamId


def rows_of(request: Any) -> list[Row]:
    """Return the utterances of a request to the entry model."""
    columns = []
    for spec in (contract.AUDIO_INPUT, contract.TEXT_INPUT):
        tensor = pb_utils.get_input_tensor_by_name(request, spec.name)
        columns.append(None if tensor is None else tensor.as_numpy().reshape(-1).tolist())
    count = max((len(column) for column in columns if column is not None), default=1)
    audio, text = (column if column is not None else [None] * count for column in columns)
    return list(zip(audio, text, strict=True))


def chunk_of(request: Any) -> Chunk:
    """Return the piece of a stream in a request; raises InputError where it is not whole."""
    rate = pb_utils.get_input_tensor_by_name(request, contract.RATE_INPUT.name)
    text = pb_utils.get_input_tensor_by_name(request, contract.TEXT_INPUT.name)
    samples = pb_utils.get_input_tensor_by_name(request, contract.SAMPLES_INPUT.name)
    if samples is None:  # Triton counts the inputs; with an optional one, the number fits
        raise InputError(f"stream: {contract.SAMPLES_INPUT.name} is missing; send samples")
    return Chunk(
        stream_id_of(request),
        start=begins_stream(request),
        end=bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END),
        samples=samples.as_numpy().reshape(-1),
        rate_hz=None if rate is None else int(rate.as_numpy().item()),
        text=None if text is None else text.as_numpy().item(),
    )


def begins_stream(request: Any) -> bool:
    """Say whether a request is the first of its stream."""
    return bool(request.flags() & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START)


def stream_id_of(request: Any) -> StreamId:
    """Return the stream that a request belongs to; raises InputError where none can be told."""
    try:
        stream: StreamId = request.correlation_id()
    except UnicodeDecodeError as error:  # over HTTP, Triton lets any bytes through
        raise InputError(f"stream: its sequence id is not valid UTF-8 ({error})") from error
    return stream


def input_of(request: Any, name: str) -> NDArray[Any]:
    """Return an input that is there."""
    array: NDArray[Any] = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
    return array
