from __future__ import annotations

import pytest

from hemogat.benchmarks.load_drivers import Run, Sample
from hemogat.benchmarks.load_levels import load_level
from hemogat.benchmarks.serving_load_figures import _findings
from hemogat.benchmarks.serving_load_report import Comparison, LoadLevel
from hemogat.benchmarks.statistics import summarise

COMPARED = Comparison(
    in_process=summarise([1.0]), served=summarise([2.0]), batch=4, in_process_per_s=(1.0,),
    served_per_s=(1.0,),
)  # fmt: skip


def sent(due_s: float, lag_ms: float, took_ms: float, error: str | None = None) -> Sample:
    return Sample(due_s, due_s + lag_ms / 1e3, lag_ms + took_ms, error)


def level(*samples: Sample) -> LoadLevel:
    return load_level("open loop", 10.0, Run(samples, 3.0), {}, None)


def test_a_slow_sender_is_told_from_a_slow_server() -> None:
    late = level(*(sent(n / 10, 8000.0, 50.0) for n in range(10)))
    assert late.latency is not None
    assert late.latency.p50_ms == pytest.approx(8050)
    assert late.from_sent is not None
    assert late.from_sent.p50_ms == pytest.approx(50)
    (warning,) = (line for line in _findings(COMPARED, [late]) if "WARNING" in line)
    assert "sent 8000 ms (p50) and 8000 ms (p95) late" in warning
    assert "took 50 and 50 ms" in warning
    slow = level(*(sent(n / 10, 2.0, 8000.0) for n in range(10)))
    assert not slow.sender_was_late
    assert not any("WARNING" in line for line in _findings(COMPARED, [slow]))


def test_refusals_and_drift_are_told() -> None:
    answered = [sent(n / 10, 0.0, 10.0 + 10 * (n // 10)) for n in range(30)]
    refused = [sent(n / 10, 5.0, 2.0, "UNAVAILABLE") for n in range(30)]
    found = level(*answered, *refused)
    assert found.errors == {"UNAVAILABLE": 30}
    assert found.p50_by_third_ms == found.p95_by_third_ms == pytest.approx((10, 20, 30))
    assert found.error_latency is not None
    assert found.error_from_sent is not None
    assert found.error_latency.p95_ms == pytest.approx(7)
    assert found.error_from_sent.p95_ms == pytest.approx(2)
    assert any(
        "p50 by third of the run 10 → 20 → 30 ms; p95 10 → 20 → 30 ms; 30 refused, p95 2 ms" in line
        for line in _findings(COMPARED, [found])
    )
