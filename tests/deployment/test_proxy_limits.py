"""Whom the proxy holds back, what it says then, and whom it finds again."""

from __future__ import annotations

import base64
import json
import socket
import socketserver
import stat
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

REFUSAL = '{"error": "row 0: is not audio"}'


class Triton(BaseHTTPRequestHandler):
    """Tells its server's name; some bodies are refused, or answered too late."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if body == b"slow":
            time.sleep(3)
        status, answer = (400, REFUSAL) if body == b"bad" else (200, self.server.name)  # type: ignore[attr-defined]
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def new_triton() -> Iterator[Callable[..., ThreadingHTTPServer]]:
    """Return what starts a stand-in of Triton at an address."""
    with ExitStack() as cleanup:

        def start(name: str, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
            server = ThreadingHTTPServer((host, port), Triton)
            server.daemon_threads = True
            server.name = name  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            cleanup.callback(server.server_close)
            cleanup.callback(server.shutdown)
            return server

        yield start


def url_of(server: ThreadingHTTPServer) -> str:
    return f"127.0.0.1:{server.server_port}"


# Limits that a slow machine reaches, too: the first few requests, and then one a minute.
OF_ADDRESSES = {"rate=200r/s": "rate=1r/m", "burst=400": "burst=9"}
OF_CLIENTS = {"rate=100r/s": "rate=1r/m", "burst=200": "burst=4"}


@pytest.fixture(scope="module")
def proxy(new_proxy: Callable[..., Any], new_triton: Callable[..., ThreadingHTTPServer]) -> Any:
    """Return a proxy in which each address soon reaches its limit."""
    url = url_of(new_triton("here"))
    return new_proxy(url, url, OF_ADDRESSES | {"proxy_read_timeout 35s": "proxy_read_timeout 1s"})


@pytest.fixture
def proxy_of_clients(
    new_proxy: Callable[..., Any], new_triton: Callable[..., ThreadingHTTPServer]
) -> Any:
    """Return a proxy in which each client soon reaches its limit, and none has begun."""
    url = url_of(new_triton("here"))
    return new_proxy(url, url, OF_CLIENTS)


def statuses(proxy: Any, count: int, **request: Any) -> list[int]:
    return [proxy.ask(**request)[0] for _ in range(count)]


def test_names_that_are_made_up_share_the_limit_of_their_address(proxy: Any) -> None:
    source = "127.0.0.11"
    seen = [proxy.ask(user=f"name-{n}", password="?", source=source)[0] for n in range(14)]
    assert seen == [401] * 10 + [429] * 4
    assert proxy.ask(source="127.0.0.12")[0] == 200


def test_who_does_not_know_the_password_uses_up_nothing_of_the_name(proxy_of_clients: Any) -> None:
    guesses = statuses(proxy_of_clients, 8, password="guess", source="127.0.0.21")
    assert guesses == [401] * 5 + [429] * 3
    assert statuses(proxy_of_clients, 5, source="127.0.0.22") == [200] * 5


def test_a_client_has_one_limit_wherever_it_asks_from(proxy_of_clients: Any) -> None:
    seen = [proxy_of_clients.ask(source=f"127.0.0.{31 + n}")[0] for n in range(8)]
    assert seen == [200] * 5 + [429] * 3


def test_other_spellings_of_the_credentials_win_one_share_at_most(
    proxy_of_clients: Any, proxy_stand: Any
) -> None:
    credentials = f"{proxy_stand.USER}:{proxy_stand.PASSWORD}"
    token = base64.b64encode(credentials.encode()).decode()
    assert token[-2:-1] != "=" == token[-1]  # the last sign has two bits that stand for nothing
    twin = f"{token[:-2]}{chr(ord(token[-2]) + 1)}="
    spellings = (f"Basic {token}", f"basic   {token}", f"Basic {twin}", f"BASIC {token[:-1]}")
    seen = [
        proxy_of_clients.ask(headers={"Authorization": spelling})[0] for spelling in spellings * 6
    ]
    assert seen.count(200) == 5 + 5  # the client's, and what its address has for the odd ones


def error_of(answer: tuple[int, Any, bytes]) -> str:
    status, headers, body = answer
    assert headers["Content-Type"] == "application/json", status
    content = json.loads(body)
    assert content.keys() == {"error"}
    error: str = content["error"]
    return error


def test_refusals_are_told_as_triton_tells_them(proxy: Any) -> None:
    unknown = proxy.ask(password="wrong", source="127.0.0.51")
    assert unknown[0] == 401
    assert "password" in error_of(unknown)
    assert unknown[1]["WWW-Authenticate"] == 'Basic realm="hemogat"'
    hidden = proxy.ask(path="/v2/models/hemogat_fusion/infer", source="127.0.0.51")
    assert (hidden[0], error_of(hidden)) == (404, "not open to clients")
    large = proxy.ask(source="127.0.0.51", headers={"Content-Length": str(66 << 20)})
    assert (large[0], error_of(large)) == (413, "the request is too large")
    late = proxy.ask(b"slow", source="127.0.0.51")
    assert (late[0], error_of(late)) == (504, "the server did not answer in time")
    many = [proxy.ask(password="wrong", source="127.0.0.52") for _ in range(11)][-1]
    assert (many[0], error_of(many)) == (429, "too many requests; ask again later")


def test_what_the_server_says_itself_is_passed_on(proxy: Any) -> None:
    status, _, body = proxy.ask(b"bad", source="127.0.0.61")
    assert (status, body.decode()) == (400, REFUSAL)


class Names(socketserver.BaseRequestHandler):
    """A name server that knows one address."""

    def handle(self) -> None:
        question, sock = self.request
        answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4)  # an A record, for a second
        answer += socket.inet_aton(self.server.address)  # type: ignore[attr-defined]
        end = question.index(b"\0", 12) + 5  # of the name, and type and class
        head = question[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0)
        sock.sendto(head + question[12:end] + answer, self.client_address)


def test_a_server_that_is_made_anew_elsewhere_is_found(
    new_proxy: Callable[..., Any], new_triton: Callable[..., ThreadingHTTPServer]
) -> None:
    first = new_triton("first", "127.0.0.71")
    with socketserver.UDPServer(("127.0.0.1", 0), Names) as names:
        names.address = "127.0.0.71"  # type: ignore[attr-defined]
        threading.Thread(target=names.serve_forever, daemon=True).start()
        where = f"127.0.0.1:{names.server_address[1]}"
        name = f"triton:{first.server_port}"
        proxy = new_proxy(name, name, {"127.0.0.11 valid=5s": f"{where} valid=1s"})

        def wait_for(status: int, body: bytes | None = None) -> Any:
            deadline = time.monotonic() + 30
            while (answer := proxy.ask())[0] != status or body not in (None, answer[2]):
                assert time.monotonic() < deadline, answer
                time.sleep(0.1)
            return answer

        wait_for(200, b"first")
        first.shutdown()
        first.server_close()
        # Connections that nginx keeps open may be answered a little longer.
        assert error_of(wait_for(502)) == "the server cannot be reached"
        new_triton("second", "127.0.0.72", first.server_port)
        names.address = "127.0.0.72"  # type: ignore[attr-defined]
        wait_for(200, b"second")
        names.shutdown()


def test_the_proxy_may_read_the_secrets_and_others_of_the_machine_may_not(proxy: Any) -> None:
    folder: Path = proxy.secrets
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    expected = ("tls.key", "tls.crt", "clients.htpasswd", "grafana_password")
    assert files == dict.fromkeys(expected, 0o644)
