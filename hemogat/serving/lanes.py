"""Work whose order matters, on threads that know none."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor

Job = Callable[[], None]


class Lanes:
    """Runs the jobs of one lane one after the other, in the order in which they were submitted.

    Those of different lanes run at the same time. A job that raises does not stop its lane.

    Args:
        executor: runs the jobs.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        # Of each lane that has a job at work: those that wait for it.
        self._waiting: dict[Hashable, deque[Job]] = {}

    def submit(self, lane: Hashable, job: Job) -> None:
        """Run ``job`` when all earlier ones of its lane are done."""
        with self._lock:
            if lane in self._waiting:
                self._waiting[lane].append(job)
                return
            self._waiting[lane] = deque()
        self._executor.submit(self._run, lane, job)

    def _run(self, lane: Hashable, job: Job) -> None:
        try:
            job()
        finally:
            with self._lock:
                waiting = self._waiting[lane]
                following = waiting.popleft() if waiting else None
                if following is None:
                    del self._waiting[lane]
            if following is not None:  # behind what other lanes wait with
                self._executor.submit(self._run, lane, following)
