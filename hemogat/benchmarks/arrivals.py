"""When requests arrive that do not wait for each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def poisson_arrivals(rate_per_s: float, duration_s: float, seed: int = 0) -> NDArray[np.float64]:
    """Return the arrival times of a Poisson process, in seconds from its start, ascending.

    Raises:
        ValueError: the rate or the duration is not positive.
    """
    if not (rate_per_s > 0 and duration_s > 0):
        raise ValueError(f"expected a positive rate and duration, found {rate_per_s}, {duration_s}")
    random = np.random.default_rng(seed)
    # Given their number, the arrivals of a Poisson process are uniform over the time.
    count = random.poisson(rate_per_s * duration_s)
    return np.sort(random.uniform(0.0, duration_s, count))
