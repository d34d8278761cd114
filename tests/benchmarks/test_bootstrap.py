from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from hemogat.benchmarks import bootstrap
from hemogat.benchmarks.bootstrap import (
    epochs_needed,
    interval_of_single,
    median_interval,
    paired_ratios,
    percentile_intervals,
)
from hemogat.benchmarks.rounds import HALF_WIDTH
from hemogat.benchmarks.side_by_side import MOVED

times_ms = arrays(
    np.float64,
    st.tuples(st.integers(3, 8), st.integers(2, 12), st.integers(1, 5)),
    elements=st.floats(0.1, 1e3),
)


@settings(max_examples=20, deadline=None)
@given(times_ms)
def test_intervals_lie_around_their_values(times: np.ndarray) -> None:
    found = percentile_intervals([*times], (50, 90))
    assert found[50].value == pytest.approx(np.median(times))
    assert (90 in found) == (times.size >= 50)
    for interval in found.values():
        assert interval.low is not None
        assert interval.high is not None
        assert 0 < interval.low <= interval.value <= interval.high


def two_states(random: np.random.Generator, epochs: int, rounds: int) -> list[np.ndarray]:
    """Return times of a machine that is slow by 40 % for about ten rounds now and then."""
    slow, levels_ms = False, []
    for chance in random.random(epochs * 40):  # between epochs there are rounds that nobody times
        slow = chance < (0.9 if slow else 0.05)
        levels_ms.append(14.0 if slow else 10.0)
    of_epoch = np.reshape(levels_ms, (epochs, 40, 1))[:, :rounds]
    together = random.normal(0, 0.05, of_epoch.shape)
    alone = random.normal(0, 0.03, (epochs, rounds, 3))
    return [*(of_epoch * np.exp(together + alone))]


def test_intervals_hold_though_a_machine_has_two_speeds() -> None:
    random = np.random.default_rng(0)
    found = [median_interval(two_states(random, 5, 6)) for _ in range(200)]
    long_run = float(np.median(np.concatenate(two_states(random, 2000, 6))))
    held = [i for i in found if i.low and i.high and i.low <= long_run <= i.high]
    assert 165 <= len(held) <= 199  # five epochs cannot know the slow state's share better
    pairs = list(zip(found[::2], found[1::2], strict=True))
    agree = [(a, b) for a, b in pairs if a.low <= b.high and b.low <= a.high]
    assert len(agree) >= 90  # of 100 pairs of runs


def test_intervals_of_steady_times_are_narrow_and_hold() -> None:
    random = np.random.default_rng(1)
    found = [median_interval([*random.normal(10, 0.3, (5, 6, 3))]) for _ in range(200)]
    held = [i for i in found if i.low and i.high and i.low <= 10 <= i.high]
    assert 180 <= len(held) <= 199
    assert np.median([i.half_width for i in found]) < 0.02


def test_a_machine_that_counts_as_steady_is_known_to_five_per_cent() -> None:
    random = np.random.default_rng(5)

    def known(epochs: int) -> bool:
        levels_ms = random.uniform(10, 10 * (1 + MOVED), (epochs, 1, 1))
        rounds = levels_ms * np.exp(random.normal(0, 0.05, (epochs, 6, 1)))
        times_ms = [*(rounds * np.exp(random.normal(0, 0.02, (epochs, 6, 3))))]
        return any(median_interval(times_ms[:n]).half_width <= HALF_WIDTH for n in (5, 6, 7, 8))

    assert sum(known(8) for _ in range(100)) >= 97


def test_ratios_agree_between_hours_of_different_speed() -> None:
    random = np.random.default_rng(2)
    agree = 0
    for _ in range(100):
        runs = []
        for hour in random.choice([1.0, 1.4], 2):  # the machine's speed, for the whole run
            reference = [hour * each for each in two_states(random, 5, 6)]
            target = [3 * e * np.exp(random.normal(0, 0.05, e.shape)) for e in reference]
            runs.append(median_interval(paired_ratios(target, reference)))
        first, second = runs
        agree += first.low <= second.high and second.low <= first.high
    assert agree >= 90


def test_epochs_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(3)
    level = np.repeat([10.0, 13.0, 10.0, 13.0, 10.0, 13.0], 6)[:, np.newaxis]
    lasting = level + random.normal(0, 0.3, level.shape)
    brief = random.permutation(lasting)
    wide, narrow = (median_interval(np.split(each, 6)) for each in (lasting, brief))
    assert wide.value == narrow.value
    assert wide.half_width > narrow.half_width


def test_few_epochs_and_few_rounds_have_no_interval_and_are_not_known() -> None:
    for epochs, rounds, there in ((2, 50, False), (5, 1, False), (3, 2, True), (6, 1, True)):
        found = median_interval([np.full((rounds, 3), 2.0)] * epochs)
        assert found.value == 2
        assert (found.low is not None) == there
        assert (found.half_width == math.inf) == (not there)
    assert interval_of_single([2.0, 3.0]).low is None
    assert interval_of_single([2.0, 3.0, 2.5]).low is not None


def test_tails_need_samples_beyond_them() -> None:
    epochs = [np.ones((10, 2))] * 5
    assert [*percentile_intervals(epochs, (50, 90, 95, 99))] == [50, 90, 95]


def test_ratios_are_taken_round_by_round() -> None:
    drift = [np.linspace(n, n + 5, 20)[:, np.newaxis] * np.ones((1, 3)) for n in (1, 2, 3)]
    ratio = median_interval(paired_ratios([2 * each for each in drift], drift))
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((2, 2, 2))


def test_as_many_epochs_as_are_said_to_be_needed_narrow_the_interval() -> None:
    random = np.random.default_rng(4)

    def width(epochs: int) -> float:
        levels_ms = 10 * np.exp(random.normal(0, 0.08, (40, epochs, 1, 1)))
        times_ms = levels_ms * np.exp(random.normal(0, 0.02, (40, epochs, 6, 2)))
        return float(np.median([median_interval([*each]).half_width for each in times_ms]))

    needed = epochs_needed(width(5), 5, 0.05)
    assert needed > 8
    assert width(needed) == pytest.approx(0.05, rel=0.3)
    assert epochs_needed(0.04, 5, 0.05) == 5
    assert epochs_needed(1.0, 5, 0.05) > 400  # beyond the table of quantiles


def test_quantiles_are_students() -> None:
    wanted = stats.t.ppf(0.975, df=np.arange(1, len(bootstrap._T_QUANTILES) + 1))
    assert pytest.approx(wanted, abs=6e-4) == bootstrap._T_QUANTILES
