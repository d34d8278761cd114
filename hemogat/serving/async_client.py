"""The client for programs that wait for many answers at once (asyncio), over gRPC or HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
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
from hemogat.serving.model_facts import FactsKeeper, ModelFacts
from hemogat.serving.predictions import (
    ServedPrediction,
    StreamPrediction,
    read_predictions,
    read_stream_prediction,
)


class AsyncClient(FactsKeeper):
    """Talks to one server; calls may run concurrently on one event loop.

    Make it inside the running loop, and use it as an asynchronous context manager.

    Args:
        url: as for :class:`hemogat.serving.client.Client`, and so are the others.
        protocol: "grpc" or "http".
        timeout_s: how long to wait for an answer, retries included.
        retries: how often to ask again when the server cannot be reached, is overloaded or late.

    Raises:
        InputError: ``url`` is not of a known form.
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
        self._client = self._endpoint.connect(timeout_s, aio=True)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ready(self) -> bool:
        """Say whether the server answers and its model is ready."""
        try:
            with self._endpoint.errors():
                return bool(await self._once("is_model_ready", contract.ENTRY_MODEL))
        except ServerError:
            return False

    async def predict(
        self, audio: Audio | None = None, text: str | None = None, *, name: str | None = None
    ) -> ServedPrediction:
        """Classify one utterance; arguments and errors as for :meth:`Client.predict`.

        ``name`` stands for it in errors.
        """
        utterance = Utterances.of([audio], [text])
        return (await self._predict(replace(utterance, names=[name]) if name else utterance))[0]

    async def predict_many(
        self, audio: Sequence[Audio | None], text: Sequence[str | None] | None = None
    ) -> list[ServedPrediction]:
        """Classify several utterances, one request after the other, as :class:`Client` does."""
        return await self._predict(Utterances.of(audio, text))

    def stream(
        self, rate_hz: int = contract.SAMPLE_RATE_HZ, text: str | None = None
    ) -> AsyncStream:
        """Open a stream: one utterance, sent while it is spoken; as :meth:`Client.stream`."""
        return AsyncStream(self, rate_hz, text)

    async def _predict(self, utterances: Utterances) -> list[ServedPrediction]:
        facts = await self.model_facts()
        predictions: list[ServedPrediction] = []
        for part in utterances.parts(facts.max_batch_size):
            tensors = part.tensors(self._library, facts.max_audio_bytes)
            answer = await self._call("infer", contract.ENTRY_MODEL, tensors, names=part.names)
            predictions += self._read(read_predictions, answer, facts.labels)
        return predictions

    async def model_facts(self, *, anew: bool = False) -> ModelFacts:
        """Return the served model's labels and limits, and the hash of its bundle.

        Args:
            anew: ask the server even where the answer is known, as it may have changed since.

        Raises:
            ServerError: the server cannot be reached, or its model is not one that this client
                knows.
        """
        if self._facts is None or anew:
            options: dict[str, Any] = {"as_json": True} if self._is_grpc else {}
            answer = await self._call("get_model_config", contract.ENTRY_MODEL, **options)
            self._facts = ModelFacts.from_answer(answer, self._endpoint.address)
        return self._facts

    async def _call(
        self, what: str, *arguments: Any, names: Sequence[str] = (), **options: Any
    ) -> Any:
        started_s = time.monotonic()
        async for attempt in retry_policy("AsyncRetrying", self._retries, self._timeout_s):
            with attempt, self._endpoint.errors(names):
                spent_s = time.monotonic() - started_s
                return await self._once(what, *arguments, spent_s=spent_s, **options)

    async def _once(self, what: str, *arguments: Any, spent_s: float = 0.0, **options: Any) -> Any:
        """Ask without retries, in the time that is left."""
        left_s = max(self._timeout_s - spent_s, 1e-6)
        call = getattr(self._client, what)
        if self._is_grpc:
            return await call(*arguments, client_timeout=left_s, **options)
        try:
            return await asyncio.wait_for(call(*arguments, **options), left_s)
        except asyncio.TimeoutError as error:
            raise TimeoutError from error  # in Python 3.10 they are two


class AsyncStream:
    """One utterance in pieces; leaving the ``async with`` block early gives it up.

    Its requests go one after the other; as many streams as wanted run at once. What the server
    refuses is not sent again: half a stream is of no use.
    """

    def __init__(self, client: AsyncClient, rate_hz: int, text: str | None) -> None:
        self._client = client
        self._requests = StreamRequests(client._library, rate_hz, text)

    async def __aenter__(self) -> AsyncStream:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._requests.close()

    async def send(
        self, samples: NDArray[np.float32] | NDArray[np.int16], text: str | None = None
    ) -> StreamPrediction | None:
        """Send the next samples; arguments, answer and errors as for ``Stream.send``."""
        return await self._send(samples, text, end=False)

    async def finish(self, text: str | None = None) -> StreamPrediction:
        """End the stream; answer and errors as for ``Stream.finish``."""
        return last_answer(await self._send(None, text, end=True))

    async def _send(
        self, samples: NDArray[Any] | None, text: str | None, *, end: bool
    ) -> StreamPrediction | None:
        tensors, place = self._requests.next(samples, text, end=end)
        client = self._client
        labels = (await client.model_facts()).labels
        with client._endpoint.errors():
            result = await client._once("infer", contract.STREAM_MODEL, tensors, **place)
        answer = client._read(read_stream_prediction, result, labels)
        if not end:
            self._requests.answered()
        return answer
