"""A figure over seeds: mean, standard deviation and Student's t-interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from hemogat.config import Settings

CONFIDENCE = 0.95


class Estimate(Settings):
    """One figure over seeds.

    ``std`` is the sample standard deviation (n - 1); ``low`` and ``high`` bound the 95 %
    t-interval of the mean. One seed has neither: they are None, not 0. ``best`` is the exported
    seed's own value, ``values`` has every seed's.
    """

    mean: float
    std: float | None
    low: float | None
    high: float | None
    best: float
    values: tuple[float, ...]

    def percent(self) -> str:
        """Return 71.2 ± 0.9: mean and half the interval, in per cent; the mean alone for one."""
        mean = f"{100 * self.mean:.1f}"
        return mean if self.high is None else f"{mean} ± {100 * (self.high - self.mean):.1f}"

    def points(self, digits: int = 1) -> str:
        """Return a difference as +0.9 (+0.1 to +1.7): mean and interval, in points."""
        mean = f"{100 * self.mean:+.{digits}f}"
        if self.low is None or self.high is None:
            return mean
        return f"{mean} ({100 * self.low:+.{digits}f} to {100 * self.high:+.{digits}f})"


def estimate(values: Sequence[float], best: int) -> Estimate:
    """Estimate a figure from its value for each seed; ``best``: the exported seed's place."""
    numbers = tuple(float(value) for value in values)
    mean = float(np.mean(numbers))
    std = low = high = None
    if len(numbers) > 1:
        std = float(np.std(numbers, ddof=1))
        # t.ppf, not t.interval: the latter gives NaN where all seeds agree.
        t = float(stats.t.ppf((1 + CONFIDENCE) / 2, df=len(numbers) - 1))
        half = t * std / math.sqrt(len(numbers))
        low, high = mean - half, mean + half
    return Estimate(mean=mean, std=std, low=low, high=high, best=numbers[best], values=numbers)
