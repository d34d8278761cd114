"""Choosing TCP ports before a server is started on them."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack

from hemogat.errors import ServerError


def is_ipv6(host: str) -> bool:
    """Say whether an address is one of IPv6."""
    return ":" in host


def choose_ports(host: str, wanted: Mapping[str, int | None]) -> dict[str, int]:
    """Check the wanted ports and fill in free ones for those that are None or 0.

    All are held until the last is found, so they differ. They are let go on return: another
    program may still take one before the server does.

    Args:
        host: address that they will be bound to.
        wanted: port by what it is for.

    Raises:
        ServerError: a wanted port is in use or not allowed, or ``host`` is no address of this
            machine.
    """
    family = socket.AF_INET6 if is_ipv6(host) else socket.AF_INET
    with ExitStack() as held:
        return {
            purpose: _bind(held.enter_context(socket.socket(family)), host, port or 0, purpose)
            for purpose, port in wanted.items()
        }


def _bind(probe: socket.socket, host: str, port: int, purpose: str) -> int:
    # As servers do: a port whose last connections are still closing counts as free.
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((host, port))
        probe.listen()  # sockets that only bind may share a port
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ServerError(
            f"port {port} on {host} cannot be used for {purpose} ({reason}); "
            "choose another, or stop what uses it"
        ) from error
    bound: int = probe.getsockname()[1]
    return bound
