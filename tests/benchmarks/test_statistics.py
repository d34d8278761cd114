from __future__ import annotations

import statistics
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemogat.benchmarks.statistics import (
    FEWEST_FOR_INTERVAL,
    PERCENTILES,
    LatencySummary,
    latency_figures,
    sample_intervals,
    summarise,
)

times_ms = st.lists(st.floats(0, 1e6), min_size=2, max_size=300)


def by_percentile(summary: LatencySummary) -> list[float]:
    return [summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms]


def test_known_percentiles() -> None:
    summary = summarise([float(n) for n in range(101)])
    assert by_percentile(summary) == [50.0, 90.0, 95.0, 99.0]
    assert summary.mean_ms == 50.0
    assert summary.n == 101


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


@given(times_ms, st.randoms())
def test_the_interval_holds_the_median_whatever_the_order(
    samples_ms: list[float], random: Random
) -> None:
    summary = summarise(samples_ms)
    low_ms, high_ms = summary.p50_low_ms, summary.p50_high_ms
    if len(samples_ms) < FEWEST_FOR_INTERVAL:
        assert (low_ms, high_ms) == (None, None)
        return
    assert low_ms is not None
    assert high_ms is not None
    assert min(samples_ms) <= low_ms <= summary.p50_ms <= high_ms <= max(samples_ms)
    random.shuffle(samples_ms)
    assert sample_intervals(samples_ms)[50] == (low_ms, high_ms)


def test_intervals_hold_the_true_median_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = sample_intervals(random.exponential(size=40).tolist())[50]
        held += low <= np.log(2) <= high
    assert 180 <= held <= 199  # 95 % of 200, give or take three standard deviations


def test_a_summary_becomes_figures_and_the_median_has_its_interval() -> None:
    summary = summarise([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    figures = latency_figures("onnx-fp32", summary, {"component": "fusion"})
    assert [figure.metric for figure in figures] == ["p50", "mean"]
    median, *others = figures
    assert (median.value, median.low, median.high) == (
        summary.p50_ms, summary.p50_low_ms, summary.p50_high_ms,
    )  # fmt: skip
    assert {(figure.low, figure.high) for figure in others} == {(None, None)}
    assert median.key == ("onnx-fp32", "p50", "ms", "component=fusion")


def test_tails_have_intervals_where_samples_lie_beyond_them() -> None:
    figures = latency_figures("x", summarise([*np.linspace(1, 2, 100)]), {})
    found = {figure.metric: figure for figure in figures}
    assert found.keys() == {"p50", "p90", "p95", "mean"}
    for metric in ("p50", "p90", "p95"):
        assert found[metric].low is not None
        assert found[metric].low < found[metric].value < found[metric].high
