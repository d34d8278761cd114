"""Summaries of measured times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hemogat.config import PositiveInt, Settings

PERCENTILES = (50, 90, 95, 99)


class LatencySummary(Settings):
    """Percentiles and mean of ``n`` measured times.

    Percentiles are interpolated linearly between the two nearest samples; ``p99_ms`` of fewer
    than 100 samples says little more than the slowest of them.
    """

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    n: PositiveInt


def summarise(samples_ms: Sequence[float]) -> LatencySummary:
    """Summarise at least one measured time.

    Raises:
        ValueError: there is none.
    """
    if not len(samples_ms):
        raise ValueError("no samples to summarise")
    percentiles = np.percentile(samples_ms, PERCENTILES)
    return LatencySummary.model_validate(
        {f"p{q}_ms": float(p) for q, p in zip(PERCENTILES, percentiles, strict=True)}
        | {"mean_ms": float(np.mean(samples_ms)), "n": len(samples_ms)}
    )
