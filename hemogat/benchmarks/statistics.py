"""Summaries of measured times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hemogat.benchmarks.figures import Figure
from hemogat.config import PositiveInt, Settings

PERCENTILES = (50, 90, 95, 99)
# With fewer samples, the range from the smallest to the largest holds the median less often than
# in 95 % of all cases, and no interval between them can.
FEWEST_FOR_INTERVAL = 6
_FEWEST_BEYOND = 5  # samples beyond a percentile of the tail, for it to be told
_MEDIAN = 50
_RESAMPLES = 1000
_CONFIDENCE_PERCENT = 95
_NUMBERS_AT_ONCE = 2**20


class LatencySummary(Settings):
    """Percentiles and mean of ``n`` measured times.

    Percentiles are interpolated linearly between the two nearest samples; ``p99_ms`` of fewer
    than 100 samples says little more than the slowest of them. ``p50_low_ms`` and so on bound the
    95 % intervals; None with fewer than FEWEST_FOR_INTERVAL samples, of a tail with fewer than five
    beyond it.
    """

    p50_ms: float
    p50_low_ms: float | None = None
    p50_high_ms: float | None = None
    p90_ms: float
    p90_low_ms: float | None = None
    p90_high_ms: float | None = None
    p95_ms: float
    p95_low_ms: float | None = None
    p95_high_ms: float | None = None
    p99_ms: float
    p99_low_ms: float | None = None
    p99_high_ms: float | None = None
    mean_ms: float
    n: PositiveInt


def summarise(samples_ms: Sequence[float]) -> LatencySummary:
    """Summarise at least one measured time.

    Raises:
        ValueError: there is none.
    """
    if not len(samples_ms):
        raise ValueError("no samples to summarise")
    found: dict[str, float | None] = {"mean_ms": float(np.mean(samples_ms)), "n": len(samples_ms)}
    intervals = sample_intervals(samples_ms)
    for q, value_ms in zip(PERCENTILES, np.percentile(samples_ms, PERCENTILES), strict=True):
        low_ms, high_ms = intervals.get(q, (None, None))
        found |= {f"p{q}_ms": float(value_ms), f"p{q}_low_ms": low_ms, f"p{q}_high_ms": high_ms}
    return LatencySummary.model_validate(found)


def sample_intervals(samples: Sequence[float]) -> dict[int, tuple[float, float]]:
    """Return 95 % percentile bootstrap intervals of those percentiles that samples can tell.

    The resamples are drawn with a fixed seed, from the sorted samples, so equal samples give equal
    intervals. Samples are taken as independent: drift within a run makes the intervals too narrow.
    """
    if len(samples) < FEWEST_FOR_INTERVAL:
        return {}
    told = [q for q in PERCENTILES if has_samples_beyond(q, len(samples))]
    ordered = np.sort(np.asarray(samples, np.float64))
    random = np.random.default_rng(0)
    found: list[NDArray[np.float64]] = []
    at_once = max(1, _NUMBERS_AT_ONCE // len(ordered))
    for done in range(0, _RESAMPLES, at_once):
        count = min(at_once, _RESAMPLES - done)
        found.append(np.percentile(random.choice(ordered, (count, len(ordered))), told, axis=1))
    outside = (100 - _CONFIDENCE_PERCENT) / 2
    lows, highs = np.percentile(np.concatenate(found, axis=1), (outside, 100 - outside), axis=1)
    return {q: (float(low), float(high)) for q, low, high in zip(told, lows, highs, strict=True)}


def has_samples_beyond(percentile: int, samples: int) -> bool:
    """Say whether enough samples lie beyond a percentile; the median needs none."""
    return percentile <= _MEDIAN or samples * (100 - percentile) >= 100 * _FEWEST_BEYOND


def latency_figures(
    target: str, summary: LatencySummary, axes: dict[str, str | int]
) -> list[Figure]:
    """Return the percentiles that the samples can tell, with their intervals, and the mean."""
    found = [
        Figure(
            target=target,
            metric=f"p{q}",
            unit="ms",
            value=getattr(summary, f"p{q}_ms"),
            low=getattr(summary, f"p{q}_low_ms"),
            high=getattr(summary, f"p{q}_high_ms"),
            axes=axes,
        )
        for q in PERCENTILES
        if has_samples_beyond(q, summary.n)
    ]
    mean = Figure(target=target, metric="mean", unit="ms", value=summary.mean_ms, axes=axes)
    return [*found, mean]
