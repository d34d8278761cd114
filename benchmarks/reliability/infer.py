"""Requests to Triton as they are on the wire, so that nothing on this side mends them."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from hemogat.contract import AUDIO_INPUT, ENTRY_MODEL, PROBABILITIES_OUTPUT, TEXT_INPUT

TIMEOUT_S = 60.0  # the server itself gives up after 30 s


@dataclass(frozen=True)
class Tensor:
    """One input; ``raw``: its bytes, or None to leave them out."""

    name: str
    datatype: str
    shape: Sequence[int]
    raw: bytes | None


@dataclass(frozen=True)
class Answer:
    """``status``: gRPC's name of it; ``probabilities``: float32 [rows, labels] if it is OK."""

    status: str
    message: str = ""
    probabilities: NDArray[np.float32] | None = None


def string_tensor(name: str, *values: bytes) -> Tensor:
    """Return an input of strings, one a row."""
    raw = b"".join(struct.pack("<I", len(value)) + value for value in values)
    return Tensor(name, "BYTES", (len(values), 1), raw)


def utterance(audio: bytes | None = None, text: bytes | None = None) -> Any:
    """Return a well-formed request to classify one utterance."""
    inputs = ((AUDIO_INPUT.name, audio), (TEXT_INPUT.name, text))
    return request(
        ENTRY_MODEL, [string_tensor(name, value) for name, value in inputs if value is not None]
    )


def request(
    model: str, inputs: Sequence[Tensor], parameters: Mapping[str, bool | int | str] | None = None
) -> Any:
    """Return a request with just these inputs and parameters, sensible or not."""
    message = service_pb2.ModelInferRequest(model_name=model)
    for tensor in inputs:
        message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.raw is not None:
            message.raw_input_contents.append(tensor.raw)
    for name, value in (parameters or {}).items():
        if isinstance(value, bool):
            message.parameters[name].bool_param = value
        elif isinstance(value, int):
            message.parameters[name].int64_param = value
        else:
            message.parameters[name].string_param = value
    return message


class Wire:
    """A gRPC connection; for any threads."""

    def __init__(self, address: str) -> None:
        options = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_metadata_size", 2**20),  # errors repeat the names that they are about
            ("grpc.absolute_max_metadata_size", 2**20),
        ]
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._channel.close()

    def ask(self, message: Any) -> Answer:
        """Send a request and return what came back, errors included."""
        try:
            reply = self._stub.ModelInfer(message, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return Answer(error.code().name, error.details() or "")
        for output, raw in zip(reply.outputs, reply.raw_output_contents, strict=True):
            if output.name == PROBABILITIES_OUTPUT.name and output.datatype == "FP32":
                values = np.frombuffer(raw, np.float32).reshape(output.shape)
                return Answer("OK", probabilities=values)
        return Answer("OK")
