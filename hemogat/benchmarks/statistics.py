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
_RESAMPLES = 1000
_CONFIDENCE_PERCENT = 95
_NUMBERS_AT_ONCE = 2**20


class LatencySummary(Settings):
    """Percentiles and mean of ``n`` measured times.

    Percentiles are interpolated linearly between the two nearest samples; ``p99_ms`` of fewer
    than 100 samples says little more than the slowest of them. ``p50_low_ms`` and
    ``p50_high_ms`` bound the median's 95 % interval; None with fewer than FEWEST_FOR_INTERVAL
    samples.
    """

    p50_ms: float
    p50_low_ms: float | None = None
    p50_high_ms: float | None = None
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
    low_ms, high_ms = median_interval(samples_ms)
    return LatencySummary.model_validate(
        {f"p{q}_ms": float(p) for q, p in zip(PERCENTILES, percentiles, strict=True)}
        | {"p50_low_ms": low_ms, "p50_high_ms": high_ms}
        | {"mean_ms": float(np.mean(samples_ms)), "n": len(samples_ms)}
    )


def median_interval(samples: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the 95 % percentile bootstrap interval of the median, (None, None) of few samples.

    The resamples are drawn with a fixed seed, from the sorted samples, so equal samples give equal
    intervals. Samples are taken as independent: drift within a run makes the interval too narrow.
    """
    if len(samples) < FEWEST_FOR_INTERVAL:
        return None, None
    ordered = np.sort(np.asarray(samples, np.float64))
    random = np.random.default_rng(0)
    medians: list[NDArray[np.float64]] = []
    at_once = max(1, _NUMBERS_AT_ONCE // len(ordered))
    for done in range(0, _RESAMPLES, at_once):
        count = min(at_once, _RESAMPLES - done)
        medians.append(np.median(random.choice(ordered, (count, len(ordered))), axis=1))
    outside = (100 - _CONFIDENCE_PERCENT) / 2
    low, high = np.percentile(np.concatenate(medians), (outside, 100 - outside))
    return float(low), float(high)


def latency_figures(
    target: str, summary: LatencySummary, axes: dict[str, str | int]
) -> list[Figure]:
    """Return the percentiles and the mean as figures; the median has its interval."""
    values_ms = {f"p{q}": getattr(summary, f"p{q}_ms") for q in PERCENTILES}
    values_ms["mean"] = summary.mean_ms
    bounds = {"p50": (summary.p50_low_ms, summary.p50_high_ms)}
    figures = []
    for metric, value_ms in values_ms.items():
        low_ms, high_ms = bounds.get(metric, (None, None))
        figures.append(
            Figure(
                target=target, metric=metric, unit="ms", value=value_ms,
                low=low_ms, high=high_ms, axes=axes,
            )
        )  # fmt: skip
    return figures
