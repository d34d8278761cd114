"""Intervals of percentiles and of ratios, from a measurement in epochs.

Times of one minute lie close together: a virtual machine is slower for seconds to hours while its
neighbours work, and a process keeps the memory layout that it happened to get. So whole epochs
(fresh processes, another time) are drawn, not rounds or single times. As there are few of them, the
bootstrap gives a standard error only, in logarithms, and Student's t the interval: percentiles of
few resampled epochs would lie too close together. What lasts longer than the whole measurement
stays unseen; ratios to what was measured beside it leave most of that out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hemogat.benchmarks.statistics import has_samples_beyond

FEWEST_EPOCHS = 3  # with fewer, and with fewer rounds in all, there is no interval
FEWEST_ROUNDS = 6
_MEDIAN = 50
_RESAMPLES = 400
_SEED = 0
# 97.5 % quantiles of Student's t by degrees of freedom, from 1; the last is used for more, too.
_T_QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Epochs = Sequence[NDArray[np.float64]]  # of each epoch, [rounds, runs of a turn]


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval; of few epochs or rounds there is none."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float:
        """Half the interval as a share of the value; infinite without an interval."""
        if self.low is None or self.high is None or not self.value:
            return math.inf
        return (self.high - self.low) / 2 / self.value


def percentile_intervals(epochs: Epochs, percentiles: Sequence[int]) -> dict[int, Interval]:
    """Return percentiles of all times of all epochs, with intervals.

    One of the tail is left out where fewer than five samples lie beyond it. Times are positive.
    """
    every = np.concatenate([times.reshape(-1) for times in epochs])
    told = [q for q in percentiles if has_samples_beyond(q, every.size)]
    values = np.percentile(every, told)
    if len(epochs) < FEWEST_EPOCHS or sum(map(len, epochs)) < FEWEST_ROUNDS:
        return {q: Interval(float(v)) for q, v in zip(told, values, strict=True)}
    factors = np.exp(_half_widths(epochs, told))
    return {
        q: Interval(float(value), float(value / factor), float(value * factor))
        for q, value, factor in zip(told, values, factors, strict=True)
    }


def median_interval(epochs: Epochs) -> Interval:
    """Return the median of all times of all epochs, with its interval."""
    return percentile_intervals(epochs, (_MEDIAN,))[_MEDIAN]


def interval_of_single(values: Sequence[float]) -> Interval:
    """Return the median of what was measured once in each epoch, with its interval."""
    found = np.array(values)
    if len(values) < FEWEST_EPOCHS:
        return Interval(float(np.median(found)))
    value, (half_width,) = float(np.median(found)), _half_widths([*found[:, None]], (_MEDIAN,))
    return Interval(value, value / math.exp(half_width), value * math.exp(half_width))


def epochs_needed(half_width: float, epochs: int, wanted: float) -> int:
    """Return how many epochs narrow an interval to ±``wanted`` if they vary as these ``epochs`` do.

    ``half_width``: of the interval that these gave, finite.
    """
    # An interval reaches from value / f to value * f: what falls with more epochs is log f.
    error = math.asinh(half_width) * math.sqrt(epochs) / _t_quantile(epochs)
    narrow = math.asinh(wanted)
    for count in range(epochs, len(_T_QUANTILES) + 1):
        if error * _t_quantile(count) / math.sqrt(count) <= narrow:
            return count
    return max(epochs, math.ceil((error * _T_QUANTILES[-1] / narrow) ** 2))


def round_medians(epochs: Epochs) -> list[NDArray[np.float64]]:
    """Return each round's median, of each epoch [rounds, 1]."""
    return [np.median(times, axis=1, keepdims=True) for times in epochs]


def paired_ratios(numerator: Epochs, denominator: Epochs) -> list[NDArray[np.float64]]:
    """Return the ratio of two targets' median times, round by round; both have the same rounds."""
    pairs = zip(round_medians(numerator), round_medians(denominator), strict=True)
    return [above / below for above, below in pairs]


def _half_widths(epochs: Epochs, percentiles: Sequence[int]) -> NDArray[np.float64]:
    """Return half the width of the interval of each percentile's logarithm."""
    count = len(epochs)
    every = np.concatenate([times.reshape(-1) for times in epochs])
    order = np.argsort(every)
    epoch_of = np.repeat(np.arange(count), [times.size for times in epochs])[order]
    random = np.random.default_rng(_SEED)
    drawn = random.multinomial(count, np.full(count, 1 / count), size=_RESAMPLES)
    logarithms = _weighted_percentiles(np.log(every[order]), drawn[:, epoch_of], percentiles)
    # Resampled epochs vary less than independent ones, as they are drawn around their own mean.
    errors = logarithms.std(axis=0) * math.sqrt(count / (count - 1))
    half_widths: NDArray[np.float64] = _t_quantile(count) * errors
    return half_widths


def _t_quantile(epochs: int) -> float:
    return _T_QUANTILES[min(epochs - 1, len(_T_QUANTILES)) - 1]


def _weighted_percentiles(
    ordered: NDArray[np.float64], weights: NDArray[np.int64], percentiles: Sequence[int]
) -> NDArray[np.float64]:
    """Return percentiles of ordered numbers, each there as often as its weight says.

    Shapes:
        ordered, weights: [samples], [resamples, samples]
        result: [resamples, percentiles]
    """
    upto = weights.cumsum(axis=1)
    found = []
    for q in percentiles:
        wanted = upto[:, -1:] * (q / 100)
        at, above = (upto >= wanted).argmax(axis=1), (upto > wanted).argmax(axis=1)
        found.append((ordered[at] + ordered[above]) / 2)  # they differ where none lies on it
    return np.stack(found, axis=1)
