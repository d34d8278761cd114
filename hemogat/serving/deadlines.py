"""Gives up what was not done in time."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_CHECKS = 100  # while the time of one item runs
_CHECK_S = 0.01  # at least

ItemT = TypeVar("ItemT", bound=Hashable)


class Deadlines(Generic[ItemT]):
    """Hands each item out once: to who is done with it, or, too late, to ``give_up``.

    For any threads. All items have the same time, so that the oldest is due first; one is given up
    at most a hundredth of that time late, or 10 ms if that is more.

    Args:
        timeout_s: the time of each item.
        give_up: called with an item that nobody took in time, from a thread of its own.
    """

    def __init__(self, timeout_s: float, give_up: Callable[[ItemT], None]) -> None:
        self._timeout_s = timeout_s
        self._give_up = give_up
        self._lock = threading.Lock()
        self._due_s: OrderedDict[ItemT, float] = OrderedDict()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="deadlines")

    def start(self) -> None:
        """Give up late items from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Give up nothing more."""
        self._stopping.set()
        self._thread.join()

    def add(self, item: ItemT) -> None:
        """Start the time of an item."""
        with self._lock:
            self._due_s[item] = time.monotonic() + self._timeout_s

    def __contains__(self, item: ItemT) -> bool:
        return item in self._due_s

    def take(self, item: ItemT) -> bool:
        """Remove the item; say whether it was there, and in time. If it was late, give it up."""
        with self._lock:
            due_s = self._due_s.pop(item, None)
        in_time = due_s is not None and time.monotonic() < due_s
        if due_s is not None and not in_time:
            self._give_up(item)
        return in_time

    def _watch(self) -> None:
        while not self._stopping.wait(max(self._timeout_s / _CHECKS, _CHECK_S)):
            for item in self._late():
                try:
                    self.take(item)
                except Exception:  # one client's; the others' time still runs
                    logging.getLogger(__name__).exception("a late request could not be given up")

    def _late(self) -> list[ItemT]:
        now_s = time.monotonic()
        late = []
        with self._lock:
            for item, due_s in self._due_s.items():
                if due_s > now_s:
                    break
                late.append(item)
        return late
