from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemogat.benchmarks.arrivals import poisson_arrivals


@given(rate=st.floats(0.1, 200), duration_s=st.floats(0.1, 30), seed=st.integers(0, 2**32 - 1))
def test_arrivals_are_ascending_and_within_the_duration(
    rate: float, duration_s: float, seed: int
) -> None:
    arrivals_s = poisson_arrivals(rate, duration_s, seed)
    assert np.all(np.diff(arrivals_s) >= 0)
    assert np.all((arrivals_s >= 0) & (arrivals_s <= duration_s))
    np.testing.assert_array_equal(arrivals_s, poisson_arrivals(rate, duration_s, seed))


def test_gaps_are_exponential() -> None:
    gaps_s = np.diff(poisson_arrivals(50.0, 2000.0))
    assert gaps_s.mean() == pytest.approx(1 / 50, rel=0.02)
    assert gaps_s.std() == pytest.approx(gaps_s.mean(), rel=0.02)  # as only exponential ones have


@pytest.mark.parametrize(("rate", "duration_s"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)])
def test_no_rate_or_duration_is_refused(rate: float, duration_s: float) -> None:
    with pytest.raises(ValueError, match="positive rate and duration"):
        poisson_arrivals(rate, duration_s)
