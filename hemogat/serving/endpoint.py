"""Where a server is, and how its answers and errors reach a client."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import SplitResult, urlsplit

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
# Behind the server's own 503: those of a proxy that limits rates, or finds the server gone or slow.
_UNAVAILABLE = frozenset({"StatusCode.UNAVAILABLE", "429", "502", "503", "504"})
_TOO_LARGE = "413"
_TOO_LATE = "StatusCode.DEADLINE_EXCEEDED"
_UNKNOWN_USER = frozenset({"StatusCode.UNAUTHENTICATED", "401"})
# Triton has no code for it when a model's process was killed, or the server ends.
_ENDING = re.compile("is not healthy|Server not ready|has no available versions")
_LOOPBACK = ("127.0.0.1", "[::1]", "localhost")
PASSWORD_VARIABLE = "HEMOGAT_PASSWORD"
CA_VARIABLE = "HEMOGAT_CA_CERTIFICATE"


@dataclass(frozen=True)
class Endpoint:
    """One protocol of one server; ``address`` is ``host:port``.

    ``user`` and ``password`` are for a proxy in front of it (HTTP basic authentication, over gRPC
    too). ``ca_certificate``: the file of certificates to trust, in place of the system's.
    """

    protocol: Protocol
    address: str
    tls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_certificate: str | None = None

    @classmethod
    def parse(cls, url: str | None, protocol: Protocol | None = None) -> Endpoint:
        """Read ``host:port`` or ``grpc|grpcs|http|https://[user@]host:port``.

        Without a scheme ``protocol`` says which one is meant, or else it is gRPC; without a URL
        it is the protocol's usual port on this machine. The user's password is in the environment
        variable ``HEMOGAT_PASSWORD``, where no list of processes shows it; over TLS,
        ``HEMOGAT_CA_CERTIFICATE`` may name a file of certificates to trust.

        Raises:
            InputError: the URL is of another form, contradicts ``protocol``, or has a user without
                a password or without TLS.
        """
        spoken: Protocol = protocol or "grpc"
        url = url or DEFAULT_ADDRESSES[spoken]
        parts = _split(url)
        if "://" not in url:
            return cls(spoken, url)
        found, tls = _SCHEMES.get(parts.scheme, (None, False))
        user, _, address = parts.netloc.rpartition("@")
        if found is None or not address or ":" in user or parts.path.strip("/"):
            raise _another_form(f"{parts.scheme}://{address}")
        if protocol not in (None, found):
            raise InputError(f"{url}: is no {protocol} address; drop its scheme or the protocol")
        if not user:
            return cls(found, address, tls, ca_certificate=os.environ.get(CA_VARIABLE))
        if not tls:
            raise InputError(
                f"{url}: would send a password that everybody can read; use "
                f"{parts.scheme}s://{parts.netloc}"
            )
        password = os.environ.get(PASSWORD_VARIABLE)
        if password is None:
            raise InputError(f"{url}: expected the password of {user} in {PASSWORD_VARIABLE}")
        return cls(found, address, tls, user, password, os.environ.get(CA_VARIABLE))

    @property
    def is_this_machine(self) -> bool:
        """Whether the server is on the loopback interface."""
        return self.address.rpartition(":")[0] in _LOOPBACK

    def connect(self, timeout_s: float, *, aio: bool = False) -> Any:
        """Return tritonclient's client of the server; ``aio``: the one for asyncio.

        Raises:
            InputError: the file of certificates to trust cannot be read.
            IncompleteError: tritonclient is not installed.
        """
        library = f"tritonclient.{self.protocol}"
        module = require(f"{library}.aio" if aio else library, extra="serve")
        if self.protocol == "grpc":
            options = self._grpc_options()
        elif aio:
            trust = self._trust() if self.tls else None
            options = {"ssl": self.tls, "ssl_context": trust, "conn_timeout": timeout_s}
        else:
            limits = {"connection_timeout": timeout_s, "network_timeout": timeout_s}
            options = {"ssl": self.tls, **limits}
            if self.tls:
                trust = self._trust()
                options["ssl_context_factory"] = lambda: trust
        client = module.InferenceServerClient(self.address, **options)
        if self.user is not None:
            auth = require(f"{library}.auth", extra="serve")
            client.register_plugin(auth.BasicAuth(self.user, self.password))
        return client

    def _grpc_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"ssl": self.tls}
        if self.ca_certificate is not None:
            self._trust()  # gRPC says nothing of a file that it cannot use
            options["root_certificates"] = self.ca_certificate
        if self.is_this_machine:
            # gRPC would ask the proxy that the environment may name even for this machine.
            unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
            options["channel_args"] = [*unlimited, ("grpc.enable_http_proxy", 0)]
        return options

    def _trust(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca_certificate)
        except OSError as error:  # ssl's own errors are of this kind
            raise InputError(
                f"{self.ca_certificate}: expected certificates (PEM), as {CA_VARIABLE} says; "
                f"found none ({error.strerror or error})"
            ) from error

    @contextmanager
    def time_limit(self, limit_s: float) -> Iterator[None]:
        """Raise TimeoutError in a call that takes longer; gRPC has limits of its calls itself.

        Over HTTP the time limits of the connection are for each of its steps.
        """
        if self.protocol == "grpc":
            yield
            return
        gevent = require("gevent", extra="serve")  # what that client waits with
        with gevent.Timeout(limit_s, TimeoutError()):
            yield

    @contextmanager
    def errors(self, names: Sequence[str] = ()) -> Iterator[None]:
        """Turn the libraries' errors into ours, and "row 3" into what the caller named it.

        Raises:
            InputError: the server refused the input.
            UnavailableError: there is no server, it is overloaded, or it did not answer in time.
            ServerError: the server failed.
        """
        exception = require("tritonclient.utils", extra="serve").InferenceServerException
        try:
            yield
        except exception as error:
            message = self._message(error)
            if error.status() in _BAD_REQUEST:
                raise InputError(_rename_row(message, names)) from error
            if error.status() == _TOO_LARGE or message.endswith(f"status: {_TOO_LARGE}"):
                raise InputError(
                    f"{names[0] if len(names) == 1 else 'request'}: is larger than what is in "
                    f"front of the Triton server at {self.address} lets through (HTTP 413); send "
                    "less at a time"
                ) from error
            if error.status() == _TOO_LATE:
                raise UnavailableError(self._too_late()) from error
            if error.status() in _UNKNOWN_USER:
                raise ServerError(
                    f"Triton server at {self.address}: does not let {self.user or 'us'} in; "
                    f"expected a name in the URL (grpcs://name@host:port) and its password in "
                    f"{PASSWORD_VARIABLE}"
                ) from error
            later = error.status() in _UNAVAILABLE or _ENDING.search(message)
            kind = UnavailableError if later else ServerError
            raise kind(f"Triton server at {self.address}: {message}") from error
        except _connection_errors(self.protocol) as error:  # HTTP's; gRPC's have a status
            if isinstance(error, TimeoutError):
                raise UnavailableError(self._too_late()) from error
            reason = str(error) or type(error).__name__
            raise UnavailableError(
                f"Triton server at {self.address}: no answer ({reason}); is it running there?"
            ) from error

    def _too_late(self) -> str:
        return (
            f"Triton server at {self.address}: did not answer in the time that this client gives "
            "it; give it more (timeout_s, --timeout)"
        )

    def _message(self, error: Any) -> str:
        """Return what the server says, or, where something before it answered, what that means."""
        if self.protocol == "http" and error.debug_details() is not None:  # its answer is no JSON
            code = int(error.status())
            phrase = HTTPStatus(code).phrase if code in set(HTTPStatus) else ""
            return f"a proxy before it answered HTTP {code} {phrase}".rstrip()
        return " ".join(str(error.message()).split())


def _split(url: str) -> SplitResult:
    scheme, separator, rest = url.partition("://")
    try:
        parts = urlsplit(url if separator else f"//{url}")
        _ = parts.port  # raises for what is none
    except ValueError:
        address = (rest or scheme).rpartition("@")[2]
        # Without the cause, which may quote a password.
        raise _another_form(f"{scheme}{separator}{address}" if separator else address) from None
    return parts


def _another_form(url: str) -> InputError:
    return InputError(
        f"{url}: expected host:port or {'|'.join(_SCHEMES)}://[user@]host:port, as in "
        f"grpc://{DEFAULT_ADDRESSES['grpc']}; a password belongs into {PASSWORD_VARIABLE}"
    )


def retry_policy(kind: str, retries: int, timeout_s: float) -> Any:
    """Return tenacity's ``Retrying`` or ``AsyncRetrying``: unavailable servers are asked again.

    No attempt begins once ``timeout_s`` is over.
    """
    tenacity = require("tenacity", extra="serve")
    return getattr(tenacity, kind)(
        retry=tenacity.retry_if_exception_type(UnavailableError),
        stop=tenacity.stop_after_attempt(1 + retries) | tenacity.stop_before_delay(timeout_s),
        wait=tenacity.wait_random_exponential(multiplier=0.1, max=5),
        reraise=True,
    )


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
