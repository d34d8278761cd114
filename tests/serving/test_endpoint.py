from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import grpc
import pytest
from tritonclient.utils import InferenceServerException

from hemogat.errors import InputError, ServerError, UnavailableError
from hemogat.serving.async_client import AsyncClient
from hemogat.serving.client import Client
from hemogat.serving.endpoint import Endpoint


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, Endpoint("grpc", "127.0.0.1:8001")),
        ("host:9", Endpoint("grpc", "host:9")),
        ("http://host:9", Endpoint("http", "host:9")),
        ("grpcs://host:9/", Endpoint("grpc", "host:9", tls=True)),
        ("https://ann@host:9", Endpoint("http", "host:9", True, "ann", "secret")),
    ],
)
def test_urls(url: str | None, expected: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEMOGAT_PASSWORD", "secret")
    monkeypatch.delenv("HEMOGAT_CA_CERTIFICATE", raising=False)
    assert Endpoint.parse(url) == expected


def test_no_password_is_shown_or_sent_in_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEMOGAT_PASSWORD", "secret")
    assert "secret" not in repr(Endpoint.parse("grpcs://ann@host:9"))
    with pytest.raises(InputError, match="everybody can read; use https://ann@host:9"):
        Endpoint.parse("http://ann@host:9")
    with pytest.raises(InputError, match="belongs into HEMOGAT_PASSWORD") as refused:
        Endpoint.parse("https://ann:hidden@host:9")
    assert "hidden" not in str(refused.value)
    with pytest.raises(InputError, match=r"^https://host:99999: expected") as refused:
        Endpoint.parse("https://ann:hidden@host:99999")
    assert refused.value.__cause__ is None
    monkeypatch.delenv("HEMOGAT_PASSWORD")
    with pytest.raises(InputError, match="expected the password of ann in HEMOGAT_PASSWORD"):
        Endpoint.parse("https://ann@host:9")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host:9",
        "http://",
        "http://host:9/path",
        "://host:9",
        "grpc://[::1",
        "grpc://host:99999",
        "http://host:nine",
        "host:nine",
        "[::1",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"expected host:port or grpc\|grpcs\|http\|https"):
        Endpoint.parse(url)


@pytest.mark.parametrize("url", ["grpcs://host:9", "https://host:9"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_are_none_are_named(
    url: str, content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("HEMOGAT_CA_CERTIFICATE", str(path))
    with pytest.raises(InputError, match=r"ca\.crt: expected certificates \(PEM\)"):
        Endpoint.parse(url).connect(1.0)


class _Proxy(BaseHTTPRequestHandler):
    """Answers as a proxy does that does not let a request through: with a page."""

    answers: ClassVar[list[int]] = []

    def do_GET(self) -> None:
        code = self.answers.pop(0)
        page = f"<html><title>{code}</title></html>".encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def proxy() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("aio", [False, True])
@pytest.mark.parametrize(
    ("code", "kind", "message", "asked"),
    [
        (429, UnavailableError, "a proxy before it answered HTTP 429 Too Many Requests", 3),
        (502, UnavailableError, "answered HTTP 502 Bad Gateway", 3),
        (503, UnavailableError, "answered HTTP 503 Service Unavailable", 3),
        (504, UnavailableError, "answered HTTP 504 Gateway Timeout", 3),
        (413, InputError, r"request: is larger than .* \(HTTP 413\)", 1),
        (418, ServerError, "answered HTTP 418", 1),
        (599, ServerError, "answered HTTP 599", 1),
    ],
)
def test_what_a_proxy_says_is_understood(
    proxy: str, code: int, kind: type[Exception], message: str, asked: int, aio: bool
) -> None:
    async def ask_async() -> None:
        async with AsyncClient(proxy, retries=2) as client:
            await client.model_facts()

    def ask() -> None:
        with Client(proxy, retries=2) as client:
            client.model_facts()

    _Proxy.answers = [code] * 4
    with pytest.raises(kind, match=message) as caught:
        asyncio.run(ask_async()) if aio else ask()
    assert type(caught.value) is kind
    assert "<html>" not in str(caught.value)
    assert len(_Proxy.answers) == 4 - asked


@pytest.mark.parametrize(
    ("url", "late"),
    [
        (
            "host:9",
            InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED"),
        ),
        ("http://host:9", TimeoutError()),
    ],
)
def test_a_deadline_says_what_it_is(url: str, late: Exception) -> None:
    """Over either protocol the same request may be answered later."""
    with (
        pytest.raises(UnavailableError, match=r"did not answer in the time .*timeout_s"),
        Endpoint.parse(url).errors(),
    ):
        raise late


def predict(url: str, timeout_s: float, *, aio: bool) -> None:
    async def ask() -> None:
        async with AsyncClient(url, timeout_s=timeout_s) as client:
            await client.predict(text="hello")

    if aio:
        asyncio.run(ask())
        return
    with Client(url, timeout_s=timeout_s) as client:
        client.predict(text="hello")


@pytest.mark.parametrize("aio", [False, True])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_server_that_says_nothing_is_waited_for_once(protocol: str, aio: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{protocol}://127.0.0.1:{silent.getsockname()[1]}"
        started_s = time.monotonic()
        with pytest.raises(UnavailableError, match="did not answer in the time"):
            predict(url, 0.5, aio=aio)
        assert 0.4 < time.monotonic() - started_s < 5


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_is_served_is_waited_for_as_long(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{protocol}://127.0.0.1:{silent.getsockname()[1]}"
        with (
            Client(url, timeout_s=0.5) as client,
            pytest.raises(ServerError, match=r"did not answer in the time .*--timeout"),
        ):
            client.model_facts()


class Refusing:
    """Refuses the first request after a while, and says nothing to the next."""

    def __init__(self) -> None:
        self.asked = 0
        self.over = threading.Event()

    def wait(self) -> None:
        self.asked += 1
        self.over.wait(1.2 if self.asked == 1 else 30)

    @contextmanager
    def over_http(self) -> Iterator[str]:
        refusing = self

        class Handler(_Proxy):
            def do_GET(self) -> None:
                refusing.wait()
                if not refusing.over.is_set():
                    self.answers[:] = [503]
                    super().do_GET()

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                self.over.set()
                server.shutdown()

    @contextmanager
    def over_grpc(self) -> Iterator[str]:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.wait()
            context.abort(grpc.StatusCode.UNAVAILABLE, "overloaded")

        class Handler(grpc.GenericRpcHandler):
            def service(self, details: object) -> grpc.RpcMethodHandler:
                return grpc.unary_unary_rpc_method_handler(answer)

        server = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            self.over.set()
            server.stop(None).wait()


@pytest.mark.parametrize("aio", [False, True])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_second_attempt_gets_the_time_that_is_left(protocol: str, aio: bool) -> None:
    refusing = Refusing()
    with refusing.over_grpc() if protocol == "grpc" else refusing.over_http() as url:
        started_s = time.monotonic()
        with pytest.raises(UnavailableError, match="did not answer in the time"):
            predict(url, 2.0, aio=aio)
        assert 1.8 < time.monotonic() - started_s < 3.0
    assert refusing.asked == 2
