"""What came of one load: its requests and the server's own counts, summed up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hemogat.benchmarks.load_drivers import Run, Sample
from hemogat.benchmarks.server_counters import MemoryUse, ModelLoad
from hemogat.benchmarks.serving_load_report import LoadKind, LoadLevel
from hemogat.benchmarks.statistics import LatencySummary, summarise

_THIRDS = 3


def load_level(
    kind: LoadKind,
    offered: float,
    run: Run,
    models: dict[str, ModelLoad],
    memory: MemoryUse | None,
) -> LoadLevel:
    """Sum up a run of the load ``offered``."""
    answered = [s for s in run.samples if s.error is None]
    failed = [s for s in run.samples if s.error is not None]
    errors = [s.error for s in failed if s.error is not None]
    thirds = _by_third(run.samples)
    return LoadLevel(
        kind=kind,
        offered=offered,
        duration_s=run.duration_s,
        answered_per_s=answered_per_s(run),
        latency=_summary(answered, lambda s: s.latency_ms),
        p50_by_third_ms=tuple(float(np.percentile(third, 50)) for third in thirds),
        p95_by_third_ms=tuple(float(np.percentile(third, 95)) for third in thirds),
        errors={status: errors.count(status) for status in sorted(set(errors))},
        error_latency=_summary(failed, lambda s: s.latency_ms),
        send_lag=_summary(run.samples, lambda s: s.lag_ms),
        from_sent=_summary(answered, lambda s: s.from_sent_ms),
        error_from_sent=_summary(failed, lambda s: s.from_sent_ms),
        models=models,
        memory=memory,
    )


def answered_per_s(run: Run) -> float:
    """Return how many requests were answered each second."""
    return sum(sample.error is None for sample in run.samples) / run.duration_s


def _summary(
    samples: Sequence[Sample], time_ms: Callable[[Sample], float]
) -> LatencySummary | None:
    return summarise([time_ms(sample) for sample in samples]) if samples else None


def _by_third(samples: Sequence[Sample]) -> list[list[float]]:
    """Return the answered requests' latencies by when they were due, without empty thirds."""
    last_due_s = max((s.due_s for s in samples), default=0.0)
    thirds: list[list[float]] = [[] for _ in range(_THIRDS)]
    for sample in samples:
        if sample.error is None:
            third = int(_THIRDS * sample.due_s / last_due_s) if last_due_s else 0
            thirds[min(third, _THIRDS - 1)].append(sample.latency_ms)
    return [third for third in thirds if third]
