from __future__ import annotations

import math

import pytest
from scipy import stats

from hemogat.training.intervals import estimate


def test_the_textbook_interval() -> None:
    # t_{0.975} with 4 degrees of freedom is 2.776 in every table.
    found = estimate([0.70, 0.72, 0.71, 0.75, 0.72], best=3)
    std = math.sqrt(sum((v - 0.72) ** 2 for v in (0.70, 0.72, 0.71, 0.75, 0.72)) / 4)
    assert found.mean == pytest.approx(0.72)
    assert found.std == pytest.approx(std)
    assert found.low == pytest.approx(0.72 - 2.776 * std / math.sqrt(5), abs=1e-5)
    assert found.high == pytest.approx(0.72 + 2.776 * std / math.sqrt(5), abs=1e-5)
    assert found.best == 0.75
    assert found.percent() == f"72.0 ± {100 * 2.776 * std / math.sqrt(5):.1f}"


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    ours, theirs = [0.5, 0.7, 0.9], [0.4, 0.8, 0.7]
    found = estimate([a - b for a, b in zip(ours, theirs, strict=True)], best=0)
    expected = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_seed_has_no_interval_and_no_zero_in_its_place() -> None:
    found = estimate([0.5], best=0)
    assert (found.mean, found.best, found.values) == (0.5, 0.5, (0.5,))
    assert (found.std, found.low, found.high) == (None, None, None)
    assert found.percent() == "50.0"


def test_seeds_that_agree_have_an_interval_of_no_width() -> None:
    found = estimate([0.25, 0.25, 0.25], best=2)
    assert (found.std, found.low, found.high) == (0.0, 0.25, 0.25)
    assert found.percent() == "25.0 ± 0.0"
