"""Where a server is, and how its answers and errors reach a client."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from hemogat.errors import InputError, ServerError, UnavailableError
from hemogat.optional import require

Protocol = Literal["grpc", "http"]
DEFAULT_ADDRESSES: dict[Protocol, str] = {"grpc": "127.0.0.1:8001", "http": "127.0.0.1:8000"}

_SCHEMES: dict[str, tuple[Protocol, bool]] = {
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
    "http": ("http", False),
    "https": ("http", True),
}
_BAD_REQUEST = frozenset({"StatusCode.INVALID_ARGUMENT", "400"})
_UNAVAILABLE = frozenset({"StatusCode.UNAVAILABLE", "503"})
_LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Endpoint:
    """One protocol of one server; ``address`` is ``host:port``."""

    protocol: Protocol
    address: str
    tls: bool = False

    @classmethod
    def parse(cls, url: str | None, protocol: Protocol | None = None) -> Endpoint:
        """Read ``host:port`` or ``grpc|grpcs|http|https://host:port``.

        Without a scheme ``protocol`` says which one is meant, or else it is gRPC; without a URL
        it is the protocol's usual port on this machine.

        Raises:
            InputError: the URL is of another form, or contradicts ``protocol``.
        """
        if url is None or "://" not in url:
            spoken: Protocol = protocol or "grpc"
            return cls(spoken, url or DEFAULT_ADDRESSES[spoken])
        parts = urlsplit(url)
        found, tls = _SCHEMES.get(parts.scheme, (None, False))
        if found is None or not parts.netloc or parts.path.strip("/"):
            raise InputError(
                f"{url}: expected host:port or {'|'.join(_SCHEMES)}://host:port, as in "
                f"grpc://{DEFAULT_ADDRESSES['grpc']}"
            )
        if protocol not in (None, found):
            raise InputError(f"{url}: is no {protocol} address; drop its scheme or the protocol")
        return cls(found, parts.netloc, tls)

    @property
    def is_this_machine(self) -> bool:
        """Whether the server is on the loopback interface."""
        return self.address.rpartition(":")[0] in _LOOPBACK

    def grpc_options(self) -> dict[str, Any]:
        """Return what tritonclient's gRPC clients are made with."""
        options: dict[str, Any] = {"ssl": self.tls}
        if self.is_this_machine:
            # gRPC would ask the proxy that the environment may name even for this machine.
            unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
            options["channel_args"] = [*unlimited, ("grpc.enable_http_proxy", 0)]
        return options

    @contextmanager
    def errors(self, names: Sequence[str] = ()) -> Iterator[None]:
        """Turn the libraries' errors into ours, and "row 3" into what the caller named it.

        Raises:
            InputError: the server refused the input.
            UnavailableError: there is no server, or it is overloaded.
            ServerError: the server failed.
        """
        exception = require("tritonclient.utils", extra="serve").InferenceServerException
        try:
            yield
        except exception as error:
            message = " ".join(str(error.message()).split())
            if error.status() in _BAD_REQUEST:
                raise InputError(_rename_row(message, names)) from error
            kind = UnavailableError if error.status() in _UNAVAILABLE else ServerError
            raise kind(f"Triton server at {self.address}: {message}") from error
        except _connection_errors(self.protocol) as error:  # HTTP's; gRPC's have a status
            reason = str(error) or type(error).__name__
            raise UnavailableError(
                f"Triton server at {self.address}: no answer ({reason}); is it running there?"
            ) from error


def _connection_errors(protocol: Protocol) -> tuple[type[Exception], ...]:
    if protocol == "grpc":
        return (OSError,)
    aiohttp = require("aiohttp", extra="serve")
    return (OSError, TimeoutError, aiohttp.ClientError)


def _rename_row(message: str, names: Sequence[str]) -> str:
    def name(match: re.Match[str]) -> str:
        row = int(match[2])
        return match[1] + names[row] if row < len(names) else match[0]

    return re.sub(r"^(text of |)row (\d+)\b", name, message)
