"""Bootstrap intervals of percentiles and of paired ratios, over the rounds of a measurement.

Whole rounds are drawn, not single times: times of one turn lie close together, and drawing them
one by one would make the interval too narrow. And rounds are drawn in blocks of consecutive ones
(circular block bootstrap, Politis and Romano 1992): a virtual machine is slower for seconds while
its neighbours work, so that rounds that follow each other are alike, too. Blocks have about the
square root of the number of rounds; what lasts longer than that still goes unseen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 2000
_CONFIDENCE_PERCENT = (2.5, 97.5)
_SEED = 0
# Resamples at a time, so that a long measurement does not take memory with their number.
_AT_ONCE = 200


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval (percentile bootstrap); of one round there is none."""

    value: float
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float:
        """Half the interval as a share of the value; 0 without an interval."""
        if self.low is None or self.high is None or not self.value:
            return 0.0
        return (self.high - self.low) / 2 / self.value


def percentile_intervals(
    rounds: NDArray[np.float64], percentiles: tuple[int, ...]
) -> dict[int, Interval]:
    """Return percentiles of all times with intervals.

    Shapes:
        rounds: [rounds, runs of a turn]
    """
    values = np.percentile(rounds, percentiles)
    if len(rounds) < 2:
        return {q: Interval(float(v), None, None) for q, v in zip(percentiles, values, strict=True)}
    drawn = np.concatenate(
        [
            np.percentile(rounds[chosen].reshape(len(chosen), -1), percentiles, axis=1)
            for chosen in _draws(len(rounds))
        ],
        axis=1,
    )
    bounds = np.percentile(drawn, _CONFIDENCE_PERCENT, axis=1)
    return {
        q: Interval(float(values[n]), float(bounds[0, n]), float(bounds[1, n]))
        for n, q in enumerate(percentiles)
    }


def paired_ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> Interval:
    """Return the median over rounds of the ratio of two targets' median times in that round.

    Shapes:
        numerator, denominator: [rounds, runs of a turn], the same rounds
    """
    ratios = np.median(numerator, axis=1) / np.median(denominator, axis=1)
    return percentile_intervals(ratios[:, np.newaxis], (50,))[50]


def _draws(rounds: int) -> list[NDArray[np.int64]]:
    """Return row numbers [resamples, rounds] in parts; the same for the same number of rounds."""
    length = max(1, round(math.sqrt(rounds)))
    random = np.random.default_rng(_SEED)
    starts = random.integers(rounds, size=(_RESAMPLES, math.ceil(rounds / length), 1))
    drawn = (starts + np.arange(length)) % rounds  # a block that reaches the end goes on at row 0
    return np.array_split(drawn.reshape(_RESAMPLES, -1)[:, :rounds], _RESAMPLES // _AT_ONCE)
