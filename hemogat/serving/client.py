"""A client of the served model, over gRPC or HTTP."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.contract import Modality
from hemogat.errors import InputError, ServerError
from hemogat.optional import require
from hemogat.serving.settings import EntryParameters

Protocol = Literal["grpc", "http"]
Audio = str | os.PathLike[str] | bytes

DEFAULT_URLS: dict[Protocol, str] = {"grpc": "127.0.0.1:8001", "http": "127.0.0.1:8000"}
_BAD_REQUEST = frozenset({"StatusCode.INVALID_ARGUMENT", "400"})


@dataclass(frozen=True)
class ServedNeighbour:
    """One bank row that the utterance was linked to, and the cosine that linked it."""

    row: int
    similarity: float


@dataclass(frozen=True)
class ServedPrediction:
    """The emotion of one utterance, as the server answered.

    ``probabilities`` has every label, in the model's order; ``modalities`` names the inputs that
    were used; ``neighbours`` is empty unless the repository was generated to explain.
    """

    label: str
    probabilities: dict[str, float]
    modalities: tuple[Modality, ...]
    neighbours: tuple[ServedNeighbour, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists and numbers, ready for JSON."""
        return asdict(self)


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
        self._protocol = protocol
        self._timeout_s = timeout_s
        self._triton = require(f"tritonclient.{protocol}", extra="serve")
        self._exception = require("tritonclient.utils", extra="serve").InferenceServerException
        timeouts = {"connection_timeout": timeout_s, "network_timeout": timeout_s}
        self._client = self._triton.InferenceServerClient(
            self._url, **(timeouts if protocol == "http" else {})
        )
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
        facts = self._model_facts()
        predictions: list[ServedPrediction] = []
        for start in range(0, len(audio), facts.max_batch_size):
            rows = slice(start, start + facts.max_batch_size)
            predictions += self._request(audio[rows], texts[rows], facts.labels)
        return predictions

    def _request(
        self, audio: Sequence[Audio | None], texts: Sequence[str | None], labels: Sequence[str]
    ) -> list[ServedPrediction]:
        names = [_name(source, row) for row, source in enumerate(audio)]
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
            result = self._client.infer(contract.ENTRY_MODEL, tensors, **self._limit)
        return _predictions(result, labels)

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


def _name(source: Audio | None, row: int) -> str:
    if source is None or isinstance(source, bytes):
        return f"utterance {row}"
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


def _predictions(result: Any, labels: Sequence[str]) -> list[ServedPrediction]:
    answered = result.as_numpy(contract.LABEL_OUTPUT.name)[:, 0]
    probabilities = result.as_numpy(contract.PROBABILITIES_OUTPUT.name)
    modalities = result.as_numpy(contract.MODALITIES_OUTPUT.name)[:, 0]
    neighbours = result.as_numpy(contract.NEIGHBOURS_OUTPUT.name)
    similarities = result.as_numpy(contract.SIMILARITIES_OUTPUT.name)
    return [
        ServedPrediction(
            label=answered[row].decode(),
            probabilities=dict(zip(labels, probabilities[row].tolist(), strict=True)),
            modalities=tuple(modalities[row].decode().split(",")),
            neighbours=()
            if neighbours is None
            else _neighbours(neighbours[row], similarities[row]),
        )
        for row in range(len(answered))
    ]


def _neighbours(
    rows: NDArray[np.int64], similarities: NDArray[np.float32]
) -> tuple[ServedNeighbour, ...]:
    return tuple(
        ServedNeighbour(int(row), float(similarity))
        for row, similarity in zip(rows, similarities, strict=True)
        if row >= 0
    )
