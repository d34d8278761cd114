from __future__ import annotations

from collections import defaultdict
from typing import Any

from hemogat.serving.triton_metrics import BOUNDS_S, DURATION, QUEUE, REQUESTS, RequestMetrics

Series = tuple[str, frozenset[tuple[str, str]]]


class Families:
    """Triton's counters: two families of one name, or two metrics of one label set, are one."""

    def __init__(self) -> None:
        self.values: defaultdict[Series, float] = defaultdict(float)

    def __call__(self, name: str, description: str) -> Any:
        families = self

        class Metric:
            def __init__(self, labels: dict[str, str]) -> None:
                self.series = (name, frozenset(labels.items()))

            def increment(self, amount: float) -> None:
                families.values[self.series] += amount

        class Family:
            def __init__(self) -> None:
                self.Metric = Metric

        assert description
        return Family()

    def value(self, name: str, **labels: str) -> float:
        return self.values[name, frozenset(labels.items())]


def test_requests_are_counted_by_outcome_and_time() -> None:
    families = Families()
    metrics = RequestMetrics("hemogat", families)
    metrics.publish()
    assert families.value(REQUESTS, model="hemogat", status="overloaded") == 0
    assert len(families.values) == 4 + 2 * (len(BOUNDS_S) + 3)  # each is there from the start

    metrics.started(0.001)
    metrics.finished("ok", 0.03)
    metrics.publish()
    metrics.finished("ok", 99.0)
    metrics.finished("invalid", 0.01)
    metrics.publish()
    metrics.publish()
    assert families.value(REQUESTS, model="hemogat", status="ok") == 2
    assert families.value(REQUESTS, model="hemogat", status="invalid") == 1
    within = {
        bound: families.value(f"{DURATION}_bucket", model="hemogat", le=bound)
        for bound in ("0.005", "0.01", "0.025", "0.05", "30.0", "+Inf")
    }
    assert within == {"0.005": 0, "0.01": 0, "0.025": 0, "0.05": 1, "30.0": 1, "+Inf": 2}
    assert families.value(f"{DURATION}_count", model="hemogat") == 2
    assert families.value(f"{DURATION}_sum", model="hemogat") == 99.03
    assert families.value(f"{QUEUE}_count", model="hemogat") == 1


def test_the_models_share_the_families() -> None:
    families = Families()
    for model in ("hemogat", "hemogat_stream"):
        metrics = RequestMetrics(model, families)
        metrics.start()
        metrics.finished("failed", 1.0)
        metrics.stop()
        metrics.publish()
        assert families.value(REQUESTS, model=model, status="failed") == 1
