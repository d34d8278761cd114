"""What a server on this machine says of itself."""

from __future__ import annotations

import http.client
import json
import time
import urllib.request

_ANSWER_S = 5


def is_ready(address: str) -> bool:
    """Say whether the server at ``host:port`` answers and every model is ready."""
    try:
        _get(address, "/v2/health/ready")
    except (OSError, http.client.HTTPException):  # URLError is an OSError
        return False
    return True


def server_version(address: str) -> str:
    """Return the version that the server at ``host:port`` reports."""
    return str(json.loads(_get(address, "/v2"))["version"])


class StallWatch:
    """Notices a server that runs and is not ready for ``stall_s``, asking it now and then.

    Its health is told by threads that no batch keeps busy, so that a long one is no stall.
    """

    def __init__(self, address: str, stall_s: float, every_s: float) -> None:
        self._address = address
        self._stall_s = stall_s
        self._every_s = every_s
        self._asked_s = self._ready_s = time.monotonic()

    def is_stalled(self) -> bool:
        """Ask, if it is time again; say whether it has not been ready for too long."""
        now_s = time.monotonic()
        if now_s - self._asked_s < self._every_s:
            return False
        ready = is_ready(self._address)
        self._asked_s = time.monotonic()
        if ready:
            self._ready_s = self._asked_s
        return self._asked_s - self._ready_s > self._stall_s


def _get(address: str, path: str) -> bytes:
    # Loopback is never reached through the proxy that the environment may name.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{address}{path}", timeout=_ANSWER_S) as response:
        body: bytes = response.read()
    return body
