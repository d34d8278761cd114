"""How well two runs of the same measurement agree: times, and ratios taken round by round."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from hemogat.benchmarks.bootstrap import Interval
from hemogat.benchmarks.figures import P50, RELATIVE, SPEED_UP, Figure
from hemogat.benchmarks.report_comparison import FigureChange
from hemogat.benchmarks.rounds import HALF_WIDTH
from hemogat.config import Settings

METRICS = (P50, SPEED_UP, RELATIVE)


class Agreement(Settings):
    """The figures of one metric that have an interval in both runs.

    ``agree``: their intervals overlap, the rule of ``hemogat bench compare``. ``narrow``: the
    intervals of both runs are within ±``HALF_WIDTH``. ``close``: the values differ by at most that.
    ``apart``: figures whose intervals do not overlap, and by how much they differ.
    """

    metric: str
    figures: int
    agree: int
    narrow: int
    close: int
    median_difference_percent: float
    largest_difference_percent: float
    apart: tuple[str, ...]

    def in_words(self) -> str:
        """Return it in one line."""
        return (
            f"{self.metric}: {self.agree} of {self.figures} agree within their intervals, "
            f"{self.narrow} have them within ±{100 * HALF_WIDTH:g} % in both runs; "
            f"{self.close} differ by at most that, half by at most "
            f"{self.median_difference_percent} %, all by at most "
            f"{self.largest_difference_percent} %"
        )


def agreements(changes: Sequence[FigureChange]) -> tuple[Agreement, ...]:
    """Return how well times agree, and ratios; nothing of a metric that has no intervals."""
    found = (agreement(changes, metric) for metric in METRICS)
    return tuple(each for each in found if each is not None)


def agreement(changes: Iterable[FigureChange], metric: str) -> Agreement | None:
    """Count how many figures of a metric agree; None where none has intervals in both runs."""
    both = [c for c in changes if c.before.metric == metric and c.ratio_low is not None]
    if not both:
        return None
    differences = np.array([abs(change.worsening) for change in both])
    apart = [change for change in both if change.verdict != "within noise"]
    return Agreement(
        metric=metric,
        figures=len(both),
        agree=len(both) - len(apart),
        narrow=sum(_narrow(change.before) and _narrow(change.after) for change in both),
        close=int(np.count_nonzero(differences <= HALF_WIDTH)),
        median_difference_percent=round(float(100 * np.median(differences)), 2),
        largest_difference_percent=round(float(100 * differences.max()), 2),
        apart=tuple(f"{c.before.name}: {100 * c.worsening:+.1f} %" for c in apart),
    )


def _narrow(figure: Figure) -> bool:
    return Interval(figure.value, figure.low, figure.high).half_width <= HALF_WIDTH
