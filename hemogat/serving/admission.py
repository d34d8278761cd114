"""Which requests a model lets in, so that what it lets in is answered soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SMOOTHING = 0.05  # weight of the newest sample: answers come in bursts, as batches end


class Admission:
    """Counts requests, and refuses one that would wait too long for its turn; for any threads.

    How long a request would wait is estimated from how fast the model has been answering. A limit
    in numbers alone would be minutes for long clips or large encoders, and no queue at all for
    small ones.

    Args:
        max_in_flight: requests worked on at a time; so many are always let in.
        max_waiting: how many more may wait, however short their wait.
        max_wait_s: how long one may have to wait, by estimate.
        now_s: the clock.
    """

    def __init__(
        self,
        max_in_flight: int,
        max_waiting: int,
        max_wait_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_in_flight = max_in_flight
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._accepted = 0
        self._is_closed = False
        self._interval_s: float | None = None  # busy time per answer
        self._since_s = 0.0  # the last answer, or the end of an idle time after it

    def enter(self, *, begins: bool = True) -> str | None:
        """Let a request in and return None, or return why not; who is in must :meth:`leave`.

        Args:
            begins: whether it is the first of its work; what has begun goes on after
                :meth:`close`, too.
        """
        with self._lock:
            refusal = self._refusal(begins)
            if refusal is None:
                if not self._accepted:
                    self._since_s = self._now_s()
                self._accepted += 1
        return refusal

    def leave(self) -> None:
        """Count a request as answered."""
        with self._lock:
            self._accepted -= 1
            now_s = self._now_s()
            interval_s, self._since_s = now_s - self._since_s, now_s
            if self._interval_s is None:
                self._interval_s = interval_s
            self._interval_s += _SMOOTHING * (interval_s - self._interval_s)

    def close(self) -> None:
        """Let nothing in that only begins."""
        with self._lock:
            self._is_closed = True

    def is_empty(self) -> bool:
        """Say whether all requests that were let in have left."""
        with self._lock:
            return not self._accepted

    def _refusal(self, begins: bool) -> str | None:
        if self._is_closed and begins:
            return "stopping: it takes no new work"
        waiting = self._accepted - self._max_in_flight
        if waiting >= self._max_waiting:
            return f"overloaded: {self._max_waiting} requests are waiting"
        wait_s = max(0, waiting + 1) * (self._interval_s or 0.0)
        if wait_s > self._max_wait_s:
            return f"overloaded: it would wait for about {wait_s:.1f} s"
        return None
