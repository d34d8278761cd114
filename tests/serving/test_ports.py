from __future__ import annotations

import socket

import pytest

from hemogat.errors import ServerError
from hemogat.serving.ports import choose_ports

HOST = "127.0.0.1"


def test_free_ports_differ() -> None:
    ports = choose_ports(HOST, {"HTTP": None, "gRPC": 0, "metrics": None})
    assert list(ports) == ["HTTP", "gRPC", "metrics"]
    assert len(set(ports.values())) == 3
    assert all(ports.values())


def test_a_free_port_is_kept() -> None:
    port = choose_ports(HOST, {"HTTP": None})["HTTP"]
    assert choose_ports(HOST, {"HTTP": port}) == {"HTTP": port}


def test_a_port_in_use_is_named() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServerError, match=rf"port {port} on {HOST} .*gRPC.*in use"):
            choose_ports(HOST, {"HTTP": None, "gRPC": port})


def test_one_port_for_two_purposes_is_refused() -> None:
    port = choose_ports(HOST, {"HTTP": None})["HTTP"]
    with pytest.raises(ServerError, match=rf"port {port} .*gRPC"):
        choose_ports(HOST, {"HTTP": port, "gRPC": port})


@pytest.mark.parametrize(("host", "port"), [("203.0.113.1", None), (HOST, 70_000)])
def test_what_cannot_be_bound_is_refused(host: str, port: int | None) -> None:
    with pytest.raises(ServerError, match=f"on {host} cannot be used for HTTP"):
        choose_ports(host, {"HTTP": port})
