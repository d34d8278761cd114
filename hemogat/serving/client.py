"""A client of the served model, over gRPC or HTTP."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hemogat import contract
from hemogat.errors import ServerError
from hemogat.optional import require
from hemogat.serving.client_requests import (
    Audio,
    StreamRequests,
    Utterances,
    last_answer,
)
from hemogat.serving.endpoint import Endpoint, Protocol, retry_policy
from hemogat.serving.model_facts import FactsKeeper, ModelFacts, ModelStatistics
from hemogat.serving.predictions import (
    ServedNeighbour,
    ServedPrediction,
    StreamPrediction,
    read_predictions,
    read_stream_prediction,
)

__all__ = ["Client", "ModelStatistics", "Protocol", "ServedNeighbour", "ServedPrediction"]


class Client(FactsKeeper):
    """Talks to one server; not to be shared between threads.

    Args:
        url: ``host:port`` or ``grpc|grpcs|http|https://[user@]host:port``; default: the protocol's
            usual port on this machine. A user's password is in the environment variable
            ``HEMOGAT_PASSWORD``; ``HEMOGAT_CA_CERTIFICATE`` may name certificates to trust.
        protocol: "grpc" or "http"; default: what the URL says, else gRPC.
        timeout_s: how long to wait for an answer, retries included.
        retries: how often to ask again, at growing intervals, when the server cannot be reached,
            is overloaded, or its answer is late (for something before it, such as a proxy). An
            attempt gets what is left of ``timeout_s``, and none begins after it.

    Raises:
        InputError: ``url`` is not of such a form, or the password is missing.
        IncompleteError: tritonclient is not installed.
    """

    def __init__(
        self,
        url: str | None = None,
        protocol: Protocol | None = None,
        *,
        timeout_s: float = 60.0,
        retries: int = 3,
    ) -> None:
        self._endpoint = Endpoint.parse(url, protocol)
        self._is_grpc = self._endpoint.protocol == "grpc"
        self._library = require(f"tritonclient.{self._endpoint.protocol}", extra="serve")
        self._timeout_s = timeout_s
        self._retries = retries
        self._client = self._endpoint.connect(timeout_s)

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
            with self._endpoint.errors():
                return bool(self._once("is_model_ready", contract.ENTRY_MODEL))
        except ServerError:
            return False

    def server_version(self) -> str:
        """Return the version that the server reports.

        Raises:
            ServerError: it cannot be reached.
        """
        return str(self._ask("get_server_metadata")["version"])

    def statistics(self) -> dict[str, ModelStatistics]:
        """Return the server's own statistics, by model.

        Raises:
            ServerError: it cannot be reached.
        """
        answer = self._ask("get_inference_statistics")
        return {m["name"]: ModelStatistics.from_answer(m) for m in answer["model_stats"]}

    def predict(self, audio: Audio | None = None, text: str | None = None) -> ServedPrediction:
        """Classify one utterance.

        Args:
            audio: path of an audio file, or its whole content.
            text: what was said.

        Raises:
            InputError: the server cannot use the input, or there is none; says why.
            UnavailableError: the server cannot be reached, stayed overloaded, or did not
                answer in time.
            ServerError: the server failed, or it serves other labels than when it was asked for
                them; the next call asks for them again.
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
        utterances = Utterances.of(audio, text)
        facts = self.model_facts()
        predictions: list[ServedPrediction] = []
        for part in utterances.parts(facts.max_batch_size):
            tensors = part.tensors(self._library, facts.max_audio_bytes)
            answer = self._call("infer", contract.ENTRY_MODEL, tensors, names=part.names)
            predictions += self._read(read_predictions, answer, facts.labels)
        return predictions

    def stream(self, rate_hz: int = contract.SAMPLE_RATE_HZ, text: str | None = None) -> Stream:
        """Open a stream: one utterance, sent while it is spoken.

        Args:
            rate_hz: of the samples that will be sent.
            text: what is said, if it is known beforehand.

        Raises:
            ServerError: the server cannot be reached.
        """
        return Stream(self, rate_hz, text)

    def _ask(self, question: str, *arguments: str) -> Any:
        # Over HTTP it is JSON anyway.
        as_json: dict[str, Any] = {"as_json": True} if self._is_grpc else {}
        return self._call(question, *arguments, **as_json)

    def _call(self, what: str, *arguments: Any, names: Sequence[str] = (), **options: Any) -> Any:
        started_s = time.monotonic()
        for attempt in retry_policy("Retrying", self._retries, self._timeout_s):
            with attempt, self._endpoint.errors(names):
                spent_s = time.monotonic() - started_s
                return self._once(what, *arguments, spent_s=spent_s, **options)
        raise AssertionError("tenacity raises what the last attempt did")

    def _once(self, what: str, *arguments: Any, spent_s: float = 0.0, **options: Any) -> Any:
        """Ask without retries, in the time that is left."""
        left_s = max(self._timeout_s - spent_s, 1e-6)
        if self._is_grpc:
            options["client_timeout"] = left_s
        with self._endpoint.time_limit(left_s):
            return getattr(self._client, what)(*arguments, **options)

    def model_config(self, model: str = contract.ENTRY_MODEL) -> Mapping[str, Any]:
        """Return a model's configuration as the server has it.

        Raises:
            ServerError: the server cannot be reached, or has no such model.
        """
        answer: Mapping[str, Any] = self._ask("get_model_config", model)
        found: Mapping[str, Any] = answer.get("config", answer)  # gRPC wraps it, HTTP does not
        return found

    def model_facts(self) -> ModelFacts:
        """Return the served model's labels and limits, and the hash of its bundle.

        Raises:
            ServerError: the server cannot be reached, or its model is not one that this client
                knows.
        """
        if self._facts is None:
            answer = self._ask("get_model_config", contract.ENTRY_MODEL)
            self._facts = ModelFacts.from_answer(answer, self._endpoint.address)
        return self._facts


class Stream:
    """One utterance in pieces; leaving the ``with`` block early gives it up.

    >>> with client.stream(rate_hz=16_000) as stream:
    ...     for samples in microphone:
    ...         print(stream.send(samples))
    ...     print(stream.finish().label)
    """

    def __init__(self, client: Client, rate_hz: int, text: str | None) -> None:
        self._client = client
        self._labels = client.model_facts().labels
        self._requests = StreamRequests(client._library, rate_hz, text)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._requests.close()

    def send(
        self, samples: NDArray[np.float32] | NDArray[np.int16], text: str | None = None
    ) -> StreamPrediction | None:
        """Send the next samples, mono [n] of any n; return the emotion so far, if there is one.

        Args:
            samples: float (full scale 1) or int16.
            text: what has been said so far, replacing what was sent before; an empty or blank one
                replaces nothing.

        Raises:
            InputError: the samples cannot be used; the stream has ended.
            ServerError: the server cannot be reached or failed; the stream has ended.
        """
        return self._send(samples, text, end=False)

    def finish(self, text: str | None = None) -> StreamPrediction:
        """End the stream; return the emotion of the whole, as for a file of these samples.

        Raises:
            InputError: the stream was too short.
            ServerError: as for :meth:`send`.
        """
        return last_answer(self._send(None, text, end=True))

    def _send(
        self, samples: NDArray[Any] | None, text: str | None, *, end: bool
    ) -> StreamPrediction | None:
        tensors, place = self._requests.next(samples, text, end=end)
        client = self._client
        with client._endpoint.errors():
            result = client._once("infer", contract.STREAM_MODEL, tensors, **place)
        answer = client._read(read_stream_prediction, result, self._labels)
        if not end:
            self._requests.answered()
        return answer
