from __future__ import annotations

import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemogat.benchmarks.statistics import PERCENTILES, LatencySummary, summarise

times_ms = st.lists(st.floats(0, 1e6), min_size=2, max_size=300)


def by_percentile(summary: LatencySummary) -> list[float]:
    return [summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms]


def test_known_percentiles() -> None:
    summary = summarise([float(n) for n in range(101)])
    assert summary == LatencySummary(
        p50_ms=50.0, p90_ms=90.0, p95_ms=95.0, p99_ms=99.0, mean_ms=50.0, n=101
    )


def test_percentiles_lie_between_samples() -> None:
    summary = summarise([10.0, 20.0])
    assert by_percentile(summary) == pytest.approx([15.0, 19.0, 19.5, 19.9])


def test_one_sample_is_every_percentile() -> None:
    assert by_percentile(summarise([3.5])) == [3.5] * 4


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


@given(times_ms)
def test_it_agrees_with_the_standard_library(samples_ms: list[float]) -> None:
    summary = summarise(samples_ms)
    cuts = statistics.quantiles(samples_ms, n=100, method="inclusive")
    assert by_percentile(summary) == pytest.approx([cuts[q - 1] for q in PERCENTILES], abs=1e-9)
    assert summary.mean_ms == pytest.approx(statistics.fmean(samples_ms), abs=1e-9)
    assert summary.n == len(samples_ms)


@given(times_ms, st.randoms())
def test_the_order_of_samples_does_not_count(samples_ms: list[float], random: Random) -> None:
    before = by_percentile(summarise(samples_ms))
    random.shuffle(samples_ms)
    assert by_percentile(summarise(samples_ms)) == before
    assert before == sorted(before)
