"""What the models that clients call tell Triton's metrics endpoint about their requests.

Triton's own figures for these models end when ``execute`` returns, long before the answer, and
count a refusal as a success.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

STATUSES = ("ok", "invalid", "overloaded", "failed")
REQUESTS = "hemogat_requests_total"
DURATION = "hemogat_request_duration_seconds"
QUEUE = "hemogat_queue_duration_seconds"
BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_PUBLISH_S = 1.0
_DESCRIPTIONS = {
    REQUESTS: "Answered requests, by outcome",
    DURATION: "From the arrival of a request that is answered to its answer",
    QUEUE: "From a request's arrival at the model to the start of work on it",
}
_Series = tuple[str, tuple[tuple[str, str], ...]]  # family, labels


class RequestMetrics:
    """Counts requests, and hands the counts to Triton once a second.

    Handing over is a call to another process: too dear for each request. The histograms are
    counters of the names that Prometheus gives their parts, because the Python backend of
    Triton 2.51 has no histograms.

    Args:
        model: name of the model, a label of every series.
        new_family: makes a family of counters, as Triton's ``MetricFamily``, of the keywords
            ``name`` and ``description``.
    """

    def __init__(self, model: str, new_family: Callable[..., Any]) -> None:
        self._model = model
        self._new_family = new_family
        self._families: dict[str, Any] = {}
        self._metrics: dict[_Series, Any] = {}
        self._lock = threading.Lock()
        # Every series starts at 0: Prometheus sees an increase only from one value to another.
        self._pending = defaultdict(float, dict.fromkeys(_all_series(), 0.0))
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._publish_until_stopped, name="metrics")

    def start(self) -> None:
        """Publish from now on."""
        self.publish()
        self._thread.start()

    def stop(self) -> None:
        """Stop publishing."""
        self._stopping.set()
        self._thread.join()

    def started(self, waited_s: float) -> None:
        """Count a request that waited for so long."""
        with self._lock:
            self._observe(QUEUE, waited_s)

    def finished(self, status: str, duration_s: float) -> None:
        """Count an answer; ``status`` is one of ``STATUSES``."""
        with self._lock:
            self._pending[REQUESTS, (("status", status),)] += 1
            if status == "ok":  # refusals take no time
                self._observe(DURATION, duration_s)

    def publish(self) -> None:
        """Hand over what has been counted since the last time."""
        with self._lock:
            pending, self._pending = self._pending, defaultdict(float)
        for series, amount in pending.items():
            self._metric(series).increment(amount)

    def _observe(self, name: str, value_s: float) -> None:
        for bound_s in BOUNDS_S:
            if value_s <= bound_s:
                self._pending[f"{name}_bucket", (("le", str(bound_s)),)] += 1
        self._pending[f"{name}_bucket", (("le", "+Inf"),)] += 1
        self._pending[f"{name}_count", ()] += 1
        self._pending[f"{name}_sum", ()] += value_s

    def _metric(self, series: _Series) -> Any:
        if series not in self._metrics:
            family, labels = series
            if family not in self._families:
                described = next(text for name, text in _DESCRIPTIONS.items() if name in family)
                self._families[family] = self._new_family(name=family, description=described)
            self._metrics[series] = self._families[family].Metric(
                labels={"model": self._model, **dict(labels)}
            )
        return self._metrics[series]

    def _publish_until_stopped(self) -> None:
        while not self._stopping.wait(_PUBLISH_S):
            self.publish()


def _all_series() -> list[_Series]:
    series: list[_Series] = [(REQUESTS, (("status", status),)) for status in STATUSES]
    for name in (DURATION, QUEUE):
        for bound in (*BOUNDS_S, "+Inf"):
            series.append((f"{name}_bucket", (("le", str(bound)),)))
        series += [(f"{name}_count", ()), (f"{name}_sum", ())]
    return series
