"""A client of the served model, over gRPC or HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from hemogat import contract
from hemogat.errors import InputError, ServerError
from hemogat.optional import require
from hemogat.serving.predictions import ServedNeighbour, ServedPrediction, read_predictions
from hemogat.serving.settings import EntryParameters

__all__ = ["Client", "ModelStatistics", "Protocol", "ServedNeighbour", "ServedPrediction"]

Protocol = Literal["grpc", "http"]
Audio = str | os.PathLike[str] | bytes

DEFAULT_URLS: dict[Protocol, str] = {"grpc": "127.0.0.1:8001", "http": "127.0.0.1:8000"}
_BAD_REQUEST = frozenset({"StatusCode.INVALID_ARGUMENT", "400"})


@dataclass(frozen=True)
class ModelStatistics:
    """What the server has counted for one model since it started.

    ``total_ms``: from arrival to answer, queue included, summed over the successful ``requests``.
    """

    requests: int
    total_ms: float


@dataclass(frozen=True)
class _ModelFacts:
    labels: tuple[str, ...]
    max_batch_size: int


class Client:
    """Talks to one server; not to be shared between threads.

    Args:
        url: ``host:port``; default: the protocol's usual port on this machine.
        protocol: "grpc" or "http".
        timeout_s: how long to wait for an answer.

    Raises:
        IncompleteError: tritonclient is not installed.
    """

    def __init__(
        self, url: str | None = None, protocol: Protocol = "grpc", *, timeout_s: float = 60.0
    ) -> None:
        self._url = url or DEFAULT_URLS[protocol]
        self._triton = require(f"tritonclient.{protocol}", extra="serve")
        self._exception = require("tritonclient.utils", extra="serve").InferenceServerException
        options = _grpc_options(self._url) if protocol == "grpc" else _http_options(timeout_s)
        self._client = self._triton.InferenceServerClient(self._url, **options)
        # Over HTTP the time limit belongs to the connection, over gRPC to each call.
        self._limit = {"client_timeout": timeout_s} if protocol == "grpc" else {}
        # Over HTTP metadata is a dict anyway.
        self._json = {"as_json": True} if protocol == "grpc" else {}
        self._facts: _ModelFacts | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ready(self) -> bool:
        """Say whether the server answers and its model is ready."""
        try:
            with self._errors():
                return bool(self._client.is_model_ready(contract.ENTRY_MODEL, **self._limit))
        except ServerError:
            return False

    def server_version(self) -> str:
        """Return the version that the server reports.

        Raises:
            ServerError: it cannot be reached.
        """
        with self._errors():
            metadata = self._client.get_server_metadata(**self._json, **self._limit)
        return str(metadata["version"])

    def statistics(self) -> dict[str, ModelStatistics]:
        """Return the server's own statistics, by model.

        Raises:
            ServerError: it cannot be reached.
        """
        with self._errors():
            answer = self._client.get_inference_statistics(**self._json, **self._limit)
        successes = {m["name"]: m["inference_stats"]["success"] for m in answer["model_stats"]}
        return {  # gRPC leaves zeros out and writes numbers as strings
            model: ModelStatistics(int(found.get("count", 0)), int(found.get("ns", 0)) / 1e6)
            for model, found in successes.items()
        }

    def predict(self, audio: Audio | None = None, text: str | None = None) -> ServedPrediction:
        """Classify one utterance.

        Args:
            audio: path of an audio file, or its whole content.
            text: what was said.

        Raises:
            InputError: the server cannot use the input, or there is none; says why.
            ServerError: the server cannot be reached, is too slow, or failed.
        """
        return self.predict_many([audio], [text])[0]

    def predict_many(
        self, audio: Sequence[Audio | None], text: Sequence[str | None] | None = None
    ) -> list[ServedPrediction]:
        """Classify several utterances, as many to a request as the server takes.

        Args:
            audio: one entry for each utterance.
            text: the same; default: none has text.

        Raises:
            InputError: one of them cannot be used; names it.
            ServerError: as for :meth:`predict`.
        """
        texts = [None] * len(audio) if text is None else text
        if len(texts) != len(audio):
            raise InputError(
                f"expected as many texts as audio inputs ({len(audio)}), found {len(texts)}"
            )
        names = [_name(source, number) for number, source in enumerate(audio)]
        facts = self._model_facts()
        predictions: list[ServedPrediction] = []
        for start in range(0, len(audio), facts.max_batch_size):
            rows = slice(start, start + facts.max_batch_size)
            result = self._infer(audio[rows], texts[rows], names[rows])
            predictions += read_predictions(result, facts.labels)
        return predictions

    def _infer(
        self, audio: Sequence[Audio | None], texts: Sequence[str | None], names: Sequence[str]
    ) -> Any:
        columns = {
            contract.AUDIO_INPUT.name: [_read(*pair) for pair in zip(audio, names, strict=True)],
            # A lone surrogate has no UTF-8; passed through, the server refuses it by name.
            contract.TEXT_INPUT.name: [(t or "").encode(errors="surrogatepass") for t in texts],
        }
        for name, *inputs in zip(names, *columns.values(), strict=True):
            if not any(inputs):
                raise InputError(f"{name}: has neither audio nor text; give at least one")
        # The server takes an empty row as absent; an input that all rows lack is not sent.
        tensors = [self._tensor(name, rows) for name, rows in columns.items() if any(rows)]
        with self._errors(names):
            return self._client.infer(contract.ENTRY_MODEL, tensors, **self._limit)

    def _tensor(self, name: str, rows: list[bytes]) -> Any:
        tensor = self._triton.InferInput(name, [len(rows), 1], "BYTES")
        tensor.set_data_from_numpy(np.array(rows, dtype=np.object_)[:, None])
        return tensor

    def _model_facts(self) -> _ModelFacts:
        if self._facts is None:
            with self._errors():
                config = self._client.get_model_config(
                    contract.ENTRY_MODEL, **self._json, **self._limit
                )
            config = config.get("config", config)  # gRPC wraps it, HTTP does not
            self._facts = _ModelFacts(
                EntryParameters.from_model_config(config).labels, int(config["max_batch_size"])
            )
        return self._facts

    @contextmanager
    def _errors(self, names: Sequence[str] = ()) -> Iterator[None]:
        """Turn the library's errors into ours, and "row 3" into what the caller named it."""
        try:
            yield
        except self._exception as error:
            message = " ".join(str(error.message()).split())
            if error.status() in _BAD_REQUEST:
                raise InputError(_rename_row(message, names)) from error
            raise ServerError(f"Triton server at {self._url}: {message}") from error
        except OSError as error:  # the HTTP library's; gRPC's errors have a status
            raise ServerError(
                f"Triton server at {self._url}: no answer ({error}); is it running there?"
            ) from error


def _http_options(timeout_s: float) -> dict[str, Any]:
    return {"connection_timeout": timeout_s, "network_timeout": timeout_s}


def _grpc_options(url: str) -> dict[str, Any]:
    if url.rpartition(":")[0] not in ("127.0.0.1", "localhost"):
        return {}
    # gRPC would ask the proxy that the environment may name even for this machine.
    unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
    return {"channel_args": [*unlimited, ("grpc.enable_http_proxy", 0)]}


def _name(source: Audio | None, number: int) -> str:
    if source is None or isinstance(source, bytes):
        return f"utterance {number}"
    return os.fspath(source)


def _read(source: Audio | None, name: str) -> bytes:
    if source is None:
        return b""
    try:
        audio = source if isinstance(source, bytes) else Path(source).read_bytes()
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror})") from error
    if not audio:
        raise InputError(f"{name}: is empty (0 bytes); expected an audio file")
    return audio


def _rename_row(message: str, names: Sequence[str]) -> str:
    def name(match: re.Match[str]) -> str:
        row = int(match[2])
        return match[1] + names[row] if row < len(names) else match[0]

    return re.sub(r"^(text of |)row (\d+)\b", name, message)
