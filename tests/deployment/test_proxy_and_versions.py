"""Two bundle versions side by side, a switch and a rollback; alone, and behind the proxy."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from hemogat.errors import ServerError
from hemogat.runtime.bundle import write_sums
from hemogat.serving.async_client import AsyncClient
from hemogat.serving.client import Client
from hemogat.serving.repository import write_repository
from hemogat.serving.server import TritonServer
from hemogat.serving.settings import RepositorySettings

USER, PASSWORD = "tests", "only for tests"  # as the proxy's stand has it


@pytest.fixture(scope="module")
def next_server(
    tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """Return a server of a second version of the bundle, which gives the labels other names."""
    folder = tmp_path_factory.mktemp("next")
    bundle = shutil.copytree(tiny_bundle, folder / "bundle")
    facts = json.loads((bundle / "bundle.json").read_text())
    facts["labels"] = [f"{label} (2)" for label in facts["labels"]]
    (bundle / "bundle.json").write_text(json.dumps(facts))
    write_sums(bundle)
    models = write_repository(bundle, folder / "models", RepositorySettings(threads=1))
    with TritonServer(models, ready_timeout_s=240) as running:
        yield running


def label(url: str) -> str:
    with Client(url) as client:
        return client.predict(text="stop that right now").label


def test_each_version_answers_as_its_own_bundle(
    server: TritonServer, next_server: TritonServer
) -> None:
    first, second = label(server.grpc_url), label(next_server.grpc_url)
    assert second == f"{first} (2)"
    assert label(server.grpc_url) == first


@pytest.fixture(scope="module")
def proxy(new_proxy: Callable[..., Any], server: TritonServer) -> Any:
    return new_proxy(server.http_url, server.grpc_url)


def test_the_proxy_lets_in_who_is_known(proxy: Any) -> None:
    assert proxy.infer("stop that")
    assert proxy.is_ready_over_grpc()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        proxy.infer("stop that", password="wrong")
    with pytest.raises(InferenceServerException, match=r"(?i)unauthenticated|401"):
        proxy.is_ready_over_grpc(password="wrong")


@pytest.mark.parametrize("scheme", ["grpcs", "https"])
def test_our_clients_log_in(
    proxy: Any, server: TritonServer, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("HEMOGAT_PASSWORD", PASSWORD)
    monkeypatch.setenv("HEMOGAT_CA_CERTIFICATE", str(proxy.certificate))
    url, expected = f"{scheme}://{USER}@127.0.0.1:{proxy.port}", label(server.grpc_url)
    assert label(url) == expected

    async def ask() -> str:
        async with AsyncClient(url) as client:
            return (await client.predict(text="stop that right now")).label

    assert asyncio.run(ask()) == expected
    monkeypatch.setenv("HEMOGAT_PASSWORD", "wrong")
    with pytest.raises(ServerError, match=r"HEMOGAT_PASSWORD"):
        label(url)


def test_the_proxy_holds_back_what_clients_do_not_need(proxy: Any) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        proxy.infer("stop that", model="hemogat_text_encoder")
    with pytest.raises(urllib.error.HTTPError, match="413"):
        proxy.infer("x" * (66 << 20))


def test_switch_and_rollback(proxy: Any, server: TritonServer, next_server: TritonServer) -> None:
    text = "stop that right now"
    first = proxy.infer(text)
    for chosen, expected in ((next_server, f"{first} (2)"), (server, first)):
        proxy.point_at(chosen.http_url, chosen.grpc_url)
        proxy.run("-s", "reload")
        deadline = time.monotonic() + 30  # the old workers answer until they have all been told
        while (answers := [proxy.infer(text) for _ in range(5)]) != [expected] * 5:
            assert set(answers) <= {first, f"{first} (2)"}
            assert time.monotonic() < deadline, answers
            time.sleep(0.1)
        assert [proxy.infer(text) for _ in range(20)] == [expected] * 20
