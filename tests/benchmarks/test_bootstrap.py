from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hemogat.benchmarks.bootstrap import paired_ratio, percentile_intervals

times_ms = arrays(
    np.float64, st.tuples(st.integers(2, 30), st.integers(1, 5)), elements=st.floats(0.1, 1e3)
)


@settings(max_examples=30, deadline=None)
@given(times_ms)
def test_intervals_lie_within_the_samples_and_around_most_medians(times: np.ndarray) -> None:
    found = percentile_intervals(times, (50, 99))
    assert found[50].value == pytest.approx(np.median(times))
    for interval in found.values():
        assert interval.low is not None
        assert interval.high is not None
        assert times.min() - 1e-9 <= interval.low <= interval.high <= times.max() + 1e-9


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    intervals = [percentile_intervals(random.normal(10, 1, (60, 2)), (50,))[50] for _ in range(100)]
    covered = sum(i.low <= 10 <= i.high for i in intervals if i.low and i.high)
    assert 85 <= covered <= 100  # few blocks make an interval a little too narrow


def test_states_that_last_for_several_rounds_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    lasting = np.repeat(random.choice([10.0, 13.0], 12), 5)[:, np.newaxis]
    lasting = lasting + random.normal(0, 0.3, lasting.shape)
    brief = random.permutation(lasting)
    wide, narrow = (percentile_intervals(each, (50,))[50] for each in (lasting, brief))
    assert wide.value == narrow.value
    assert wide.half_width > narrow.half_width


def test_times_that_stick_together_in_a_turn_widen_the_interval() -> None:
    random = np.random.default_rng(2)
    level = random.normal(10, 1, (30, 1))
    together = percentile_intervals(np.repeat(level, 10, axis=1), (50,))[50]
    alone = percentile_intervals(level, (50,))[50]
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=0.05)


def test_one_round_has_no_interval() -> None:
    assert percentile_intervals(np.ones((1, 3)), (50,))[50].low is None


def test_ratios_are_taken_round_by_round() -> None:
    drift = np.linspace(1, 5, 20)[:, np.newaxis] * np.ones((1, 3))
    ratio = paired_ratio(2 * drift, drift)
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2, 2, 2))
