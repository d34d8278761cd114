"""One epoch of one case: a warm-up until stable, then rounds A B A B.

Each round gives every target one turn, so that whatever drifts (clock rate, temperature, other
work) hits all alike, and ratios can be taken round by round. A turn begins with one run that is
not timed, which brings back what the others' turns took from the caches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hemogat.benchmarks.targets import Case
from hemogat.benchmarks.worker_protocol import Turn
from hemogat.config import PositiveFloat, PositiveInt, Settings
from hemogat.progress import Stage

# A library's threads may spin for a while after a run; they must not take cores from the next turn.
_PAUSE_S = 0.02
HALF_WIDTH = 0.05  # of a median's interval, as a share of the median: what is narrow enough


class RoundSettings(Settings):
    """How often and how long.

    Epochs: at least ``epochs``, each with fresh processes and its share of ``rounds``; then more
    of a case, until every target's median has an interval within ±``half_width`` of it, or
    ``limit_s`` would be over. Warm-up, in each epoch: groups of ``warm_up_group`` runs, until the
    medians of two in a row differ by at most ``warm_up_tolerance``, for at most
    ``warm_up_limit_s``. A turn: as many runs as fit into ``turn_ms`` in the first epoch, at least
    one, at most ``turn_runs``.
    """

    epochs: PositiveInt = 5
    rounds: PositiveInt = 30
    half_width: PositiveFloat = HALF_WIDTH
    limit_s: Annotated[float, Field(ge=0)] = 120.0
    turn_ms: PositiveFloat = 50.0
    turn_runs: PositiveInt = 10
    warm_up_group: PositiveInt = 3
    warm_up_tolerance: PositiveFloat = 0.05
    warm_up_limit_s: PositiveFloat = 20.0

    @property
    def rounds_per_epoch(self) -> int:
        """The share of ``rounds`` that one epoch takes."""
        return math.ceil(self.rounds / self.epochs)

    def in_words(self) -> str:
        """Return the method in one line."""
        return (
            f"epochs, in each of which every target gets a fresh process, in an order that turns; "
            f"then, for each case, warm-up until the medians of two groups of "
            f"{self.warm_up_group} runs differ by at most {100 * self.warm_up_tolerance:g} % (at "
            f"most {self.warm_up_limit_s:g} s), and {self.rounds_per_epoch} rounds in which the "
            f"targets take turns of one untimed and 1 to {self.turn_runs} timed runs "
            f"({self.turn_ms:g} ms): at least {self.epochs} epochs, and more of a case until "
            f"the medians of all that are compared have intervals within "
            f"±{100 * self.half_width:g} %, as far as they fit into {self.limit_s:g} s"
        )


class TakesTurns(Protocol):
    """What is measured: usually a worker process."""

    def run(self, case: Case, *, untimed: int, timed: int) -> Turn:
        """Run a case ``untimed`` times, then ``timed`` times."""
        ...


@dataclass(frozen=True)
class EpochTimes:
    """One target's times on one case in one epoch, [rounds, runs of a turn].

    ``stable``: whether the warm-up ended because times had settled. ``energy_j``: of one run, mean;
    None where unreadable. ``cores``: CPU time over time, so how many threads really worked; None
    where not told.
    """

    times_ms: NDArray[np.float64]
    stable: bool
    energy_j: float | None
    cores: float | None = None


def measure_epoch(
    players: Sequence[tuple[TakesTurns, Case]],
    settings: RoundSettings,
    bar: Stage,
    runs_per_turn: Sequence[int | None],
) -> list[EpochTimes]:
    """Measure workers, each on its case, that take turns.

    Args:
        players: the workers and what they run.
        settings: how often.
        bar: shows the rounds.
        runs_per_turn: of each player in earlier epochs, so that all epochs weigh alike; None: as
            many as fit.

    Raises:
        HemogatError: a worker cannot run its case, or died.
    """
    warm_ups = [_warm_up(worker, case, settings) for worker, case in players]
    turns: list[list[Turn]] = [[] for _ in players]
    counts = [
        warm_up.runs_per_turn if earlier is None else earlier
        for warm_up, earlier in zip(warm_ups, runs_per_turn, strict=True)
    ]
    for _ in range(settings.rounds_per_epoch):
        for (worker, case), count, taken in zip(players, counts, turns, strict=True):
            time.sleep(_PAUSE_S)
            taken.append(worker.run(case, untimed=1, timed=count))
        bar.advance(note=players[-1][1].component)
    return [
        EpochTimes(_times_ms(taken), warm_up.stable, _energy_j(taken), _cores(taken))
        for taken, warm_up in zip(turns, warm_ups, strict=True)
    ]


def _times_ms(turns: Sequence[Turn]) -> NDArray[np.float64]:
    """Return times, [rounds, runs of a turn]."""
    return np.array([turn.times_ms for turn in turns])


def _energy_j(turns: Sequence[Turn]) -> float | None:
    """Return the mean over all runs; None where unreadable."""
    used_j = [turn.energy_j for turn in turns if turn.energy_j is not None]
    return sum(used_j) / _times_ms(turns).size if used_j else None


def _cores(turns: Sequence[Turn]) -> float | None:
    """Return CPU time over time; None where it is not told."""
    used_s = [turn.cpu_s for turn in turns if turn.cpu_s is not None]
    return 1e3 * sum(used_s) / float(_times_ms(turns).sum()) if used_s else None


@dataclass(frozen=True)
class _WarmUp:
    stable: bool
    runs_per_turn: int


def _warm_up(worker: TakesTurns, case: Case, settings: RoundSettings) -> _WarmUp:
    started = time.perf_counter()
    last_ms, stable = _group_ms(worker, case, settings), False
    while not stable and time.perf_counter() - started < settings.warm_up_limit_s:
        now_ms = _group_ms(worker, case, settings)
        stable = abs(now_ms - last_ms) <= settings.warm_up_tolerance * last_ms
        last_ms = now_ms
    fitting = int(settings.turn_ms / last_ms)
    return _WarmUp(stable, min(max(fitting, 1), settings.turn_runs))


def _group_ms(worker: TakesTurns, case: Case, settings: RoundSettings) -> float:
    turn = worker.run(case, untimed=0, timed=settings.warm_up_group)
    return float(np.median(turn.times_ms))
