"""Both clients, when the server gets another bundle between two requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hemogat.errors import InputError, ServerError
from hemogat.serving.async_client import AsyncClient
from hemogat.serving.client import Client

OLD = ("angry", "calm", "sad")
ANOTHER_ORDER = ("calm", "angry", "sad")
ONE_MORE = ("angry", "calm", "sad", "afraid")
REFUSED = "serves another bundle now; ask again"
SECOND = np.zeros(16_000, np.float32)


class Answer:
    """An answer of one row, whose first label is the most likely."""

    def __init__(self, labels: Sequence[str]) -> None:
        likely = np.linspace(1, 0, len(labels), dtype=np.float32)
        self._outputs: dict[str, NDArray[Any]] = {
            "LABEL": np.array([[labels[0].encode()]], np.object_),
            "PROBABILITIES": likely[None],
            "MODALITIES": np.array([[b"audio"]], np.object_),
            "WINDOWS": np.array([[1]]),
        }

    def as_numpy(self, name: str) -> NDArray[Any] | None:
        return self._outputs.get(name)


class Server:
    """What tritonclient's client of a server would be; its bundle is one of some labels."""

    def __init__(self) -> None:
        self.labels: tuple[str, ...] = OLD

    def get_model_config(self, model: str, **options: object) -> dict[str, Any]:
        told = {"labels": json.dumps(self.labels), "bundle_sums": "0" * 64}
        parameters = {key: {"string_value": value} for key, value in told.items()}
        return {"config": {"max_batch_size": 16, "parameters": parameters}}

    def infer(self, model: str, tensors: list[Any], **options: object) -> Answer:
        return Answer(self.labels)

    def close(self) -> None:
        """Do nothing."""


class AsyncServer:
    """The same for asyncio."""

    def __init__(self) -> None:
        self.behind = Server()

    async def get_model_config(self, model: str, **options: object) -> dict[str, Any]:
        return self.behind.get_model_config(model)

    async def infer(self, model: str, tensors: list[Any], **options: object) -> Answer:
        return self.behind.infer(model, tensors)

    async def close(self) -> None:
        """Do nothing."""


def client_of(server: Server, monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr("hemogat.serving.endpoint.Endpoint.connect", lambda *_, **options: server)
    return Client()


@pytest.mark.parametrize("now", [ANOTHER_ORDER, ONE_MORE])
def test_no_probability_gets_another_bundles_label(
    now: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    with client_of(server, monkeypatch) as client:
        assert tuple(client.predict(text="stop").probabilities) == OLD
        server.labels = now
        with pytest.raises(ServerError, match=REFUSED):
            client.predict(text="stop")
        assert tuple(client.predict(text="stop").probabilities) == now


@pytest.mark.parametrize("now", [ANOTHER_ORDER, ONE_MORE])
def test_nor_with_asyncio(now: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    server = AsyncServer()
    client_of(server, monkeypatch)  # type: ignore[arg-type]

    async def ask() -> None:
        async with AsyncClient() as client:
            assert tuple((await client.predict(text="stop")).probabilities) == OLD
            server.behind.labels = now
            with pytest.raises(ServerError, match=REFUSED):
                await client.predict(text="stop")
            assert tuple((await client.predict(text="stop")).probabilities) == now

    asyncio.run(ask())


def test_a_stream_ends_with_its_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    with client_of(server, monkeypatch) as client:
        with client.stream() as stream:
            first = stream.send(SECOND)
            assert first is not None
            assert first.label == OLD[0]
            server.labels = ANOTHER_ORDER
            with pytest.raises(ServerError, match=REFUSED):
                stream.send(SECOND)
            with pytest.raises(InputError, match="has ended"):
                stream.send(SECOND)
        with client.stream() as stream:
            assert tuple(stream.finish().probabilities) == ANOTHER_ORDER


def test_a_stream_ends_with_its_bundle_with_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    server = AsyncServer()
    client_of(server, monkeypatch)  # type: ignore[arg-type]

    async def ask() -> None:
        async with AsyncClient() as client, client.stream() as stream:
            await stream.send(SECOND)
            server.behind.labels = ANOTHER_ORDER
            with pytest.raises(ServerError, match=REFUSED):
                await stream.send(SECOND)
            with pytest.raises(InputError, match="has ended"):
                await stream.send(SECOND)

    asyncio.run(ask())


def test_a_model_of_somebody_else_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Foreign(Server):
        def get_model_config(self, model: str, **options: object) -> dict[str, Any]:
            return {"config": {"name": model}}

    with (
        client_of(Foreign(), monkeypatch) as client,
        pytest.raises(ServerError, match=r"127\.0\.0\.1:8001: its model hemogat is no hemogat"),
    ):
        client.predict(text="stop")
